"""Evaluation: perplexity of a checkpoint, and its distance from another, layer by layer.

input_tokens        tokens and texts, as sequences with the tokens that they predict
evaluation_options  threads, memory and precision of a run, and its cost
single_evaluation   one network on the inputs
pair_evaluation     two networks on the same inputs, layer by layer
config_comparison   differences between the two configs
tolerance           how far values may be apart, by their formats, and how far they are
weight_comparison   the weights of both, as they stream
network_parts       embedding, halves of layers and head, each with error, weights and limit
thresholds          whether limits hold, in words
calibration         mean squares of each weight's inputs, for quantization
generation          tokens that continue a prompt
"""
