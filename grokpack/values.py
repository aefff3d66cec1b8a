"""Reading every value: statistics for `inspect --stats`, findings for `verify --values`."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from grokpack.checkpoint import Finding
from grokpack.events import Advanced, Finished, Listener, Started, ignore
from grokpack.inspection import views
from grokpack.kernels.statistics import Tally, count_codes, count_floats, count_scales
from grokpack.layout import Box
from grokpack.reading import ArrayReader
from grokpack.tensor import DType, scales_name
from grokpack.tiling import row_bands

if TYPE_CHECKING:
    from collections.abc import Iterator

    from grokpack.checkpoint import Checkpoint
    from grokpack.tensor import ArraySpec, TensorSpec
    from grokpack.verification import Verdict

_STEP_BYTES = 1 << 20  # float64 and int32 twins of a step are 4 to 8 times as large
_MOST_WORKERS = 4  # counting is bound by memory bandwidth beyond that


def statistics(
    checkpoint: Checkpoint, patterns: list[str] | None = None, listen: Listener = ignore
) -> list[dict[str, Any]]:
    """Minimum, maximum, rms, NaN, infinities, saturated codes and histogram of each tensor.

    Args:
        checkpoint: What to read.
        patterns: Which tensors, as `inspection.views` takes them.
        listen: Receives progress.
    """
    chosen = [checkpoint.tensors[view.name] for view in views(checkpoint, patterns)]
    tallies = tally_all(checkpoint, chosen, listen)
    return [{"name": name} | tally.summary() for name, tally in tallies.items()]


def tally_all(
    checkpoint: Checkpoint, tensors: list[TensorSpec], listen: Listener = ignore
) -> dict[str, Tally]:
    """Count every value of these tensors, a few at a time."""
    began = time.monotonic()
    total = sum(array.nbytes for tensor in tensors for array in tensor.arrays().values())
    listen(Started("values", total))
    reader = ArrayReader(checkpoint)
    with ThreadPoolExecutor(min(os.cpu_count() or 1, _MOST_WORKERS)) as pool:
        counted = pool.map(lambda tensor: _tally(reader, tensor, listen), tensors)
        tallies = {tensor.name: tally for tensor, tally in zip(tensors, counted, strict=True)}
    listen(Finished("values", time.monotonic() - began))
    return tallies


def _tally(reader: ArrayReader, tensor: TensorSpec, listen: Listener) -> Tally:
    tally = Tally()
    if tensor.scales is None:
        _floats(reader, tensor.name, tensor.values, tally, listen)
        return tally
    for box in _bands(tensor.scales):
        raw = reader.read(scales_name(tensor.name), box)
        count_scales(tally, widen(raw, tensor.scales.dtype))
        listen(Advanced(raw.nbytes))
    if tensor.values.dtype is DType.I8:
        _codes(reader, tensor, tally, listen)
    else:
        _floats(reader, tensor.name, tensor.values, tally, listen)
    return tally


def _floats(
    reader: ArrayReader, name: str, spec: ArraySpec, tally: Tally, listen: Listener
) -> None:
    for box in _bands(spec):
        raw = reader.read(name, box)
        count_floats(tally, widen(raw, spec.dtype))
        listen(Advanced(raw.nbytes))


def _codes(reader: ArrayReader, tensor: TensorSpec, tally: Tally, listen: Listener) -> None:
    """Count codes band by band, each band cut where its scale group ends."""
    if tensor.scales is None:
        return
    per_group = tensor.values.shape[-2] // tensor.scales.shape[-2]
    for box in _bands(tensor.values):
        first, rows = box.start[-2], box.shape[-2]
        low, high = first // per_group, -(-(first + rows) // per_group)
        codes = reader.read(tensor.name, box).view(np.int8).reshape(rows, -1)
        scales = widen(
            reader.read(
                scales_name(tensor.name),
                Box(
                    (*box.start[:-2], low, 0),
                    (*box.shape[:-2], high - low, box.shape[-1]),
                ),
            ),
            tensor.scales.dtype,
        ).reshape(high - low, -1)
        for group in range(low, high):
            begin, end = max(group * per_group, first), min((group + 1) * per_group, first + rows)
            count_codes(tally, codes[begin - first : end - first], scales[group - low])
        listen(Advanced(codes.nbytes))


def widen(raw: np.ndarray, dtype: DType) -> np.ndarray:
    """Raw elements as float32, exactly."""
    if dtype is DType.F32:
        return raw.view(np.float32)
    if dtype is DType.BF16:
        return (raw.astype(np.uint32) << 16).view(np.float32)
    return raw.view(dtype.numpy()).astype(np.float32)


def _bands(spec: ArraySpec) -> Iterator[Box]:
    for band in row_bands(spec.shape, spec.dtype.itemsize, 0, spec.nbytes, _STEP_BYTES):
        yield band.box


def verify_values(verdict: Verdict, listen: Listener = ignore) -> Verdict:
    """Add findings about values to a verdict: NaN, infinities, zero or negative scales."""
    checkpoint = verdict.survey.checkpoint
    if checkpoint is None:
        return verdict
    sound = _complete_tensors(checkpoint)
    findings = []
    pieces = checkpoint.layout.pieces()
    for name, tally in tally_all(checkpoint, sound, listen).items():
        findings += _findings(name, pieces[name][0].extent.path, tally)
    outcome = "failed" if findings else "ok"
    return replace(
        verdict,
        findings=(*verdict.findings, *findings),
        checks=verdict.checks | {"values": outcome},
    )


def _complete_tensors(checkpoint: Checkpoint) -> list[TensorSpec]:
    """Tensors all of whose bytes are there and whose scales divide their rows."""
    pieces = checkpoint.layout.pieces()
    return [
        tensor
        for tensor in checkpoint.tensors.values()
        if all(pieces[array] for array in tensor.arrays())
        and (tensor.scales is None or tensor.values.shape[-2] % tensor.scales.shape[-2] == 0)
    ]


def _findings(name: str, file: str, tally: Tally) -> list[Finding]:
    rows = (
        ("GP120", tally.nan, "tensor holds NaN", "values"),
        ("GP121", tally.inf, "tensor holds infinities", "values"),
        ("GP122", tally.zero_scales, "scales are zero", "scales"),
        ("GP122", tally.negative_scales, "scales are negative", "scales"),
        ("GP120", tally.bad_scales, "scales are NaN or infinite", "scales"),
    )
    return [
        Finding(code, message, file, name, None, f"{count:,} {of}")
        for code, count, message, of in rows
        if count
    ]
