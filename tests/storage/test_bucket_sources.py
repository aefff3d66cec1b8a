"""Sources in buckets and at the hub: how names are listed, who asks, and where answers lead."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import pytest
from urllib3 import HTTPResponse

from grokpack import storage
from grokpack.checkpoint.open_checkpoint import open_checkpoint, survey
from grokpack.conversion.plan_reshard import plan_reshard
from grokpack.core.errors import GrokpackError
from grokpack.execution.run import execute
from grokpack.verification.verify_structure import verify_structure
from tests.support.buckets import client, running
from tests.support.checkpoints import GOLDEN, reshard, tree
from tests.support.servers import Answer, Asked, Server, impatient, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

BUCKET = "grok-weights"
TOKEN = "of-nobody"  # noqa: S105  # no secret


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    impatient(monkeypatch)


def use(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    """Set variables of the environment, and have them looked at anew."""
    from grokpack.storage.http import services

    for name, text in variables.items():
        monkeypatch.setenv(name, text)
    services.forget()


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    """The URL of a server that holds the golden checkpoint."""
    with running() as server:
        s3 = client(server)
        s3.create_bucket(Bucket=BUCKET)
        for path in sorted(GOLDEN.rglob("*")):
            if path.parent.name == "ckpt-0" or path.name == "config.json":
                key = f"models/{path.relative_to(GOLDEN).as_posix()}"
                s3.put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes(), ACL="public-read")
        s3.put_object(Bucket=BUCKET, Key="private/config.json", Body=b"{}")
        s3.close()
        yield server.url


@pytest.mark.parametrize("variable", ["GROKPACK_S3_ENDPOINT", "AWS_ENDPOINT_URL"])
@pytest.mark.parametrize("keys", [{}, {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}])
def test_a_bucket_is_read_like_a_folder(
    variable: str, keys: dict[str, str], moto: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, **{variable: moto}, **keys)
    found = survey(f"s3://{BUCKET}/models")
    assert verify_structure(found).whole
    assert found.checkpoint is not None
    assert found.checkpoint.config["key_size"]
    execute(plan_reshard(found.checkpoint, 2), str(tmp_path / "far"))
    reshard(GOLDEN, tmp_path / "local", 2)
    assert tree(tmp_path / "far") == tree(tmp_path / "local")


def test_what_is_not_public_is_read_with_keys_only(
    moto: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"s3://{BUCKET}/private/config.json"
    use(monkeypatch, GROKPACK_S3_ENDPOINT=moto)
    storage.forget(path)
    with pytest.raises(GrokpackError) as caught:
        storage.FileBytes(path).size()
    assert caught.value.code == "GP222"
    storage.forget(path)
    use(monkeypatch, AWS_ACCESS_KEY_ID="name", AWS_SECRET_ACCESS_KEY=TOKEN)
    assert storage.FileBytes(path).read(0, 2) == b"{}"
    storage.forget(path)
    use(monkeypatch, GROKPACK_ANONYMOUS="1")
    assert not storage.exists(path)


def test_a_long_listing_is_read_to_its_end(moto: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """moto gives a thousand names a page; so few files take a smaller one."""
    from grokpack.storage.http import bucket

    use(monkeypatch, GROKPACK_S3_ENDPOINT=moto)
    listing = bucket.Bucket.listing

    def short(*args: Any, **options: Any) -> Any:
        page = listing(*args, **options)
        url = page.url() + "&max-keys=7"
        return type(page)(page.path, page.site, lambda: url)

    monkeypatch.setattr(bucket.Bucket, "listing", short)
    storage.forget(f"s3://{BUCKET}")
    assert len(storage.names(f"s3://{BUCKET}/models/ckpt-0")) == 38
    assert storage.names(f"s3://{BUCKET}") == ["models", "private"]
    assert len(storage.tree(f"s3://{BUCKET}/models")) == 39


def test_nothing_in_a_bucket_says_so(moto: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, GROKPACK_S3_ENDPOINT=moto)
    for url in (f"s3://{BUCKET}/elsewhere", f"s3://{BUCKET}", "s3://no-such-bucket/x"):
        with pytest.raises(GrokpackError) as caught:
            survey(url)
        assert caught.value.code in ("GP201", "GP203")


@pytest.mark.parametrize(
    ("region", "domain"),
    [
        ("cn-north-1", "amazonaws.com.cn"),
        ("eusc-de-east-1", "amazonaws.eu"),
        ("us-gov-west-1", "amazonaws.com"),
    ],
)
def test_regions_apart_have_the_domains_that_botocore_gives_them(region: str, domain: str) -> None:
    from botocore.session import Session

    from grokpack.storage.http.aws_credentials import AwsCredentials
    from grokpack.storage.http.bucket import S3Bucket

    own = S3Bucket("weights", AwsCredentials(anonymous=True), region).base()
    assert own == f"https://weights.s3.{region}.{domain}"
    theirs = Session().create_client("s3", region_name=region).meta.endpoint_url
    assert theirs == f"https://s3.{region}.{domain}"


def test_a_bucket_is_asked_in_its_own_region_once_that_is_known() -> None:
    from grokpack.storage.http.aws_credentials import AwsCredentials
    from grokpack.storage.http.bucket import S3Bucket
    from grokpack.storage.urls import parse

    nobody, url = AwsCredentials(anonymous=True), parse("s3://grok-weights/a b/c+d")

    def learned(region: str) -> str | None:
        response = HTTPResponse(headers={"x-amz-bucket-region": region}, status=400)
        return bucket.learn({}, response, b"")

    bucket = S3Bucket("grok-weights", nobody)
    assert bucket.url(url) == "https://grok-weights.s3.amazonaws.com/a%20b/c%2Bd"
    assert not learned("evil.example/")
    assert learned("eu-west-1")
    assert not learned("eu-west-1")
    assert bucket.url(url) == "https://grok-weights.s3.eu-west-1.amazonaws.com/a%20b/c%2Bd"
    dotted = S3Bucket("a.b", nobody, region="eu-west-1")
    assert dotted.base() == "https://s3.eu-west-1.amazonaws.com/a.b"


# --- a bucket as Google serves it, and one that may not be listed --------------------------------


@pytest.fixture
def stocked(tmp_path: Path) -> Iterator[Server]:
    root = tmp_path / "served"
    shutil.copytree(GOLDEN / "ckpt-0", root / BUCKET / "models" / "ckpt-0")
    shutil.copy(GOLDEN / "config.json", root / BUCKET / "models")
    storage.forget(f"gs://{BUCKET}")
    storage.forget(f"s3://{BUCKET}")
    with serving(root) as server:
        yield server


def listing(server: Server, asked: Asked, page: int = 10) -> Answer | None:
    """ListObjectsV2 in Google's form, a few names a page."""
    if asked.path.strip("/") != BUCKET:
        return None
    query = {name: texts[0] for name, texts in parse_qs(asked.query).items()}
    prefix, folder = query.get("prefix", ""), server.root / BUCKET
    keys = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    below = [key for key in keys if key.startswith(prefix)]
    deeper = [k for k in below if "delimiter" in query and "/" in k[len(prefix) :]]
    names = [f"<Contents><Key>{k}</Key></Contents>" for k in below if k not in deeper]
    folders = sorted({k[len(prefix) :].split("/")[0] for k in deeper})
    names += [f"<CommonPrefixes><Prefix>{prefix}{f}/</Prefix></CommonPrefixes>" for f in folders]
    first = int(query.get("continuation-token", 0))
    after = first + page
    more = f"<NextContinuationToken>{after}</NextContinuationToken>" if after < len(names) else ""
    text = "".join(names[first:after]) + more
    body = f"<ListBucketResult xmlns='http://s3.amazonaws.com/'>{text}<Prefix/></ListBucketResult>"
    return Answer(200, {"Content-Type": "application/xml"}, body.encode())


