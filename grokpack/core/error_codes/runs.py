"""Codes of errors while a run is under way, GP4xx, and of bugs, GP9xx."""

from __future__ import annotations

from grokpack.core.error_codes.code import Code
from grokpack.core.exit_status import ExitStatus

RUNS = (
    Code(
        "GP401",
        "disk is full",
        ExitStatus.TARGET,
        "The file system ran out of space in mid-run. What was finished is kept.",
        "Free space and run the same command again; it continues.",
    ),
    Code(
        "GP403",
        "stopped",
        ExitStatus.INTERRUPTED,
        "The run was interrupted. Finished tiles are recorded.",
        "Run the same command again; it continues.",
    ),
    Code(
        "GP404",
        "stopped at the deadline",
        ExitStatus.TRY_AGAIN,
        "`--max-duration` ended the run between two tiles.",
        "Run the same command again; it continues.",
    ),
    Code(
        "GP405",
        "value does not fit the target's dtype",
        ExitStatus.USAGE,
        "A finite value of the source would become infinite in float16. Nothing was published.",
        "Choose bf16 or f32; both hold every value of the release.",
    ),
    Code(
        "GP406",
        "scale does not fit float16 exactly",
        ExitStatus.USAGE,
        "Q8_0 keeps scales in float16. A scale of the source has no exact float16 value, so the "
        "re-packaging would not be lossless. Nothing was published.",
        "Choose a type that holds every scale.",
    ),
    Code(
        "GP407",
        "value cannot be quantized",
        ExitStatus.USAGE,
        "A weight of the source is infinite or no number. Nothing was published.",
        "Find it with `inspect --stats`; `--keep` leaves the weight in bf16.",
    ),
    Code(
        "GP408",
        "workers are gone",
        ExitStatus.TRY_AGAIN,
        "The processes that did the work died again and again, or their scheduler did not come "
        "back. Finished tiles are recorded.",
        "See why they died (memory, most often), and run the same command again; it continues.",
    ),
    Code(
        "GP409",
        "worker does not fit the run",
        ExitStatus.USAGE,
        "A worker elsewhere sees another source or another output at their paths, has less memory "
        "than the plan needs, or another version of grokpack.",
        "Give workers the storage at the same paths, the memory that `--dry-run` shows, and the "
        "same version.",
    ),
    Code(
        "GP410",
        "cluster cannot be had",
        ExitStatus.TRY_AGAIN,
        "No Dask scheduler answers at the address of `--workers dask://`, or it has no workers.",
        "Start scheduler and workers, or see that they can be reached from here.",
    ),
    Code(
        "GP411",
        "answer could not be written",
        ExitStatus.TARGET,
        "Standard output is closed, or on a full disk. The work itself was done.",
        "Give it a standard output that takes the answer, and run the same command again.",
    ),
    Code(
        "GP901",
        "bug in grokpack",
        ExitStatus.BUG,
        "Something happened that the program does not expect.",
        "Report it with the crash file, where the message names one.",
    ),
)
