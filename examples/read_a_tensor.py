"""Read one weight of a checkpoint as numbers, a few rows at a time.

python examples/read_a_tensor.py [FOLDER] [TENSOR]
"""

import sys

import numpy as np

from grokpack import open_checkpoint
from grokpack.checkpoint.array_reader import ArrayReader
from grokpack.core.layout import Box
from grokpack.kernels.float_casts import to_f32

folder = sys.argv[1] if len(sys.argv) > 1 else "checkpoints/ckpt-0"
name = (
    sys.argv[2] if len(sys.argv) > 2 else "transformer/decoder_layer_0/multi_head_attention/query/w"
)

checkpoint = open_checkpoint(folder)
tensor = checkpoint.tensors[name]
rows, columns = tensor.values.shape
print(f"{name}: {tensor.values.dtype.label} {tensor.values.shape}")

# Only these rows are read from the file: int8 codes, and the scales of their columns.
reader = ArrayReader(checkpoint)
codes = reader.read(name, Box((0, 0), (4, columns))).view(np.int8)
weights = codes.astype(np.float32)
if tensor.scales is not None:
    scales = reader.read(f"{name}/scales", Box((0, 0), (1, columns)))
    weights *= to_f32(scales, tensor.scales.dtype)

print(f"first 4 of {rows} rows: mean {weights.mean():+.5f}, deviation {weights.std():.5f}")
