"""Read and write the pickles of ckpt-0 without ever running one.

`read` walks the opcodes of a file with an allowlist and limits, skips the payloads, and says where
each array's bytes are. `frame` gives the bytes that go around them, as xAI's release has them.
"""

from grokpack.formats.pickle.framing import RELEASED_BF16_FLAGS, bf16_flags, check_literals, frame
from grokpack.formats.pickle.reader import read
from grokpack.formats.pickle.records import Bytes, Pickled, StoredArray

__all__ = [
    "RELEASED_BF16_FLAGS",
    "Bytes",
    "Pickled",
    "StoredArray",
    "bf16_flags",
    "check_literals",
    "frame",
    "read",
]
