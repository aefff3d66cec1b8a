"""What a checkpoint computes: perplexity, how far another is from it, and where they part.

inputs     tokens and texts, as sequences with the tokens that they predict
setting    threads, memory and precision of a run; what it will cost, told in advance
alone      one network on the inputs
pair       two networks on the same inputs, layer by layer
verdict    which layer stands out, and whether limits hold
calibration  what flows into each weight, for quantisation that minds it
generation   tokens that continue a prompt
"""