def test_a_bucket_of_google_is_read_with_and_without_a_token(
    stocked: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    stocked.route = lambda asked: listing(stocked, asked)
    use(monkeypatch, GROKPACK_GS_ENDPOINT=stocked.url)
    assert survey(f"gs://{BUCKET}/models").whole
    assert not any("authorization" in asked.headers for asked in stocked.asked)
    stocked.forget()
    use(monkeypatch, GOOGLE_OAUTH_ACCESS_TOKEN=TOKEN)
    assert survey(f"gs://{BUCKET}/models").whole
    assert all(asked.headers["authorization"] == f"Bearer {TOKEN}" for asked in stocked.asked)


def test_a_bucket_that_may_not_be_listed_is_asked_for_the_names_it_must_have(
    stocked: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the right to list, what does not exist is refused as well."""

    def fault(_: Asked, answer: Answer) -> None:
        if answer.status != 206:
            answer.status, answer.headers = 403, {}
            answer.body = b"<Error><Code>AccessDenied</Code></Error>"

    stocked.fault = fault
    use(monkeypatch, GROKPACK_S3_ENDPOINT=stocked.url)
    assert survey(f"s3://{BUCKET}/models").whole
    with pytest.raises(GrokpackError) as caught:
        survey(f"s3://{BUCKET}/private")
    assert caught.value.code == "GP222"
    assert ("answer", "403 AccessDenied") in caught.value.facts
    assert "export-credentials" in str(caught.value.hint)


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"<!DOCTYPE x [<!ENTITY a 'b'>]><ListBucketResult>&a;</ListBucketResult>",
        b"<L><NextContinuationToken>same</NextContinuationToken></L>",
        b"\xff",
    ],
)
def test_a_listing_that_is_none_is_an_error(
    body: bytes, stocked: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    stocked.route = lambda _: Answer(200, {}, body)
    use(monkeypatch, GROKPACK_S3_ENDPOINT=stocked.url)
    with pytest.raises(GrokpackError) as caught:
        storage.names(f"s3://{BUCKET}/models")
    assert caught.value.code == "GP209"


# --- the hub -------------------------------------------------------------------------------------


class Hub:
    """Hugging Face as its clients see it: a tree a page at a time, and files behind redirections.

    Attributes:
        site: What huggingface.co is.
        cdn: Where the files are; a signed address is good for so many requests.
    """

    def __init__(self, site: Server, cdn: Server, good_for: int) -> None:
        self.site, self.cdn, self.good_for = site, cdn, good_for
        self.used: dict[str, int] = {}
        self.signed = 0
        site.route, cdn.route = self.answer, self.serve

    def answer(self, asked: Asked) -> Answer | None:
        tree_of = "api/models/xai-org/grok-1/tree/main"
        files = "xai-org/grok-1/resolve/main/"
        if asked.path.startswith(tree_of):
            return self.tree(asked, asked.path.removeprefix(tree_of).strip("/"))
        if asked.path.startswith(files):
            name = asked.path.removeprefix(files)
            if not (self.cdn.root / name).is_file():
                return Answer(404, {"X-Error-Code": "EntryNotFound"})
            if "if-match" in asked.headers:
                return Answer(412, {})  # its own tag is another
            self.signed += 1
            location = f"{self.cdn.url}/{name}?Expires=9&Signature={self.signed}"
            return Answer(302, {"Location": location, "X-Linked-Size": "1"})
        return Answer(404, {})

    def tree(self, asked: Asked, below: str) -> Answer:
        folder = self.cdn.root / below
        if not folder.is_dir():
            return Answer(404, {})
        rows = [
            {
                "type": "directory" if path.is_dir() else "file",
                "path": path.relative_to(self.cdn.root).as_posix(),
                "size": path.stat().st_size,
            }
            for path in sorted(folder.iterdir())
        ]
        first = int(parse_qs(asked.query).get("cursor", ["0"])[0])
        headers = {}
        if first + 20 < len(rows):
            after = f"{self.site.url}/{asked.path}?cursor={first + 20}"
            headers["Link"] = f'<{after}>; rel="next"'
        return Answer(200, headers, json.dumps(rows[first : first + 20]).encode())

    def serve(self, asked: Asked) -> Answer | None:
        self.used[asked.query] = self.used.get(asked.query, 0) + 1
        return Answer(403, {}) if self.used[asked.query] > self.good_for else None


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    root = tmp_path / "repository"
    shutil.copytree(GOLDEN / "ckpt-0", root / "ckpt-0")
    shutil.copy(GOLDEN / "config.json", root)
    with serving(tmp_path / "site") as site, serving(root) as cdn:
        use(monkeypatch, HF_ENDPOINT=site.url, HF_TOKEN=TOKEN)
        storage.forget("hf://xai-org/grok-1")
        yield Hub(site, cdn, good_for=5)


def test_the_hub_is_read_through_its_redirections(hub: Hub, tmp_path: Path) -> None:
    found = survey("hf://xai-org/grok-1")
    assert verify_structure(found).whole
    execute(plan_reshard(open_checkpoint("hf://xai-org/grok-1"), 2), str(tmp_path / "far"))
    reshard(GOLDEN, tmp_path / "local", 2)
    assert tree(tmp_path / "far") == tree(tmp_path / "local")
    # A signed address serves until it expires; the site itself is asked seldom.
    assert max(hub.used.values()) > 1
    resolved = [asked for asked in hub.site.asked if "resolve" in asked.path]
    assert len(resolved) < len(hub.cdn.asked)


def test_the_token_goes_to_the_hub_and_nowhere_else(hub: Hub) -> None:
    assert survey("hf://xai-org/grok-1@main").whole
    assert {asked.headers.get("authorization") for asked in hub.site.asked} == {f"Bearer {TOKEN}"}
    assert not any("authorization" in asked.headers for asked in hub.cdn.asked)


def test_a_private_repository_says_what_to_do(hub: Hub) -> None:
    hub.site.route = lambda _: Answer(401, {})
    with pytest.raises(GrokpackError) as caught:
        survey("hf://xai-org/grok-1")
    assert caught.value.code == "GP222"
    assert "HF_TOKEN" in str(caught.value.hint)


def test_another_revision_is_another_place(hub: Hub) -> None:
    with pytest.raises(GrokpackError) as caught:
        survey("hf://xai-org/grok-1@" + "0" * 40)
    assert caught.value.code == "GP201"
    assert any("0" * 40 in asked.path for asked in hub.site.asked)


def test_a_default_output_is_called_after_the_url() -> None:
    from grokpack.cli.source_path import default_out

    here = Path.cwd()
    for url, name in (
        ("hf://xai-org/grok-1", "grok-1"),
        ("hf://xai-org/grok-1@main/ckpt-0", "grok-1"),
        ("s3://weights/models/grok/ckpt-0", "grok"),
        ("https://host/model.gguf", "model"),
        ("https://host:8000", "host:8000"),
    ):
        assert default_out(url, "tp8") == str(here / f"{name}-tp8")
