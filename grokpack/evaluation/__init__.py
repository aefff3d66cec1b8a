"""Evaluation: perplexity of a checkpoint, and its distance from another, layer by layer.

inputs     tokens and texts, as sequences with the tokens that they predict
setting    threads, memory and precision of a run; what it will cost, told in advance
alone      one network on the inputs
pair       two networks on the same inputs, layer by layer
declared   what the two say of themselves
tolerance  how far values may be apart, by their formats, and how far they are
weights    the weights of both, as they stream by
parts      embedding, halves of layers and head, each with its error, weights and limit
verdict    whether limits hold, in words
calibration  what flows into each weight, for quantization that minds it
generation   tokens that continue a prompt
"""
