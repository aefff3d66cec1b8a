"""Reader and writer of the pickles of ckpt-0 that never executes one.

`read` walks the opcodes of a file with an allowlist and limits, skips the payloads, and locates
each array's bytes. `frame` gives the bytes around them, as xAI's release has them.
"""

from grokpack.formats.pickle.canonical_framing import (
    RELEASED_BF16_FLAGS,
    bf16_flags,
    check_literals,
    frame,
)
from grokpack.formats.pickle.opcode_reader import read
from grokpack.formats.pickle.stored_arrays import Bytes, Pickled, StoredArray

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
