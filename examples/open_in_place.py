"""Read weights where they lie, as arrays: a view for any program, and `grokpack.open` for this one.

python examples/open_in_place.py [FOLDER] [TENSOR]
"""

import sys

import grokpack
from grokpack import ConvertOptions, execute, open_checkpoint, plan_convert

# %% Make a view beside the checkpoint: an index of its files, less than a megabyte
folder = sys.argv[1] if len(sys.argv) > 1 else "checkpoints/ckpt-0"
name = sys.argv[2] if len(sys.argv) > 2 else "transformer/decoder_layer_0/moe/linear_1/w"
view = f"{folder.rstrip('/')}.view"
plan = plan_convert(open_checkpoint(folder), "view", ConvertOptions(out=view))
execute(plan, view)
print(f"{view}: {plan.writes_bytes:,} bytes for {plan.source.layout.nbytes:,}")

# %% Open it; this looks first whether the files are those that the view was made of
checkpoint = grokpack.open(view)
codes, scales = checkpoint[name], checkpoint[f"{name}/scales"]
print(f"{name}: {codes.dtype.name} {codes.shape}, chunks {codes.chunk_layout.read_chunk.shape}")

# %% Values come when they are asked for: the codes of one expert, and its weights as floats
print(codes[1, :2, :6].read().result())
print(scales[1, :, :6].read().result())
weights = checkpoint.dequantized("f32")[name]
print(weights[1, :2, :6].read().result())

# %% What another TensorStore program is given
print(codes.kvstore.spec().to_json())
