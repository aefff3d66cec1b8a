"""Plans whose outputs go to a bucket, and what is in it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.conversion.plan_convert import ConvertOptions, plan_convert
from grokpack.conversion.plan_quantize import QuantizeOptions as Choices
from grokpack.conversion.plan_quantize import plan_quantize
from grokpack.conversion.plan_reshard import plan_reshard
from grokpack.conversion.plan_synth import plan_synth
from grokpack.core.errors import GrokpackError
from grokpack.execution.run import execute
from grokpack.execution.run_options import RunOptions
from grokpack.models.architecture import Geometry
from tests.support.buckets import Moto, client
from tests.support.checkpoints import tree
from tests.support.conversions import WIDE

if TYPE_CHECKING:
    from pathlib import Path

    from grokpack.planning.plan import Plan

BUCKET = "grok-outputs"
LARGE = Geometry(
    vocab=128, d_model=1024, layers=1, experts=2, ffn=8192, q_width=1024, kv_width=512, head_dim=64
)
"""Files of 16 MiB and more: several parts each."""


def empty(moto: Moto) -> None:
    s3 = client(moto)
    keys = [{"Key": row["Key"]} for row in s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])]
    if keys:
        s3.delete_objects(Bucket=BUCKET, Delete={"Objects": keys})
    for row in s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []):
        s3.abort_multipart_upload(Bucket=BUCKET, Key=row["Key"], UploadId=row["UploadId"])
    s3.close()


def objects(moto: Moto, prefix: str = "out/") -> dict[str, bytes]:
    s3 = client(moto)
    rows = s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
    found = {
        row["Key"].removeprefix(prefix): s3.get_object(Bucket=BUCKET, Key=row["Key"])["Body"].read()
        for row in rows
    }
    s3.close()
    return found


def begun(moto: Moto) -> int:
    s3 = client(moto)
    count = len(s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []))
    s3.close()
    return count


def plan_of(kind: str, source: Path) -> Plan:
    checkpoint = open_checkpoint(str(source))
    if kind in ("safetensors", "ckpt-0"):
        return plan_reshard(checkpoint, 2, kind)
    if kind == "synth":
        return plan_synth(replace(WIDE, layers=1, d_model=128), 7)
    if kind == "gguf":
        split = ConvertOptions(type="f32", tokenizer="none", shard_bytes=200_000)
        return plan_convert(checkpoint, kind, split)
    if kind == "quantize":
        return plan_quantize(checkpoint, Choices(bits=4))
    return plan_convert(checkpoint, kind, ConvertOptions())


class Killed(BaseException):
    """Stands for the end of the process."""


def assert_as_local(moto: Moto, plan: Plan, tmp_path: Path) -> None:
    """See that the bucket holds the bytes of a local run, and nothing else."""
    execute(plan, str(tmp_path / "local"))
    assert objects(moto) == tree(tmp_path / "local")


def refusal(plan: Plan, out: str, **limits: Any) -> GrokpackError:
    with pytest.raises(GrokpackError) as caught:
        execute(plan, out, RunOptions(**limits))
    return caught.value
