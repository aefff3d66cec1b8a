"""The network itself, computed with numpy from streamed weights.

Weights are read layer by layer, expert by expert, and band by band. A run reads each byte of them
once, however many tokens there are, and never holds a whole tensor. All arithmetic is float32. On
request, results are rounded to bfloat16 wherever xAI's code rounds.

    precision    float32, or rounded where the reference rounds
    arithmetic   norms, RoPE, caps, GELU, softmax: elementwise, in place
    matrices     which bands a weight is read in
    stream       bands read ahead, in the order of their use
    product      activations times bands, by lanes of columns
    attention    queries, keys and values of sequences, and the key/value cache
    gated        a gated MLP, through slices of its inner width
    experts      the router's choice, and the experts that were chosen
    layer        a decoder layer
    model        embedding, layers, logits
    lockstep     two networks that take each step together
    scores       losses and divergences from logits that are never held whole
"""
