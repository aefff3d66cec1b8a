"""How long a plan will take, from a short probe of the disks; nothing is left behind."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from grokpack import storage

if TYPE_CHECKING:
    from grokpack.plan import Plan

_PROBE_BYTES = 64 << 20  # enough to pass a disk's write cache by, short enough not to be noticed
_STEP_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Estimate:
    """A guess and what it rests on.

    Attributes:
        seconds: Wall time.
        read_bytes_per_s: Of the source; None where none of it is read.
        write_bytes_per_s: Of the output's file system; None where it could not be tried.
    """

    seconds: float
    read_bytes_per_s: float | None
    write_bytes_per_s: float | None


def estimate(plan: Plan, out: str, workers: int) -> Estimate:
    """Probe reading and writing for a moment each and add up.

    Threads overlap reading with writing, so two of them are counted as halving the time.
    """
    read, write = _probe_read(plan), _probe_write(out)
    seconds = plan.reads_bytes / read if read else 0.0
    seconds += plan.disk_bytes / write if write else 0.0
    return Estimate(seconds / min(workers, 2), read, write)


def _probe_read(plan: Plan) -> float | None:
    if plan.source is None or not plan.reads_bytes:
        return None
    largest = max(plan.source.layout.files(), key=lambda f: f.nbytes)
    path, nbytes = plan.source.path(largest.path), min(largest.nbytes, _PROBE_BYTES)
    buffer = memoryview(bytearray(_STEP_BYTES))
    began = time.perf_counter()
    for at in range(0, nbytes, _STEP_BYTES):
        storage.read_into(path, at, buffer[: min(_STEP_BYTES, nbytes - at)])
    return nbytes / max(time.perf_counter() - began, 1e-6)


def _probe_write(out: str) -> float | None:
    if storage.is_url(out):
        return None
    block = memoryview(os.urandom(_STEP_BYTES))
    with storage.scratch_file(storage.nearest_folder(out), _PROBE_BYTES) as writer:
        if writer is None:
            return None
        began = time.perf_counter()
        for at in range(0, _PROBE_BYTES, _STEP_BYTES):
            writer.write(at, block)
        writer.sync()
        return _PROBE_BYTES / max(time.perf_counter() - began, 1e-6)
