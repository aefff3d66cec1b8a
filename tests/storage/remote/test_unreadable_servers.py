"""Servers that cannot be read: each is named, with what it did."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from grokpack import storage
from grokpack.checkpoint.open_checkpoint import open_checkpoint, survey
from grokpack.conversion.plan_reshard import plan_reshard
from grokpack.core.errors import GrokpackError
from grokpack.execution.run import execute
from tests.support.servers import Answer, Asked, Server, serving


def test_nothing_there_says_what_was_looked_for(served: Server) -> None:
    with pytest.raises(GrokpackError) as caught:
        survey(f"{served.url}/elsewhere")
    assert caught.value.code == "GP201"
    assert ("looked for", "tensor00000_000") in caught.value.facts


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        url = server.url
    with pytest.raises(GrokpackError) as caught:
        survey(f"{url}/grok")
    assert caught.value.code == "GP221"
    assert ("happened", "no connection: Connection refused") in caught.value.facts


@pytest.mark.parametrize(
    ("name", "code"), [("tensor00005_000", 401), ("tensor00005_000", 403), ("config.json", 401)]
)
def test_a_file_that_alone_is_refused_is_not_missing(served: Server, name: str, code: int) -> None:
    """403 for a config may mean that there is none: buckets that may not be listed say that."""

    def refuse(asked: Asked, answer: Answer) -> None:
        if asked.path.endswith(f"/{name}"):
            answer.status, answer.body, answer.headers = code, b"", {}

    served.fault = refuse
    with pytest.raises(GrokpackError) as caught:
        survey(f"{served.url}/grok")
    assert caught.value.code == "GP222"
    assert name in str(caught.value)


def test_access_that_is_refused_says_so(served: Server) -> None:
    def refuse(_: Asked, answer: Answer) -> None:
        answer.status, answer.body, answer.headers = 403, b"", {}

    served.fault = refuse
    with pytest.raises(GrokpackError) as caught:
        survey(f"{served.url}/grok")
    assert caught.value.code == "GP222"


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/grok",
        "https:///grok",
        "https://user:word@host/grok",
        "https://host/grok?x=1",
        "https://host/../grok",
        "https://host/gr\nok",
        "hf://xai-org",
    ],
)
def test_a_url_that_would_be_misunderstood_is_refused(url: str) -> None:
    with pytest.raises(GrokpackError) as caught:
        survey(url)
    assert caught.value.code == "GP224"


def test_an_output_at_a_url_is_refused(served: Server) -> None:
    with pytest.raises(GrokpackError) as caught:
        execute(plan_reshard(open_checkpoint(str(served.root / "grok")), 2), f"{served.url}/out")
    assert caught.value.code == "GP326"


@pytest.mark.parametrize("to", ["http://127.0.0.1:1/x", "file:///etc/passwd", "https://a@b/x"])
def test_redirections_stay_on_the_web_and_end(to: str, served: Server) -> None:
    where = served.url + "/grok/x" if to.startswith("http://127") else to

    def loop(_: Asked) -> Answer:
        return Answer(302, {"Location": where})

    served.route = loop
    with pytest.raises(GrokpackError) as caught:
        storage.FileBytes(f"{served.url}/grok/config.json").size()
    assert caught.value.code == "GP223"


def test_a_manifest_of_a_server_names_no_file_elsewhere(tmp_path: Path) -> None:
    names = ["../../etc/passwd", "/etc/passwd", "a\\b", "ok/tensor", "x\x1b[2J"]
    (tmp_path / "grok").mkdir()
    (tmp_path / "grok" / "grokpack.json").write_text(json.dumps({"files": dict.fromkeys(names)}))
    with serving(tmp_path) as server:
        assert storage.names(f"{server.url}/grok") == ["grokpack.json", "ok"]
