"""The network itself, computed with numpy from streamed weights.

A layer at a time, an expert at a time, a band of rows at a time: each byte of the weights is read
once in a run, however many tokens there are, and no tensor is ever held whole. Everything is
float32; on request every place where xAI's code rounds to bfloat16 is rounded too.

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
