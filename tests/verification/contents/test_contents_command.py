"""`verify --data` as a command: what it says, and with which status it ends."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from grokpack.checkpoint.open_checkpoint import survey
from grokpack.verification.verify_structure import verify_structure
from tests.support.content_checks import answer, flip, listing
from tests.support.forked import run


def test_the_command_says_how_much_it_read(model: Path) -> None:
    status, document = answer("verify", model, "--data")
    assert (status, document["status"]) == (0, "whole")
    contents = document["data"]["contents"]
    assert contents["read_bytes"] == contents["total_bytes"] > 0
    assert document["data"]["checks"]["contents"] == "ok"
    status, document = answer("verify", model, "--data", "--subset", "1/4")
    assert document["data"]["checks"]["contents"] == "partial"
    assert document["data"]["contents"]["read_bytes"] < contents["total_bytes"]


def test_damage_is_exit_status_one(model: Path) -> None:
    flip(model / "ckpt-0" / "tensor00005_000", 1000)
    status, document = answer("verify", model, "--data")
    assert (status, document["status"]) == (1, "damaged")
    assert [f["file"] for f in document["findings"]] == ["tensor00005_000"]


def test_a_deadline_is_exit_status_75_until_the_round_is_complete(model: Path) -> None:
    status, document = answer("verify", model, "--data", "--max-duration", "0")
    assert (status, document["status"]) == (75, "unfinished")
    status, document = answer("verify", model, "--data", "--max-duration", "1h", "--max-age", "1d")
    assert (status, document["status"]) == (0, "whole")


@pytest.mark.parametrize(("time", "expected"), [("0s", (75, "unfinished")), ("1h", (0, "whole"))])
def test_a_deadline_ends_the_reading_of_values(
    model: Path, time: str, expected: tuple[int, str]
) -> None:
    status, document = answer("verify", model, "--values", "--max-duration", time)
    assert (status, document["status"]) == expected
    partial = document["data"]["checks"]["values"] == "partial"
    assert partial == (expected[0] == 75)


def test_where_no_time_is_left_for_values_that_is_said(model: Path) -> None:
    text = run("verify", model, "--values", "--max-duration", "0s").stdout
    (line,) = [line for line in text.splitlines() if " values: " in line]
    read, total = re.findall(r"[\d,]+(?= of| were)", line)
    assert (read, line.endswith("were read before the time was over")) == ("0", True)
    assert int(total.replace(",", "")) > 0


def test_without_a_manifest_there_is_nothing_to_compare_with(model: Path) -> None:
    (model / "grokpack.json").unlink()
    status, document = answer("verify", model, "--data")
    assert status == 3
    assert document["errors"][0]["code"] == "GP229"
    assert answer("manifest", model)[0] == 0
    assert answer("verify", model, "--data")[0] == 0


@pytest.mark.parametrize(
    "options",
    [
        ("--subset", "5%"),
        ("--max-age", "1d"),
        ("--max-duration", "1h"),
        ("--values", "--subset", "5%"),
        ("--data", "--subset", "0/4"),
        ("--data", "--subset", "5/4"),
        ("--data", "--subset", "0%"),
        ("--data", "--subset", "101%"),
        ("--data", "--subset", "x%"),
        ("--data", "--subset", "some"),
        ("--data", "--max-age", "long"),
    ],
)
def test_options_that_mean_nothing_are_refused(model: Path, options: tuple[str, ...]) -> None:
    status, document = answer("verify", model, *options)
    assert status == 2
    assert document["errors"][0]["code"] in ("GP304", "GP346")


def test_a_share_of_whole_sums_is_refused(model: Path, tmp_path: Path) -> None:
    sums = tmp_path / "sums"
    sums.write_text(listing(model / "ckpt-0"))
    status, document = answer("verify", model, "--against", sums, "--subset", "1/2")
    assert status == 2
    assert "part of a file" in document["errors"][0]["message"]


def test_a_verdict_without_contents_is_as_before(model: Path) -> None:
    answer_ = verify_structure(survey(str(model)))
    assert replace(answer_, contents=None) == answer_
