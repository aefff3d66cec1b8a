"""grokpack: check, look into and convert Grok-1 and Grok-2 checkpoints that are too big for memory.

Most of what the command line does is a function here; each is imported when it is first used.
"""

from __future__ import annotations

import importlib

from grokpack.core.version import __version__ as __version__

TYPE_CHECKING = False  # to type checkers true; importing `typing` for it would delay __main__

if TYPE_CHECKING:
    from grokpack.checkpoint.checkpoint import Checkpoint as Checkpoint
    from grokpack.checkpoint.extract import extract as extract
    from grokpack.checkpoint.open_checkpoint import open_checkpoint as open_checkpoint
    from grokpack.checkpoint.open_checkpoint import survey as survey
    from grokpack.checkpoint.open_tensorstore import Opened as Opened
    from grokpack.checkpoint.open_tensorstore import open as open  # noqa: A004  # its public name
    from grokpack.checkpoint.summary import document
    from grokpack.conversion.plan_convert import ConvertOptions as ConvertOptions
    from grokpack.conversion.plan_convert import plan_convert as plan_convert
    from grokpack.conversion.plan_quantize import QuantizeOptions as QuantizeOptions
    from grokpack.conversion.plan_quantize import plan_quantize as plan_quantize
    from grokpack.conversion.plan_reshard import plan_reshard as plan_reshard
    from grokpack.conversion.plan_synth import plan_synth as plan_synth
    from grokpack.core.errors import GrokpackError as GrokpackError
    from grokpack.evaluation.evaluation_options import EvaluateOptions as EvaluateOptions
    from grokpack.evaluation.generation import generate as generate
    from grokpack.evaluation.input_tokens import read_text as read_text
    from grokpack.evaluation.input_tokens import read_tokens as read_tokens
    from grokpack.evaluation.pair_evaluation import evaluate_pair as evaluate_pair
    from grokpack.evaluation.single_evaluation import evaluate as evaluate
    from grokpack.execution.run import execute as execute
    from grokpack.execution.run_options import RunOptions
    from grokpack.execution.run_part import RunPart
    from grokpack.execution.run_part import execute_part as execute_part
    from grokpack.verification.compare import compare as compare
    from grokpack.verification.verify_structure import verify_structure as verify_structure
    from grokpack.verification.verify_values import statistics as statistics
    from grokpack.verification.verify_values import verify_values as verify_values

    Limits = RunOptions
    Part = RunPart
    inspect = document

_HOMES = {
    "Checkpoint": ("checkpoint.checkpoint", "Checkpoint"),
    "ConvertOptions": ("conversion.plan_convert", "ConvertOptions"),
    "EvaluateOptions": ("evaluation.evaluation_options", "EvaluateOptions"),
    "GrokpackError": ("core.errors", "GrokpackError"),
    "Limits": ("execution.run_options", "RunOptions"),
    "Opened": ("checkpoint.open_tensorstore", "Opened"),
    "Part": ("execution.run_part", "RunPart"),
    "QuantizeOptions": ("conversion.plan_quantize", "QuantizeOptions"),
    "compare": ("verification.compare", "compare"),
    "evaluate": ("evaluation.single_evaluation", "evaluate"),
    "evaluate_pair": ("evaluation.pair_evaluation", "evaluate_pair"),
    "execute": ("execution.run", "execute"),
    "execute_part": ("execution.run_part", "execute_part"),
    "extract": ("checkpoint.extract", "extract"),
    "generate": ("evaluation.generation", "generate"),
    "inspect": ("checkpoint.summary", "document"),
    "open": ("checkpoint.open_tensorstore", "open"),
    "open_checkpoint": ("checkpoint.open_checkpoint", "open_checkpoint"),
    "plan_convert": ("conversion.plan_convert", "plan_convert"),
    "plan_quantize": ("conversion.plan_quantize", "plan_quantize"),
    "plan_reshard": ("conversion.plan_reshard", "plan_reshard"),
    "plan_synth": ("conversion.plan_synth", "plan_synth"),
    "read_text": ("evaluation.input_tokens", "read_text"),
    "read_tokens": ("evaluation.input_tokens", "read_tokens"),
    "statistics": ("verification.verify_values", "statistics"),
    "survey": ("checkpoint.open_checkpoint", "survey"),
    "verify_structure": ("verification.verify_structure", "verify_structure"),
    "verify_values": ("verification.verify_values", "verify_values"),
}

# `from grokpack import *` leaves out what would hide Python's own `open`.
__all__ = ["__version__", *(name for name in _HOMES if name != "open")]  # noqa: PLE0604  # the table


def __getattr__(name: str) -> object:
    """Import a public name from its module on first use."""
    if name not in _HOMES:
        from difflib import get_close_matches

        near = get_close_matches(name, _HOMES, 1)
        meant = f"; did you mean {near[0]!r}?" if near else ""
        message = f"module {__name__!r} has no attribute {name!r}{meant}"
        raise AttributeError(message)
    module, attribute = _HOMES[name]
    return getattr(importlib.import_module(f"grokpack.{module}"), attribute)


def __dir__() -> list[str]:
    """Every public name."""
    return ["__version__", *_HOMES]
