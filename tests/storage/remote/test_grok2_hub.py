"""Grok-2 straight from the hub: its files are read where redirects lead."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grokpack import storage
from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.conversion.plan_convert import plan_convert
from grokpack.execution.run_part import RunPart, execute_part
from grokpack.storage.http import services
from tests.support import hub_files
from tests.support.grok2 import RELEASE, hashed, listed
from tests.support.hub_files import HubFiles
from tests.support.servers import serving

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_the_release_is_merged_from_the_hub_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(RELEASE) as site, serving(RELEASE) as network:
        HubFiles(RELEASE, site, network, "of-nobody")
        monkeypatch.setenv("HF_ENDPOINT", site.url)
        monkeypatch.setenv("HF_TOKEN", "of-nobody")
        services.forget()
        storage.forget(f"hf://{hub_files.OLD}")
        plan = plan_convert(open_checkpoint(f"hf://{hub_files.OLD}"), "hf")
        execute_part(plan, str(tmp_path / "hf"), RunPart(2, 2))
        assert execute_part(plan, str(tmp_path / "hf"), RunPart(1, 2)).published
    assert hashed(tmp_path / "hf") == listed()
    assert (tmp_path / "hf" / "LICENSE").read_bytes() == (RELEASE / "LICENSE").read_bytes()
    assert (tmp_path / "hf" / "tokenizer.json").exists()
