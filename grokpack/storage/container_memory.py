"""Memory that a container leaves its processes: the limits of the kernel's control groups."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_NO_LIMIT = 1 << 60  # what the first version of control groups says for none, or more
_FORMS = (("", "memory.max"), ("memory", "memory.limit_in_bytes"))
"""Folder and file of the limit in the second and the first version, by the controller's name."""


def memory_limit(root: str = "/") -> int | None:
    """Return the bytes that this process and its neighbours in the container may take.

    Args:
        root: Folder above `proc` and `sys`.

    Returns:
        The least limit of its control group and those above it; None where there is none.
    """
    return min(_limits(root), default=None)


def _limits(root: str) -> Iterator[int]:
    for controller, group in _groups(root):
        mount, name = next(form for form in _FORMS if form[0] == controller)
        parts = group.strip("/").split("/")
        for count in range(len(parts) + 1):
            path = os.path.join(root, "sys/fs/cgroup", mount, *parts[:count], name)
            with contextlib.suppress(OSError, ValueError):  # not there, or `max`
                limit = int(_text(path))
                if limit < _NO_LIMIT:
                    yield limit


def _groups(root: str) -> Iterator[tuple[str, str]]:
    """Yield the control groups of this process that can limit memory: controller and path."""
    with contextlib.suppress(OSError):
        for line in _text(os.path.join(root, "proc/self/cgroup")).splitlines():
            _, controllers, group = line.split(":", 2)
            if controllers in ("", "memory"):
                yield controllers, group


def _text(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()
