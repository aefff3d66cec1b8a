"""Limits on a tensor's header, beyond which a file is refused as hostile.

A real header has about 110 opcodes, 33 memo entries, a stack of 12 and strings of at most 21 bytes.
Each limit leaves room for other writers and none for a bomb.
"""

MAX_OPCODES = 2_000
MAX_MEMO = 1_000
MAX_STACK = 256
MAX_DEPTH = 16  # marks open at once
MAX_STRING_BYTES = 256
MAX_LITERAL_BYTES = 64 * 1024  # outside of payloads, in the whole file
MAX_CROSSINGS = 32  # ways to read the crossed frames of one pickle
MAX_DIMENSIONS = 8
MAX_INTEGER_BYTES = 8
MAX_NESTING = 4  # archives inside one another
MAX_MEMBERS = 1_000  # of archives, in one file
MAX_DECOMPRESSED_BYTES = 16 << 20  # inside a file that is no tensor
