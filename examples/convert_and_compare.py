"""Convert a checkpoint for transformers, and compare one tensor with the formula.

python examples/convert_and_compare.py [FOLDER] [OUT]
"""

import json
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors import safe_open

from grokpack import ConvertOptions, execute, open_checkpoint, plan_convert
from grokpack.checkpoint.array_reader import ArrayReader
from grokpack.core.layout import whole_box

folder = sys.argv[1] if len(sys.argv) > 1 else "checkpoints/ckpt-0"
out = sys.argv[2] if len(sys.argv) > 2 else "grok-1-hf"

checkpoint = open_checkpoint(folder)
plan = plan_convert(checkpoint, "hf", ConvertOptions(names="hpcai", dtype="bf16"))
print(f"{plan.reads_bytes:,} bytes -> {plan.writes_bytes:,} bytes")
print(*plan.target.notes, sep="\n")
outcome = execute(plan, out)

# What xAI's code computes with: int8 times bfloat16, rounded once; engines store its transpose.
name = "transformer/decoder_layer_0/multi_head_attention/query/w"
tensor, reader = checkpoint.tensors[name], ArrayReader(checkpoint)
codes = reader.read(name, whole_box(tensor.values.shape)).view(np.int8).astype(np.float32)
scales = reader.read(f"{name}/scales", whole_box((1, codes.shape[1]))).view(ml_dtypes.bfloat16)
expected = (codes * scales.astype(np.float32)).astype(ml_dtypes.bfloat16).T

stored = "model.layers.0.attn.q_proj.weight"
index = json.loads(Path(outcome.out, "model.safetensors.index.json").read_text(encoding="utf-8"))
with safe_open(Path(outcome.out, index["weight_map"][stored]), "numpy") as shard:
    same = (shard.get_tensor(stored).view(np.uint16) == expected.view(np.uint16)).all()
print(f"{stored}: {'the same bits' if same else 'DIFFERENT'}")
