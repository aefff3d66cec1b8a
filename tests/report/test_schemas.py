"""What commands print as JSON keeps to the schemas of its types, also when they fail."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError
from typer.testing import CliRunner

from grokpack.cli.app import app
from grokpack.report import json_schemas
from tests.support.checkpoints import GOLDEN, synthesize


def answer(*arguments: str | Path) -> dict[str, Any]:
    """The document of a command, which must keep to the schema it names."""
    done = CliRunner().invoke(app, [*map(str, arguments), "--json", "--progress", "none"])
    document: dict[str, Any] = json.loads(done.stdout)
    assert done.exit_code == document["exit_code"]
    check(document)
    return document


def check(document: Mapping[str, Any]) -> None:
    _, command, _ = document["schema"].split("/")
    Draft202012Validator(json_schemas.schema(command)).validate(document)


def commands_with_json() -> list[str]:
    import typer

    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # it is a group
    return [n for n, c in commands.items() if any(p.name == "json" for p in c.params)]


@pytest.mark.parametrize("command", commands_with_json())
def test_every_command_with_json_has_a_schema_that_is_one(command: str) -> None:
    assert command in json_schemas.names()
    schema = json_schemas.schema(command)
    Draft202012Validator.check_schema(schema)
    assert json.loads(CliRunner().invoke(app, ["explain", "--schema", command]).stdout) == schema


@pytest.mark.parametrize("command", json_schemas.names())
def test_a_schema_has_all_that_it_refers_to_and_nothing_else(command: str) -> None:
    schema = json_schemas.schema(command)
    named = {name.removeprefix("#/$defs/") for name in _references(schema)}
    assert named == set(schema["$defs"])


def _references(node: Any) -> set[str]:
    if isinstance(node, dict):
        own = {node["$ref"]} if "$ref" in node else set()
        return own.union(*map(_references, node.values()))
    return set().union(*map(_references, node)) if isinstance(node, list) else set()


@pytest.mark.parametrize("command", json_schemas.names())
def test_a_schema_closes_no_object_so_that_keys_can_be_added(command: str) -> None:
    assert '"additionalProperties": false' not in json.dumps(json_schemas.schema(command))


def test_answers_keep_to_their_schemas(tmp_path: Path) -> None:
    model, cut = tmp_path / "m", tmp_path / "t"
    assert answer("synth", model, "--layers", "1", "-n")["data"]["estimate"] is not None
    assert answer("synth", model, "--layers", "1")["data"]["already_done"] is False
    assert answer("synth", model, "--layers", "1")["data"]["already_done"] is True
    assert answer("reshard", model, "--tp", "2", "-o", cut)["data"]["lossless"] is True
    assert answer("convert", model, "--to", "hf", "-o", tmp_path / "h")["data"]["files"] == 1
    assert answer("quantize", model, "--bits", "8", "-o", tmp_path / "q")["data"]["account"]
    assert answer("verify", model, "--values")["status"] == "whole"
    assert answer("verify", cut)["data"]["layers"] == [{"layer": 0, "tensors": 12, "bad": []}]
    assert answer("inspect", cut)["data"]["ranks"] == 2
    out = tmp_path / "x.safetensors"
    data = answer("inspect", GOLDEN, "router/w", "--stats", "--extract", out)["data"]
    assert len(data["statistics"]) == len(data["extracted"]["arrays"]) == 3


def test_the_answer_about_a_damaged_checkpoint_keeps_to_its_schema(tmp_path: Path) -> None:
    source = synthesize(tmp_path / "m")
    (source / "ckpt-0" / "tensor00004_000").unlink()
    (source / "ckpt-0" / "tensor00099_000").write_bytes(b"what is this")
    document = answer("verify", source)
    assert (document["status"], document["exit_code"]) == ("damaged", 1)
    assert [row["bad"] for row in document["data"]["layers"]] == [["moe/linear_v/w"], []]
    assert answer("inspect", source)["data"]["complete"] is False


def test_a_file_whose_contents_changed_is_counted_to_its_layer(tmp_path: Path) -> None:
    source = synthesize(tmp_path / "m")
    path = source / "ckpt-0" / "tensor00016_000"
    contents = path.read_bytes()
    path.write_bytes(contents[:-1000] + bytes([contents[-1000] ^ 1]) + contents[-999:])
    document = answer("verify", source)
    assert [row["code"] for row in document["findings"]] == ["GP110"]
    assert [row["bad"] for row in document["data"]["layers"]] == [[], ["moe/linear_v/w"]]


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("verify", "nowhere"), 3),
        (("inspect", "nowhere"), 3),
        (("inspect", GOLDEN, "no/such/tensor"), 2),
        (("reshard", GOLDEN, "--tp", "3"), 2),
        (("reshard", GOLDEN, "--tp", "2", "--memory", "1MB"), 5),
        (("synth", "out", "--preset", "huge"), 2),
        (("synth", "out", "--heads", "3"), 2),
        (("convert", GOLDEN, "--to", "nothing"), 2),
        (("quantize", GOLDEN, "--bits", "5"), 2),
        (("quantize", GOLDEN, "--for", "vllm", "--group", "256"), 2),
        (("verify", GOLDEN, "--color", "blue"), 2),
        (("verify", GOLDEN, "--report", "answer.txt"), 2),
    ],
)
def test_failures_keep_to_the_schema_of_their_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str | Path, ...], status: int
) -> None:
    monkeypatch.chdir(tmp_path)
    document = answer(*arguments)
    assert document["exit_code"] == status
    assert document["data"] == {}
    assert document["errors"]
    assert list(tmp_path.iterdir()) == []


def test_the_document_of_a_usage_error_keeps_to_its_schema() -> None:
    from grokpack.core.errors import WrongUsage
    from grokpack.report.envelope import failure

    error = WrongUsage("No such option: --tq", None, (("option", "--tq"),))
    check(failure("usage", error, error.exit_status))


@pytest.mark.parametrize("wrong", ["code", "missing", "status", "data of an error", "negative"])
def test_the_schemas_refuse_what_is_wrong(wrong: str) -> None:
    document = answer("verify", GOLDEN)
    row = {"code": "E5", "message": "", "severity": "error"}
    broken: dict[str, dict[str, Any]] = {
        "code": {"findings": [row | dict.fromkeys(("file", "tensor", "expected", "found"))]},
        "missing": {"data": {k: v for k, v in document["data"].items() if k != "checks"}},
        "status": {"status": "fine"},
        "data of an error": {"status": "error", "exit_code": 3},
        "negative": {"data": document["data"] | {"bytes": -1}},
    }
    with pytest.raises(ValidationError):
        check(document | broken[wrong])


def test_a_schema_that_there_is_not_names_the_nearest() -> None:
    done = CliRunner().invoke(app, ["explain", "--schema", "verfy"])
    assert done.exit_code == 2
    assert "did you mean `--schema verify`?" in done.stderr


def test_the_manifest_keeps_to_its_schema(tmp_path: Path) -> None:
    """Of every command that writes one, and where tables of tiles are large."""
    model = synthesize(tmp_path / "m")
    answer("reshard", model, "--tp", "2", "-o", tmp_path / "t")
    answer("convert", model, "--to", "archive", "-o", tmp_path / "a")
    answer("quantize", model, "--bits", "8", "--group", "32", "-o", tmp_path / "q")
    (model / "grokpack.json").unlink()
    answer("manifest", model, "--sha256")
    synth = ("--preset", "real-layer", "--sparse")  # files of more than 64 tiles
    answer("synth", tmp_path / "large", *synth)
    validator = Draft202012Validator(json_schemas.schema("grokpack.json"))
    found = [*tmp_path.rglob("grokpack.json")]
    assert len(found) == 5
    for path in found:
        validator.validate(json.loads(path.read_text(encoding="utf-8")))


def test_large_tables_are_compressed_and_read_alike(tmp_path: Path) -> None:
    """By a second program: 16 bytes for each tile, as xxhash gives them."""
    import base64

    import xxhash
    import zstandard

    from grokpack.checkpoint import manifest_file
    from grokpack.core.tiles import TILE_BYTES

    answer("synth", tmp_path / "m", "--preset", "real-layer", "--sparse")
    document = json.loads((tmp_path / "m" / "grokpack.json").read_text(encoding="utf-8"))
    large = {n: row for n, row in document["files"].items() if "tiles_zstd" in row}
    assert large
    for name, row in large.items():
        packed = zstandard.decompress(base64.b64decode(row["tiles_zstd"]))
        with (tmp_path / "m" / name).open("rb") as handle:
            tiles = [xxhash.xxh3_128_digest(handle.read(TILE_BYTES)) for _ in range(2)]
        assert packed[:32] == b"".join(tiles)
        assert len(packed) == 16 * -(-row["bytes"] // TILE_BYTES)
        assert "".join(manifest_file.tiles(row)) == packed.hex()
    assert answer("verify", tmp_path / "m")["status"] == "whole"
    row["tiles_zstd"] = base64.b64encode(zstandard.compress(packed[:-16])).decode()
    (tmp_path / "m" / "grokpack.json").write_text(json.dumps(document), encoding="utf-8")
    assert answer("verify", tmp_path / "m", "--data")["errors"][0]["code"] == "GP209"
