"""grokpack: check, look into and convert Grok-1 checkpoints that are too big for memory.

Everything the command line does is a function here; each is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from grokpack.checkpoint import Checkpoint as Checkpoint
    from grokpack.comparison import compare as compare
    from grokpack.convert import Options as ConvertOptions  # noqa: F401  # its public name
    from grokpack.convert import plan_convert as plan_convert
    from grokpack.errors import GrokpackError as GrokpackError
    from grokpack.evaluation.alone import evaluate as evaluate
    from grokpack.evaluation.generation import generate as generate
    from grokpack.evaluation.inputs import read_text as read_text
    from grokpack.evaluation.inputs import read_tokens as read_tokens
    from grokpack.evaluation.pair import evaluate_pair as evaluate_pair
    from grokpack.evaluation.setting import Options as EvaluateOptions  # noqa: F401  # its public name
    from grokpack.extraction import extract as extract
    from grokpack.inspection import document as inspect  # noqa: F401  # its public name
    from grokpack.opening import Opened as Opened
    from grokpack.opening import open as open  # noqa: A004  # its public name
    from grokpack.preflight import Limits as Limits
    from grokpack.quantize import Options as QuantizeOptions  # noqa: F401  # its public name
    from grokpack.quantize import plan_quantize as plan_quantize
    from grokpack.reshard import plan_reshard as plan_reshard
    from grokpack.run import execute as execute
    from grokpack.sharing import Part as Part
    from grokpack.sharing import execute_part as execute_part
    from grokpack.stores.locate import open_checkpoint as open_checkpoint
    from grokpack.stores.locate import survey as survey
    from grokpack.synth import plan_synth as plan_synth
    from grokpack.values import statistics as statistics
    from grokpack.values import verify_values as verify_values
    from grokpack.verification import verify_structure as verify_structure

__version__ = "0.1.0"

_HOMES = {
    "Checkpoint": ("checkpoint", "Checkpoint"),
    "ConvertOptions": ("convert", "Options"),
    "EvaluateOptions": ("evaluation.setting", "Options"),
    "GrokpackError": ("errors", "GrokpackError"),
    "Limits": ("preflight", "Limits"),
    "Opened": ("opening", "Opened"),
    "Part": ("sharing", "Part"),
    "QuantizeOptions": ("quantize", "Options"),
    "compare": ("comparison", "compare"),
    "evaluate": ("evaluation.alone", "evaluate"),
    "evaluate_pair": ("evaluation.pair", "evaluate_pair"),
    "execute": ("run", "execute"),
    "execute_part": ("sharing", "execute_part"),
    "extract": ("extraction", "extract"),
    "generate": ("evaluation.generation", "generate"),
    "inspect": ("inspection", "document"),
    "open": ("opening", "open"),
    "open_checkpoint": ("stores.locate", "open_checkpoint"),
    "plan_convert": ("convert", "plan_convert"),
    "plan_quantize": ("quantize", "plan_quantize"),
    "plan_reshard": ("reshard", "plan_reshard"),
    "plan_synth": ("synth", "plan_synth"),
    "read_text": ("evaluation.inputs", "read_text"),
    "read_tokens": ("evaluation.inputs", "read_tokens"),
    "statistics": ("values", "statistics"),
    "survey": ("stores.locate", "survey"),
    "verify_structure": ("verification", "verify_structure"),
    "verify_values": ("values", "verify_values"),
}

# `from grokpack import *` leaves out what would hide Python's own `open`.
__all__ = ["__version__", *(name for name in _HOMES if name != "open")]  # noqa: PLE0604  # the table


def __getattr__(name: str) -> object:
    """Import a public name from its module when it is first asked for."""
    if name not in _HOMES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    module, attribute = _HOMES[name]
    return getattr(importlib.import_module(f"grokpack.{module}"), attribute)


def __dir__() -> list[str]:
    """Every public name."""
    return ["__version__", *_HOMES]
