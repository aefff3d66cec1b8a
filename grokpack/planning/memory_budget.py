"""Memory budget: bytes that each thread handles at a time, and the total that a run keeps to."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from grokpack import storage
from grokpack.checkpoint import reading_memory
from grokpack.checkpoint.reading_memory import RESERVED_BYTES
from grokpack.core.byte_size import byte_size
from grokpack.core.counts import counted
from grokpack.core.errors import GrokpackError, TooLittleMemory
from grokpack.core.lru_cache import LRU_CACHE_BYTES
from grokpack.kernels.dispatch import COMPILED_RESIDENT_BYTES, Implementation, choose_implementation
from grokpack.storage.decompression import HELD_BYTES
from grokpack.transforms.buffer_sizes import BufferSizes

if TYPE_CHECKING:
    from grokpack.planning.plan import Plan

MOST_WORKERS = 8
"""More threads than this only wait for memory bandwidth."""
STEP_BYTES = 4 << 20
"""Bytes that one thread makes at a time: more gains nothing, less costs system calls."""
SMALLEST_STEP_BYTES = 256 << 10
BUFFERS_PER_STEP = 6
"""Copies of a step's bytes that a thread may hold: input, output, float32 intermediates."""
BAND_STEPS = 8
"""Steps in a column band, which is read once for many of them. A band of 32 MiB of a down
projection, 32,768 inputs deep, is 1,024 columns wide: runs of 1 KiB, each worth a system call."""
MOST_BAND_BYTES = 192 << 20
"""Largest band of a compressed source: a whole matrix of Grok-1. More memory gains nothing."""
_COMPRESSED_SHARE = 24
"""Steps in a thread's share of such a source: six of buffers, the rest is the band."""

_QUANTIZING = 64
"""Time in which numpy chooses a scale for a byte, as a multiple of the time to move it, rounded up.

It does 25 MB/s without a search and 1 to 3 with one, the compiled twins 40 to 200 times as many:
16 MiB take half a second or five, which outweighs the 0.4 s of loading the twins from their
cache."""


@dataclass(frozen=True, slots=True)
class Budget:
    """Share of memory for each thread, and the total that a run keeps to.

    Attributes:
        buffer_sizes: Bytes that each thread handles at a time.
        memory_bytes: Resident memory that the run keeps to.
        workers: Threads that share it.
    """

    buffer_sizes: BufferSizes
    memory_bytes: int
    workers: int


def _useful_workers(plan: Plan) -> int:
    """Count useful threads: one per core, or as many as keep a remote source busy.

    A thread that reads strips fetches many blocks at a time itself. One thread more than there are
    cores has work while another waits.
    """
    cores = min(os.cpu_count() or 1, MOST_WORKERS)
    far = storage.read_overhead(plan.source.folder).threads if plan.source else 0
    return cores + bool(far) if plan.streams else max(cores, far)


def _computes(plan: Plan) -> bool:
    """Return whether kernels run: weights get codes, or have them. All others are only moved."""
    if plan.source is None or not plan.streams or plan.target.quantizes:
        return plan.streams
    weights, views = plan.source.tensors.values(), plan.source.views.values()
    return any(one.scales for one in weights) or any(view.decodes for view in views)


def budget(
    plan: Plan,
    memory_bytes: int,
    workers: int | None = None,
    writer_bytes: int = 0,
    client_bytes: int = 0,
) -> Budget:
    """Share the allowed memory out between threads, and choose how kernels run.

    If the memory of the compiled kernels would leave too little, numpy's run instead.

    Args:
        plan: The plan to run.
        memory_bytes: The memory allowed.
        workers: Threads; by default as many as are useful and have room.
        writer_bytes: Memory that the writer of each file holds, beside its step.
        client_bytes: Memory of the client that sends the output.

    Raises:
        GrokpackError: GP312 where the memory allowed is less than this many threads need.
    """
    streams = plan.streams
    work = plan.reads_bytes * (_QUANTIZING if plan.target.quantizes else 1)
    preferred: Implementation = choose_implementation(work) if _computes(plan) else "numpy"
    own = storage.read_overhead(plan.source.folder) if plan.source else storage.ReadOverhead()
    aside = _codecs_bytes(plan) + plan.target.thread_bytes + (own.thread_bytes if streams else 0)
    aside += writer_bytes * max(map(len, plan.target.layout.file_groups), default=0)
    fixed = (
        RESERVED_BYTES
        + client_bytes
        + own.memory_bytes
        + (LRU_CACHE_BYTES if plan.target.caches_scales else 0)
    )
    fixed += plan.source.cache_bytes if plan.source else 0
    held = BUFFERS_PER_STEP + (BAND_STEPS if streams else 0)
    counts = [workers] if workers else range(_useful_workers(plan), 0, -1)
    implementations: tuple[Implementation, ...] = (preferred, "numpy")
    for implementation, count in itertools.product(dict.fromkeys(implementations), counts):
        reserved = fixed + (COMPILED_RESIDENT_BYTES if implementation == "numba" else 0)
        share = (memory_bytes - reserved) // count - aside
        step, block = _step_and_band(plan, share)
        if step >= SMALLEST_STEP_BYTES:
            used = BUFFERS_PER_STEP * step + (block if streams else 0)
            return Budget(
                BufferSizes(step, block, implementation), reserved + count * (used + aside), count
            )
    raise _too_little(memory_bytes, fixed, held * SMALLEST_STEP_BYTES + aside, workers or 1)


def _step_and_band(plan: Plan, share: int) -> tuple[int, int]:
    """Divide a thread's share of the memory into the step and the column band.

    Each band of a compressed source decompresses whole matrices again. So bands get most of the
    memory there, up to a whole matrix.
    """
    held = BUFFERS_PER_STEP + (BAND_STEPS if plan.streams else 0)
    step = min(share // held, STEP_BYTES)
    if not plan.streams or plan.source is None or not plan.source.sealed:
        return step, BAND_STEPS * step
    step = max(min(step, share // _COMPRESSED_SHARE), min(step, SMALLEST_STEP_BYTES))
    return step, min(share - BUFFERS_PER_STEP * step, MOST_BAND_BYTES)


def _codecs_bytes(plan: Plan) -> int:
    """Count the bytes that one thread needs for decompressing, decoding and compressing."""
    target = plan.target
    held = HELD_BYTES if plan.source and plan.source.sealed else 0
    held += reading_memory.DECODING_BYTES if plan.source and plan.source.cache_bytes else 0
    if target.codec is not None:
        held += target.codec.held_bytes * max(map(len, target.layout.file_groups), default=0)
    return held


def _too_little(
    memory_bytes: int, fixed_bytes: int, per_thread: int, workers: int
) -> GrokpackError:
    needs, alone = fixed_bytes + workers * per_thread, fixed_bytes + per_thread
    enough, hint = byte_size(alone), f"--memory {-(-alone // 10**6)}MB"
    if workers > 1:
        enough = f"{byte_size(needs)} with {counted(workers, 'thread')}, {enough} with 1"
        hint = f"--memory {-(-needs // 10**6)}MB, or {hint} --workers 1"
    what = f"{byte_size(memory_bytes)} is less than this plan can keep to ({enough})"
    return TooLittleMemory(what, hint=hint)
