"""Command lines that no command understands: a code, the option, and what was probably meant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.checkpoints import GOLDEN
from tests.support.forked import run


def error(*words: str | Path, **variables: Any) -> dict[str, Any]:
    """Return the error of a command line, which text tells as well."""
    done = run(*words, "--json", **variables)
    assert done.returncode == 2
    found: dict[str, Any] = json.loads(done.stdout)["errors"][0]
    assert f"error[{found['code']}]: {found['message']}" in done.stderr
    found["facts"] = {fact["label"]: fact["value"] for fact in found["facts"]}
    return found


@pytest.mark.parametrize(
    ("words", "option", "near"),
    [
        (("reshard", "--to", "safetensor"), "--to", "safetensors"),
        (("reshard", "--scales", "bf16-weight"), "--scales", "bf16-weights"),
        (("convert", "--to", "hff"), "--to", "hf"),
        (("convert", "--to", "GGUF"), "--to", "gguf"),
        (("quantize", "--method", "mes"), "--method", "mse"),
        (("quantize", "--to", "gptk"), "--to", "gptq"),
        (("verify", "--format", "jsom"), "--format", "json"),
        (("synth", "out", "--preset", "tini"), "--preset", "tiny"),
    ],
)
def test_a_value_that_an_option_does_not_take(
    words: tuple[str, ...], option: str, near: str
) -> None:
    source = () if words[0] == "synth" else (GOLDEN,)
    found = error(*words, *source)
    assert found["code"] == "GP346"
    assert found["facts"]["option"] == option
    assert near in found["facts"]["takes"].split(", ")
    assert found["hint"] == f"did you mean `{option} {near}`?"


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (("reshard", "--memory", "10Q"), "--memory"),
        (("reshard", "--workers", "0"), "--workers"),
        (("reshard", "--max-duration", "5y"), "--max-duration"),
        (("reshard", "--part", "4/3"), "--part"),
        (("reshard", "--tp", "many"), "--tp"),
        (("verify", "--data", "--subset", "200%"), "--subset"),
        (("convert", "--to", "hf", "--shard-size", "big"), "--shard-size"),
        (("convert", "--to", "hf", "--shard-size", "0"), "--shard-size"),
        (("convert", "--to", "safetensors", "--tp", "0"), "--tp"),
        (("quantize", "--to", "fp8", "--tp", "0"), "--tp"),
        (("quantize", "--to", "fp8", "--tp", "-1"), "--tp"),
        (("quantize", "--to", "gguf", "--size", "0.1B"), "--size"),
        (("verify", "--data", "--subset", "0"), "--subset"),
        (("inspect", "--fit", "8x0GB"), "--fit"),
    ],
)
def test_a_number_that_is_none(words: tuple[str, ...], option: str) -> None:
    found = error(*words, GOLDEN)
    assert found["code"] == "GP346"
    assert found["facts"]["option"] == option
    assert found["hint"] or "takes" in found["facts"]


@pytest.mark.parametrize(
    ("words", "takes"),
    [
        (("reshard", "--tp", "four"), "a whole number"),
        (("synth", "out", "--uneven", "much"), "a number"),
        (("synth", "out", "--uneven", "3"), "1 or less"),
        (("synth", "out", "--layers", "0"), "1 or more"),
        (("quantize", "--bits", "4bit"), "2, 3, 4, 5, 6, 8"),
    ],
)
def test_a_number_that_an_option_does_not_take(words: tuple[str, ...], takes: str) -> None:
    found = error(*words)
    assert found["code"] == "GP346"
    assert found["message"] == f"{words[-2]} does not take `{words[-1]}`"
    assert found["facts"] == {"option": words[-2], "takes": takes}


def test_a_variable_is_named_that_gave_a_value() -> None:
    found = error("reshard", GOLDEN, GROKPACK_WORKERS="many")
    assert "`many` of GROKPACK_WORKERS" in found["message"]
    found = error("verify", GOLDEN, GROKPACK_COLOR="blue")
    assert found["message"] == "--color does not take `blue` of GROKPACK_COLOR"


@pytest.mark.parametrize(
    ("words", "facts", "hint"),
    [
        (("reshard", "--tq", "3"), {"option": "--tq"}, "--tp"),
        (("synth", "-o", "x"), {"option": "-o"}, "given without an option: `grokpack synth OUT`"),
        (("synth", "x", "--out", "y"), {"option": "--out"}, "OUT is given without an option"),
        (("verfy", "x"), {}, "grokpack --help"),
        (("synth",), {"argument": "OUT"}, "grokpack synth --help"),
        (("diff", "a"), {"argument": "B"}, "grokpack diff --help"),
        (("reshard", "a", "b"), {}, "grokpack reshard --help"),
    ],
)
def test_what_no_command_understands(
    words: tuple[str, ...], facts: dict[str, str], hint: str
) -> None:
    found = error(*words)
    assert found["code"] == "GP347"
    assert found["facts"] == facts
    assert hint in found["hint"]
    assert found["help"] == "grokpack explain GP347"


def test_an_option_at_the_end_of_the_line_lacks_its_value() -> None:
    done = run("reshard", "a", "--tp")
    assert done.returncode == 2
    assert "error[GP347]: Option '--tp' requires an argument" in done.stderr
    assert "hint: `grokpack reshard --help`" in done.stderr


@pytest.mark.parametrize(
    ("words", "option", "taken"),
    [
        (("reshard", "-o", "--dry-run"), "--out", "--dry-run"),
        (("convert", "--to", "-n"), "--to", "-n"),
        (("verify", "--against", "--json"), "--against", "--json"),
        (("quantize", "--keep", "--report"), "--keep", "--report"),
    ],
)
def test_an_option_is_no_value_of_the_one_before_it(
    words: tuple[str, ...], option: str, taken: str
) -> None:
    """`-o --dry-run` wrote a folder of that name."""
    found = error(words[0], GOLDEN, *words[1:])
    assert found["code"] == "GP346"
    assert found["message"] == f"{option} has no value: `{taken}` is an option"


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("verify", ""), "SRC"),
        (("diff", GOLDEN, ""), "B"),
        (("reshard", GOLDEN, "-o", ""), "--out"),
        (("quantize", GOLDEN, "--size", ""), "--size"),
        (("quantize", GOLDEN, "--keep", "experts", "--keep", ""), "--keep"),
        (("convert", GOLDEN, "--to", "hf", "--shard-size", ""), "--shard-size"),
        (("convert", GOLDEN, "--to", "hf", "--tokenizer", ""), "--tokenizer"),
        (("inspect", GOLDEN, ""), "NAME"),
    ],
)
def test_an_empty_value_is_not_taken_for_none(words: tuple[str | Path, ...], name: str) -> None:
    """A variable that is not set gives one; an empty path would be the folder one is in."""
    found = error(*words)
    assert (found["code"], found["message"]) == ("GP346", f"{name} is empty")


def test_little_memory_is_said_with_its_digits() -> None:
    done = run("reshard", GOLDEN, "--tp", "2", "--memory", "10")
    assert done.returncode == 5
    assert "10 B is less than this plan can keep to" in done.stderr
