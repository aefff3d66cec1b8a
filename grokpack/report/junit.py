"""Results as JUnit XML: a test case for each file, grouped by layer.

It uses the elements and attributes that Jenkins, GitLab and GitHub's reporters read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from grokpack.models import registry
from grokpack.report.text import error_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from grokpack.core.documents.answer_json import Answer, FindingJson

_ELSEWHERE = "checkpoint"  # what belongs to no layer
_UNWRITABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold."""


@dataclass(frozen=True, slots=True)
class Case:
    """Test case: something that was checked.

    Attributes:
        group: The layer, `layer_04`, or `checkpoint`.
        name: The tensor below its layer, or the file's name.
        file: The file, by which its findings are found.
    """

    group: str
    name: str
    file: str


def render(document: Answer, cases: Sequence[Case] = ()) -> str:
    """Render the document as XML; without cases the command itself is one."""
    command = document["schema"].split("/")[1]
    shown = list(cases)
    known = {case.file for case in shown}
    lost = dict.fromkeys((f["file"], f["tensor"]) for f in document["findings"])
    shown += [_of_finding(*row) for row in lost if row[0] not in known]
    if not shown or document["errors"]:
        shown.append(Case("grokpack", command, ""))
    suite = ET.Element("testsuite", name=f"grokpack {command}")
    for case in shown:
        _add(suite, case, document)
    for attribute, kind in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(attribute, str(len(suite.findall(f"testcase/{kind}"))))
    suite.set("tests", str(len(shown)))
    suite.set("time", str(document["data"].get("seconds", 0)))
    suites = ET.Element("testsuites")
    suites.append(suite)
    ET.indent(suites)
    return ET.tostring(suites, encoding="unicode", xml_declaration=False)


def _add(suite: ET.Element, case: Case, document: Answer) -> None:
    shown = ET.SubElement(suite, "testcase", classname=_clean(case.group), name=_clean(case.name))
    own = [f for f in document["findings"] if (f["file"] or "") == case.file]
    errors = [f for f in own if f["severity"] == "error"]
    if errors:
        codes = ", ".join(dict.fromkeys(f["code"] for f in errors))
        message = f"{codes}: {errors[0]['message']}"
        failure = ET.SubElement(shown, "failure", message=_clean(message))
        failure.text = _clean("\n".join(map(_text, errors)))
    warnings = [f for f in own if f["severity"] != "error"]
    if warnings:
        ET.SubElement(shown, "system-out").text = _clean("\n".join(map(_text, warnings)))
    if case.group == "grokpack":
        for row in document["errors"]:
            error = ET.SubElement(shown, "error", type=row["code"], message=_clean(row["message"]))
            error.text = _clean(row["hint"] or "")


def _of_finding(file: str | None, tensor: str | None) -> Case:
    return case(file or "", (tensor,) if tensor else ())


def case(file: str, tensors: Sequence[str]) -> Case:
    """Make the case for a file that holds these tensors."""
    if len(tensors) != 1:
        return Case(_ELSEWHERE, file or _ELSEWHERE, file)
    family = registry.by_paths(tensors)
    layer, path = family.layer_of(tensors[0]), family.path_of(tensors[0])
    return Case(_ELSEWHERE if layer is None else f"layer_{layer:02d}", path, file)


def _text(finding: FindingJson) -> str:
    places = (("file", finding["file"]), ("tensor", finding["tensor"]))
    named = (f"{label} {place}" for label, place in places if place)
    sentence = f"{finding['code']}: {finding['message']}"
    return "\n  ".join([sentence, *named, *error_text.compared(finding)])


def _clean(text: str) -> str:
    return _UNWRITABLE.sub("\N{REPLACEMENT CHARACTER}", text)
