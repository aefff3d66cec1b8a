"""What goes wrong with answers of a server, one function for each fault."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grokpack.checkpoint.open_checkpoint import open_checkpoint
from grokpack.conversion.plan_convert import ConvertOptions, plan_convert
from grokpack.conversion.plan_quantize import QuantizeOptions, plan_quantize
from grokpack.conversion.plan_reshard import plan_reshard
from grokpack.execution.run import execute
from tests.support.checkpoints import tree

if TYPE_CHECKING:
    from collections.abc import Callable

    from grokpack.checkpoint.checkpoint import Checkpoint
    from grokpack.planning.plan import Plan
    from tests.support.servers import Answer, Asked, Server


def both(server: Server, tmp_path: Path, plan: Callable[[Checkpoint], Plan]) -> tuple[Path, Path]:
    """One output made from the local folder, one from the server."""
    local, far = tmp_path / "local", tmp_path / "far"
    plans = [
        plan(open_checkpoint(place)) for place in (str(server.root / "grok"), f"{server.url}/grok")
    ]
    assert plans[0].digest() == plans[1].digest()
    execute(plans[0], str(local))
    server.forget()
    execute(plans[1], str(far))
    return local, far


def contents(path: Path) -> dict[str, bytes]:
    return tree(path) if path.is_dir() else {"": path.read_bytes()}


PLANS: dict[str, Callable[[Checkpoint], Plan]] = {
    "reshard": lambda source: plan_reshard(source, 8),
    "reshard to ckpt-0": lambda source: plan_reshard(source, 2, "ckpt-0"),
    "hf": lambda source: plan_convert(source, "hf", ConvertOptions(tokenizer="none")),
    "sglang": lambda source: plan_convert(source, "sglang", ConvertOptions(tokenizer="none")),
    "gguf": lambda source: plan_convert(
        source, "gguf", ConvertOptions(type="q8_0", tokenizer="none")
    ),
    "quantize": lambda source: plan_quantize(
        source, QuantizeOptions(bits=4, group="32", method="rtn", tokenizer="none")
    ),
}


def only_payload(fault: Callable[[Asked, Answer], None], every: int = 1) -> Any:
    """A fault of every so many answers to reads that are longer than headers."""
    seen = 0
    guard = threading.Lock()

    def spoil(asked: Asked, answer: Answer) -> None:
        nonlocal seen
        if asked.range is None or asked.range[1] - asked.range[0] <= 8192:
            return
        with guard:
            seen += 1
            mine = seen % every == 0
        if mine:
            fault(asked, answer)

    return spoil


def drop(_: Asked, answer: Answer) -> None:
    answer.cut = len(answer.body) // 2
