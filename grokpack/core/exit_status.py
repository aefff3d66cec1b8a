"""Exit statuses of the command line."""

from __future__ import annotations

from enum import IntEnum


class ExitStatus(IntEnum):
    """Exit status of the process, as in the table of `grokpack help exit-codes`."""

    OK = 0
    ANSWER_IS_NO = 1
    USAGE = 2
    SOURCE = 3
    UNSAFE = 4
    TARGET = 5
    BUG = 70
    TRY_AGAIN = 75
    INTERRUPTED = 130
    READER_IS_GONE = 141
    TERMINATED = 143
