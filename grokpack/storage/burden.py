"""What a medium needs for itself, for plans to reckon with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Burden:
    """What a medium keeps.

    Attributes:
        memory_bytes: In memory, for the process.
        thread_bytes: In memory, for each thread that reads strips.
        scratch_bytes: On disk, where strips are read.
        threads: As many as keep it busy, where each waits for answers; 0 where cores decide.
    """

    memory_bytes: int = 0
    thread_bytes: int = 0
    scratch_bytes: int = 0
    threads: int = 0
