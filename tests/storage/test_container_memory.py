"""Limits of memory that a container sets, in both versions of the kernel's control groups."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from grokpack.cli.app import app
from grokpack.storage.container_memory import memory_limit
from tests.support.checkpoints import GOLDEN

V1 = "9:cpu:/c/one\n4:memory:/c/one\n0::/\n"
V1_NONE = "9223372036854771712"
"""What the first version says where there is no limit."""


def system(root: Path, groups: str, limits: dict[str, str]) -> str:
    """Make the files that a kernel shows, and return the folder above them."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    for name, text in limits.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return str(root)


@pytest.mark.parametrize(
    ("groups", "limits", "found"),
    [
        ("0::/\n", {"memory.max": "300000000"}, 300_000_000),
        ("0::/\n", {"memory.max": "max"}, None),
        ("0::/a/b\n", {"a/memory.max": "200", "a/b/memory.max": "max"}, 200),
        ("0::/a/b\n", {"a/memory.max": "200", "a/b/memory.max": "100"}, 100),
        (V1, {"memory/c/one/memory.limit_in_bytes": "500"}, 500),
        (V1, {"memory/memory.limit_in_bytes": "400"}, 400),  # as in a container without its path
        (V1, {"memory/memory.limit_in_bytes": V1_NONE}, None),
        ("", {}, None),
    ],
)
def test_the_least_limit_of_the_group_and_those_above_counts(
    tmp_path: Path, groups: str, limits: dict[str, str], found: int | None
) -> None:
    assert memory_limit(system(tmp_path, groups, limits)) == found


def test_a_system_without_control_groups_has_no_limit(tmp_path: Path) -> None:
    assert memory_limit(str(tmp_path)) is None


def test_a_run_keeps_to_what_its_container_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grokpack.storage.memory_limit", lambda: 300_000_000)
    words = ["reshard", str(GOLDEN), "--tp", "2", "-o", str(tmp_path / "out"), "--dry-run"]
    done = CliRunner().invoke(app, words)
    assert "this container may take 300.00 MB: --memory counts as 270.00 MB" in done.stderr
    assert "of 270.00 MB allowed" in done.stdout
    less = CliRunner().invoke(app, [*words, "--memory", "200MB"])
    assert "container" not in less.stderr
