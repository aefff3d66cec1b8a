"""Listings as servers give them: whole, page by page, or an error, and never a part."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, quote_plus
from xml.sax.saxutils import escape

import pytest

from grokpack import storage
from grokpack.checkpoint.open_checkpoint import survey
from grokpack.core.errors import GrokpackError
from grokpack.storage.http import services
from tests.support.checkpoints import GOLDEN
from tests.support.servers import Answer, Asked, Server, impatient, serving

FOLDER = "s3://weights/models/ckpt-0"
HUB = "hf://xai-org/grok-1"
PAGE = 10

Next = Callable[[dict[str, str], str], str]
"""Tells what a page that was cut says of the next: from its query and its last name."""


@pytest.fixture
def stocked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    root = tmp_path / "served"
    shutil.copytree(GOLDEN / "ckpt-0", root / "weights" / "models" / "ckpt-0")
    shutil.copy(GOLDEN / "config.json", root / "weights" / "models")
    impatient(monkeypatch)
    with serving(root) as server:
        for name in ("GROKPACK_S3_ENDPOINT", "HF_ENDPOINT"):
            monkeypatch.setenv(name, server.url)
        services.forget()
        for url in ("s3://weights", HUB):
            storage.forget(url)
        yield server


def version_1(_: dict[str, str], last: str) -> str:
    return f"<NextMarker>{last}</NextMarker>"


def version_1_without_marker(_: dict[str, str], __: str) -> str:
    return ""


def version_2(_: dict[str, str], last: str) -> str:
    return f"<NextContinuationToken>after {last}</NextContinuationToken>"


def empty_token(_: dict[str, str], last: str) -> str:
    return f"<NextContinuationToken/><NextMarker>{last}</NextMarker>"


def first_token_again(_: dict[str, str], __: str) -> str:
    return "<NextContinuationToken>same</NextContinuationToken>"


def listed(server: Server, asked: Asked, following: Next, marked: bool = False) -> Answer | None:
    """A page of a bucket's listing; `marked` has objects that stand for folders."""
    if asked.path.strip("/") != "weights":
        return None
    query = {name: texts[0] for name, texts in parse_qs(asked.query).items()}
    prefix, root = query.get("prefix", ""), server.root / "weights"
    keys = {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()}
    if marked:
        keys |= {"models/", "models/ckpt-0/", "models/ckpt-0_$folder$", "models_$folder$"}
    below = sorted(key for key in keys if key.startswith(prefix))
    token = query.get("continuation-token", "").removeprefix("after ").removeprefix("same")
    assert "marker" not in query or "list-type" not in query
    below = [key for key in below if key > (token or query.get("marker", ""))]
    rows: dict[str, str] = {}
    for key in below:
        first, slash, _ = key[len(prefix) :].partition("/")
        if slash and "delimiter" in query:
            folder = f"<CommonPrefixes><Prefix>{prefix}{first}/</Prefix></CommonPrefixes>"
            rows[f"{prefix}{first}/"] = folder
        else:
            rows[key] = f"<Contents><Key>{key}</Key></Contents>"
    names = list(rows)[:PAGE]
    cut = len(rows) > PAGE
    text = "".join(rows[name] for name in names) + (following(query, names[-1]) if cut else "")
    text += f"<IsTruncated>{str(cut).lower()}</IsTruncated><Prefix>{prefix}</Prefix>"
    body = f"<ListBucketResult xmlns='http://s3.amazonaws.com/'>{text}</ListBucketResult>"
    return Answer(200, {"Content-Type": "application/xml"}, body.encode())


@pytest.mark.parametrize("marked", [False, True])
@pytest.mark.parametrize("following", [version_1, version_1_without_marker, version_2, empty_token])
def test_a_listing_in_pages_is_read_to_its_end(
    following: Next, marked: bool, stocked: Server
) -> None:
    stocked.route = lambda asked: listed(stocked, asked, following, marked)
    files = sorted(path.name for path in (GOLDEN / "ckpt-0").iterdir())
    assert storage.names(FOLDER) == files
    assert storage.tree("s3://weights/models") == sorted(
        ["config.json", *(f"ckpt-0/{name}" for name in files)]
    )
    assert storage.names("s3://weights/models") == ["ckpt-0", "config.json"]
    assert survey("s3://weights/models").whole


@pytest.mark.parametrize(
    "said",
    [
        "<IsTruncated>1</IsTruncated><NextMarker>models/ckpt-0/a</NextMarker>",
        "<IsTruncated> TRUE </IsTruncated>",
        "<MaxKeys>1</MaxKeys><Prefix>models/ckpt-0/</Prefix>",
    ],
)
def test_a_page_says_in_several_ways_that_it_was_cut(said: str, stocked: Server) -> None:
    def page(asked: Asked) -> Answer:
        first = "marker" not in asked.query
        text = f"<Contents><Key>models/ckpt-0/{'a' if first else 'b'}</Key></Contents>"
        text += said if first else "<IsTruncated>false</IsTruncated>"
        return Answer(200, {}, f"<ListBucketResult>{text}</ListBucketResult>".encode())

    stocked.route = page
    assert storage.names(FOLDER) == ["a", "b"]


