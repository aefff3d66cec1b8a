"""JSON Schemas of each command's document and of the manifest, made from their types.

Schemas allow unknown keys everywhere, so that additions break no reader.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from grokpack.core.documents.answer_json import FailureJson
from grokpack.core.documents.comparison_json import ComparisonAnswer
from grokpack.core.documents.evaluation_json import EvaluationAnswer
from grokpack.core.documents.generation_json import GenerationAnswer
from grokpack.core.documents.inspection_json import InspectionAnswer
from grokpack.core.documents.manifest_json import ManifestJson, RecordingAnswer
from grokpack.core.documents.plan_json import PlanAnswer
from grokpack.core.documents.verification_json import VerificationAnswer
from grokpack.core.errors import UnusableValue

ANSWERS: dict[str, Any] = {
    "convert": PlanAnswer,
    "diff": ComparisonAnswer,
    "evaluate": EvaluationAnswer,
    "generate": GenerationAnswer,
    "inspect": InspectionAnswer,
    "manifest": RecordingAnswer,
    "quantize": PlanAnswer,
    "reshard": PlanAnswer,
    "synth": PlanAnswer,
    "verify": VerificationAnswer,
}
"""Types of documents by command."""
USAGE = "usage"
"""Name of the schema for a command line without a command, which can only fail."""
MANIFEST = "grokpack.json"


def names() -> list[str]:
    """List the schemas of what commands print."""
    return sorted([*ANSWERS, USAGE])


def schema(name: str) -> dict[str, Any]:
    """Return the schema (draft 2020-12) of a command's document or of a file, self-contained.

    Raises:
        GrokpackError: GP346 where no command of that name prints JSON.
    """
    if name == MANIFEST:
        return _headed("manifest-file", name, _generated(ManifestJson))
    if name not in names():
        raise UnusableValue.choice("--schema", name, (*names(), MANIFEST))
    title = f"grokpack/{name}/1"
    forms = [_generated(form) for form in (ANSWERS.get(name), FailureJson) if form]
    definitions: dict[str, Any] = {}
    for form in forms:
        definitions |= form.pop("$defs")
        form["properties"]["schema"]["const"] = title
    return _headed(name, title, {"anyOf": forms, "$defs": definitions})


def _headed(identity: str, title: str, content: dict[str, Any]) -> dict[str, Any]:
    return {
        "$schema": GenerateJsonSchema.schema_dialect,
        "$id": f"urn:grokpack:schema:{identity}:1",
        "title": title,
        **content,
    }


def _generated(document: Any) -> dict[str, Any]:  # noqa: ANN401  # a type, as pydantic takes it
    """Return the schema of a type, the caller's own to change."""
    made: dict[str, Any] = _plain(_as_pydantic_has_it(document))
    return made


@cache
def _as_pydantic_has_it(document: Any) -> dict[str, Any]:  # noqa: ANN401  # as above
    return TypeAdapter(document).json_schema()


def _plain(value: Any) -> Any:  # noqa: ANN401  # JSON values
    """Leave out the titles that pydantic makes of names, and lay descriptions out in one line."""
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    plain = {key: _plain(inner) for key, inner in value.items()}
    if isinstance(plain.get("title"), str):
        del plain["title"]
    if isinstance(plain.get("description"), str):
        plain["description"] = " ".join(plain["description"].split()).removesuffix(".")
    return plain
