"""What the package index shows: links are made of one address, and none leads nowhere."""

from __future__ import annotations

import importlib.util
import re
from typing import Any

import grokpack
from tests.support.project import ROOT

ADDRESS = "https://example.org/grokpack"


def hook() -> Any:
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def links(text: str) -> list[str]:
    return re.findall(r"\]\(([^)]+)\)", text)


def test_without_an_address_readme_has_no_link_to_what_lies_beside_it() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert any(not link.startswith("http") for link in links(readme))
    shown = hook().linked(readme, "")
    assert all(link.startswith(("http", "#")) for link in links(shown))
    assert hook().urls("") == {}


def test_with_an_address_every_link_is_below_it_and_is_a_file() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for link in links(hook().linked(readme, ADDRESS)):
        if link.startswith(ADDRESS):
            path = re.sub(rf"{ADDRESS}/(blob|raw)/main/", "", link).partition("#")[0]
            assert (ROOT / path).is_file(), link
        else:
            assert link.startswith(("http", "#"))
    assert hook().urls(ADDRESS)["Changelog"].endswith("CHANGELOG.md")


def test_the_address_is_read_from_the_program() -> None:
    found = hook()._repository(ROOT / "grokpack" / "core" / "version.py")
    assert found == grokpack.core.version.REPOSITORY


def test_the_metadata_of_a_build_has_both() -> None:
    metadata: dict[str, Any] = {}
    hook().LinkedMetadata(str(ROOT), {}).update(metadata)
    assert metadata["readme"]["text"].startswith("# grokpack")
    assert metadata["urls"] == hook().urls(grokpack.core.version.REPOSITORY)