@pytest.mark.parametrize("encodes", [True, False])
def test_names_are_encoded_where_a_server_says_so(encodes: bool, stocked: Server) -> None:
    """XML holds no control characters, and no character of such a name may hide the others."""
    plain = ["a%41+b c", "\u00fc&"]

    def page(asked: Asked) -> Answer:
        assert "encoding-type=url" in asked.query.split("&")
        keys = [f"models/ckpt-0/{name}" for name in (*plain, *("\x01\ufffe" if encodes else ""))]
        named = [quote_plus(key, safe="/") if encodes else escape(key) for key in keys]
        text = "<EncodingType>url</EncodingType>" if encodes else ""
        text += "".join(f"<Contents><Key>{name}</Key></Contents>" for name in named)
        return Answer(200, {}, f"<ListBucketResult>{text}</ListBucketResult>".encode())

    stocked.route = page
    assert storage.names(FOLDER) == plain


def test_a_token_that_comes_again_is_an_error(stocked: Server) -> None:
    stocked.route = lambda asked: listed(stocked, asked, first_token_again)
    with pytest.raises(GrokpackError, match="one that came before") as caught:
        storage.names(FOLDER)
    assert caught.value.code == "GP209"
    assert len(stocked.asked) == 2


def test_a_page_that_was_cut_and_names_nothing_is_an_error(stocked: Server) -> None:
    body = b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>"
    stocked.route = lambda _: Answer(200, {}, body)
    with pytest.raises(GrokpackError, match="nothing says where it goes on"):
        storage.names(FOLDER)


def test_a_server_that_heeds_no_marker_is_an_error(stocked: Server) -> None:
    def heedless(asked: Asked) -> Answer | None:
        query = asked.query.replace("marker", "ignored")
        return listed(stocked, Asked(0, asked.path, query, {}), version_1)

    stocked.route = heedless
    with pytest.raises(GrokpackError, match="one that came before"):
        storage.names(FOLDER)


@pytest.mark.parametrize("status", [403, 404])
@pytest.mark.parametrize("following", [version_1, version_2])
def test_a_listing_whose_second_page_is_not_given_is_an_error(
    status: int, following: Next, stocked: Server
) -> None:
    def half(asked: Asked) -> Answer | None:
        first = "marker" not in asked.query and "continuation" not in asked.query
        return listed(stocked, asked, following) if first else Answer(status, {})

    stocked.route = half
    with pytest.raises(GrokpackError, match="its next page is") as caught:
        storage.names(FOLDER)
    assert caught.value.code == "GP209"


@pytest.mark.parametrize(
    "form",
    [
        "</{path}?cursor=1>; rel=next",
        '<{url}>; a="b"; rel="next"',
        '</first>; rel="prev", <{url}>; title="a, b; c"; rel=next',
        '<{url}>;REL="last NEXT"',
        '</{path}>; title="rel=next"; rel=prev, <{url}>; rel = "next"',
    ],
)
def test_links_of_the_hub_are_followed_in_each_form(form: str, stocked: Server) -> None:
    def tree(asked: Asked) -> Answer:
        rows = [{"type": "file", "path": "b" if "cursor" in asked.query else "a"}]
        url = f"{stocked.url}/{asked.path}?cursor=1"
        link = {} if "cursor" in asked.query else {"Link": form.format(path=asked.path, url=url)}
        return Answer(200, link, json.dumps(rows).encode())

    stocked.route = tree
    assert storage.names(HUB) == ["a", "b"]


def test_a_link_of_the_hub_that_comes_again_is_an_error(stocked: Server) -> None:
    link = {"Link": f'<{stocked.url}/again>; rel="next"'}
    stocked.route = lambda _: Answer(200, link, b"[]")
    with pytest.raises(GrokpackError, match="one that came before"):
        storage.names(HUB)


@pytest.mark.parametrize("body", [b"{}", b'""', b"0"])
def test_an_answer_of_the_hub_that_is_no_list_is_an_error(body: bytes, stocked: Server) -> None:
    stocked.route = lambda _: Answer(200, {}, body)
    with pytest.raises(GrokpackError) as caught:
        storage.names(HUB)
    assert caught.value.code == "GP209"


def test_a_page_that_breaks_off_is_asked_for_again(stocked: Server) -> None:
    def cut(asked: Asked, answer: Answer) -> None:
        if asked.number == 0:
            answer.cut = len(answer.body) // 2

    stocked.fault = cut
    stocked.route = lambda asked: listed(stocked, asked, version_2)
    assert len(storage.names(FOLDER)) == 38
