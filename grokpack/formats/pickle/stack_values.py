"""Values on the stack of the pickle reader: descriptions of objects, never the objects."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from grokpack.core.tensors import DType


@dataclass(frozen=True, slots=True)
class Global:
    """Name from the allowlist, never imported."""

    kind: str  # "reconstruct", "frombuffer", "ndarray", "dtype", "bfloat16", "quantized"


@dataclass(frozen=True, slots=True)
class Payload:
    """Bytes object in the file."""

    offset: int
    nbytes: int
    small: bytes | None  # contents, if short enough to be an argument


@dataclass(slots=True)
class DTypeValue:
    """`numpy.dtype(code, False, True)`, and whether its state has been set."""

    dtype: DType
    built: bool = False


@dataclass(slots=True)
class Array:
    """An ndarray; shape, dtype and payload are known once its state is set."""

    shape: tuple[int, ...] | None = None
    dtype: DTypeValue | None = None
    payload: Payload | None = None


@dataclass(slots=True)
class Quantized:
    """QuantizedWeight8bit with the fields set so far."""

    fields: dict[str, Array] = field(default_factory=dict)
    built: bool = False


class StackMark:
    """Marker that the MARK opcode pushes."""


class Opaque:
    """A list, set, float or old string, which no tensor contains."""


MARK = StackMark()
OPAQUE = Opaque()

StackValue = (
    Global
    | Payload
    | DTypeValue
    | Array
    | Quantized
    | StackMark
    | Opaque
    | int
    | bool
    | str
    | None
    | tuple["StackValue", ...]
    | dict[str, "StackValue"]
)
"""Anything that the reader can have on its stack."""

ALLOWED: dict[tuple[str, str], str] = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): "reconstruct" for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): "frombuffer" for core in ("core", "_core")},
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): "dtype",
    ("ml_dtypes", "bfloat16"): "bfloat16",
    ("ml_dtypes._ml_dtypes_ext", "bfloat16"): "bfloat16",
    ("__main__", "QuantizedWeight8bit"): "quantized",
    ("model", "QuantizedWeight8bit"): "quantized",
}
"""Every global that a tensor file may name; source: pickles of numpy 1.x and 2.x, xAI's code."""

HARMLESS = {
    ("_codecs", "encode"),
    *((m, "_reconstructor") for m in ("copy_reg", "copyreg")),
    *((m, name) for m in ("__builtin__", "builtins") for name in ("object", "bytes")),
}
"""Names with which protocols 0 to 2 write bytes as text."""

JAX_ARRAYS = {
    ("jax._src.array", "_reconstruct_array"),
    *(
        (module, "reconstruct_device_array")
        for module in ("jax._src.device_array", "jax.interpreters.xla")
    ),
    ("jaxlib.xla_extension", "_reconstruct_array"),
}
"""Names in pickles of jax arrays."""

UNSAFE = {
    b"i": "INST",
    b"o": "OBJ",
    b"P": "PERSID",
    b"Q": "BINPERSID",
    b"\x82": "EXT1",
    b"\x83": "EXT2",
    b"\x84": "EXT4",
    b"\x92": "NEWOBJ_EX",
}
"""Opcodes that would import or call something."""
