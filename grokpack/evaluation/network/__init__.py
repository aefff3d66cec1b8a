"""The network itself, computed with numpy from streamed weights.

Weights are read layer by layer, expert by expert, and band by band. A run reads each byte of them
once, however many tokens there are, and never holds a whole tensor. All arithmetic is float32. On
request, results are rounded to bfloat16 wherever xAI's code rounds.
"""
