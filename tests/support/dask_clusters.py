"""A cluster of Dask, and runs on it slow enough to be disturbed."""

from __future__ import annotations

import pytest

distributed = pytest.importorskip("distributed")
