"""What every test shares: the hypothesis profiles."""

from __future__ import annotations

import os
import tempfile

from hypothesis import HealthCheck, settings

# The same examples on every machine and worker, so that a failure is the change's and not the
# day's. No deadline: cores are shared and numba compiles on first use.
settings.register_profile(
    "grokpack", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
# `make slow` looks for what the fixed examples miss.
settings.register_profile(
    "explore", parent=settings.get_profile("grokpack"), derandomize=False, max_examples=1000
)
settings.load_profile("grokpack")

# Crash tests make thousands of small files durable; memory is as good a place for them as a disk.
if os.access("/dev/shm", os.W_OK) and "TMPDIR" not in os.environ:  # noqa: S108
    tempfile.tempdir = "/dev/shm"  # noqa: S108
