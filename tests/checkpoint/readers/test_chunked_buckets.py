"""Chunked stores in buckets and at the hub: read with credentials, where redirects lead."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from grokpack import storage
from grokpack.checkpoint.open_checkpoint import open_checkpoint, survey
from grokpack.checkpoint.summary import document
from grokpack.conversion.plan_convert import plan_convert
from grokpack.core.errors import GrokpackError
from grokpack.execution.run import execute
from grokpack.storage.http import file_info
from tests.storage.test_bucket_sources import TOKEN, listing, use
from tests.support import hub_files
from tests.support.buckets import Moto, client, running
from tests.support.checkpoints import synthesize, tensor_files
from tests.support.conversions import WIDE, convert
from tests.support.hub_files import HubFiles
from tests.support.servers import Server, impatient, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BUCKET = "grok-weights"  # that of `test_bucket_sources`, whose listing is used here
KINDS = ("zarr", "orbax")
KEYS = {"AWS_ACCESS_KEY_ID": "name", "AWS_SECRET_ACCESS_KEY": "of-nobody"}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    impatient(monkeypatch)


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize(tmp_path_factory.mktemp("origin") / "m", replace(WIDE, layers=1), seed=3)


@pytest.fixture(scope="module")
def stores(origin: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stores of each kind, as a bucket holds them."""
    root = tmp_path_factory.mktemp("stores")
    for kind in KINDS:
        convert(origin, root / BUCKET / "my models" / kind, kind, tp=2)
    return root


@pytest.fixture(scope="module")
def moto(stores: Path) -> Iterator[Moto]:
    """What is below `my models` is private there; what is read without keys lies below `public`."""
    with running() as server:
        s3 = client(server)
        s3.create_bucket(Bucket=BUCKET)
        for path in (p for p in (stores / BUCKET).rglob("*") if p.is_file()):
            key = path.relative_to(stores / BUCKET).as_posix()
            s3.put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes())
            if key.startswith("my models/zarr/"):
                public = key.replace("my models", "public", 1)
                s3.put_object(Bucket=BUCKET, Key=public, Body=path.read_bytes(), ACL="public-read")
        s3.close()
        yield server


def check(far: str, near: Path, origin: Path, tmp_path: Path) -> None:
    """See that a store is what it is in a folder, and gives back what it was made of."""
    tensors = [document(survey(place), None)["tensors"] for place in (far, str(near))]
    assert tensors[0] == tensors[1]
    execute(plan_convert(open_checkpoint(far), "ckpt-0"), str(tmp_path / "back"))
    assert tensor_files(tmp_path / "back" / "ckpt-0") == tensor_files(origin / "ckpt-0")


def _chunks(server: Server) -> list[str]:
    """Paths of the files of chunks that were asked for."""
    return [a.path for a in server.asked if not a.path.endswith((".json", "_METADATA"))]


def _profile(folder: Path) -> dict[str, str]:
    place = folder / "credentials"
    place.write_text("[work]\naws_access_key_id = name\naws_secret_access_key = secret\n")
    return {"AWS_SHARED_CREDENTIALS_FILE": str(place), "AWS_PROFILE": "work"}


@pytest.mark.parametrize(
    ("kind", "how"), [("zarr", "environment"), ("orbax", "profile"), ("zarr", "anonymous")]
)
def test_a_store_in_a_bucket_is_read_as_it_is_from_a_folder(
    kind: str,
    how: str,
    moto: Moto,
    stores: Path,
    origin: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys = {
        "environment": KEYS,
        "profile": _profile(tmp_path),
        "anonymous": {},
    }[how]
    use(monkeypatch, GROKPACK_S3_ENDPOINT=moto.url, **keys)
    folder = "public" if how == "anonymous" else "my models"
    storage.forget(f"s3://{BUCKET}")
    check(f"s3://{BUCKET}/{folder}/{kind}", stores / BUCKET / "my models" / kind, origin, tmp_path)


def test_what_is_not_public_asks_for_keys(moto: Moto, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, GROKPACK_S3_ENDPOINT=moto.url)
    storage.forget(f"s3://{BUCKET}")
    with pytest.raises(GrokpackError) as caught:
        survey(f"s3://{BUCKET}/my models/zarr")
    assert caught.value.code == "GP222"


@pytest.mark.parametrize("kind", KINDS)
def test_a_store_in_a_bucket_of_google_is_read_with_a_token(
    kind: str, stores: Path, origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(stores) as server:
        server.route = lambda asked: listing(server, asked)
        use(monkeypatch, GROKPACK_GS_ENDPOINT=server.url, GOOGLE_OAUTH_ACCESS_TOKEN=TOKEN)
        storage.forget(f"gs://{BUCKET}")
        far = f"gs://{BUCKET}/my models/{kind}"
        check(far, stores / BUCKET / "my models" / kind, origin, tmp_path)
        assert _chunks(server)
        for asked in server.asked:
            assert asked.headers["authorization"] == f"Bearer {TOKEN}"


def test_a_store_at_the_hub_is_read_where_its_redirects_lead(
    stores: Path, origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    near = stores / BUCKET / "my models" / "zarr"
    with serving(near) as site, serving(near) as network:
        hub = HubFiles(near, site, network, TOKEN)
        monkeypatch.setattr(file_info, "HEAD_BYTES", 16)  # so that chunks are asked for again
        use(monkeypatch, HF_ENDPOINT=site.url, HF_TOKEN=TOKEN)
        check(f"hf://{hub_files.OLD}", near, origin, tmp_path)
        assert max(hub.uses.values()) > hub_files.MOST_USES  # some address had expired
        assert _chunks(network)
