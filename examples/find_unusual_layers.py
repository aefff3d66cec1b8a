"""Which layers have weights unlike the others? Statistics of a kind of tensor, with the library.

python examples/find_unusual_layers.py [FOLDER] [PATTERN]
"""

import statistics as middle
import sys

from grokpack import open_checkpoint, statistics

folder = sys.argv[1] if len(sys.argv) > 1 else "checkpoints/ckpt-0"
pattern = sys.argv[2] if len(sys.argv) > 2 else "router/w"

rows = statistics(open_checkpoint(folder), [pattern])
median = middle.median(row["rms"] for row in rows)
print(f"{len(rows)} tensors match {pattern}, median rms {median:.4g}")
for row in sorted(rows, key=lambda row: -abs(row["rms"] - median))[:5]:
    print(f"{row['rms'] / median:6.3f} x median  {row['name']}")
