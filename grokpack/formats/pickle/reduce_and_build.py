"""REDUCE and BUILD for the few objects that a tensor file may contain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grokpack.core.errors import GrokpackError, Place, UnsupportedLayout
from grokpack.core.tensors import ArraySpec, DType
from grokpack.formats.pickle.header_limits import MAX_DIMENSIONS
from grokpack.formats.pickle.stack_values import (
    Array,
    DTypeValue,
    Global,
    Payload,
    Quantized,
    StackValue,
)
from grokpack.formats.pickle.stored_arrays import StoredArray
from grokpack.formats.pickle.window import printable

if TYPE_CHECKING:
    from grokpack.formats.pickle.window import Window

_CODES = {"f4": DType.F32, "f2": DType.F16, "i1": DType.I8}
_NATIVE = ("<", "|", "=")
_STATE_VERSION = 3
_STATE_ITEMS = 8  # numpy's dtype state: version, order, three Nones, itemsize, alignment, flags
_LARGEST_DIMENSION = 1 << 40  # far above any axis; keeps products small


def call(window: Window, function: StackValue, arguments: StackValue) -> StackValue:
    """Describe the array or dtype that REDUCE would make.

    Raises:
        GrokpackError: GP204 for any other function, GP208 or GP209 for wrong arguments.
    """
    if not isinstance(function, Global) or not isinstance(arguments, tuple):
        raise window.unsafe("a call of something that is not on the list")
    if function.kind == "reconstruct":
        return _reconstruct(window, arguments)
    if function.kind == "dtype":
        return _dtype(window, arguments)
    if function.kind == "frombuffer":
        return _frombuffer(window, arguments)
    raise window.unsafe(f"a call of {function.kind}")


def _reconstruct(window: Window, arguments: tuple[StackValue, ...]) -> Array:
    match arguments:
        case (Global("ndarray"), (0,), Payload(_, 1, b"b")):
            return Array()
    raise window.broken("`_reconstruct` has arguments that numpy does not write")


def _dtype(window: Window, arguments: tuple[StackValue, ...]) -> DTypeValue:
    match arguments:
        case (Global("bfloat16"), False, True):
            return DTypeValue(DType.BF16)
        case (str(code), False, True) if code in _CODES:
            return DTypeValue(_CODES[code])
        case (str(code), False, True):
            raise _layout(
                window,
                f"dtype `{printable(code[:20])}` is none of int8, bfloat16, float16, float32",
            )
    raise window.broken("`dtype` has arguments that numpy does not write")


def _frombuffer(window: Window, arguments: tuple[StackValue, ...]) -> Array:
    match arguments:
        case (Payload() as payload, DTypeValue() as dtype, tuple(shape), str(order)):
            if order != "C":
                raise _layout(window, "array is in Fortran order")
            return Array(_shape(window, shape), dtype, payload)
    raise window.broken("`_frombuffer` has arguments that numpy does not write")


def set_state(window: Window, target: StackValue, state: StackValue) -> None:
    """Apply BUILD to an array, a dtype or a QuantizedWeight8bit.

    Raises:
        GrokpackError: GP204 for any other object, GP208 or GP209 for a wrong state.
    """
    match target:
        case Array():
            _array_state(window, target, state)
        case DTypeValue():
            _dtype_state(window, target, state)
        case Quantized():
            _quantized_state(window, target, state)
        case _:
            raise window.unsafe("state set on something that is not an array")


def _array_state(window: Window, array: Array, state: StackValue) -> None:
    if array.payload is not None:
        raise window.broken("an array's state is set twice")
    match state:
        case (1, tuple(shape), DTypeValue() as dtype, bool(fortran), Payload() as payload):
            if fortran:
                raise _layout(window, "array is in Fortran order")
            array.shape, array.dtype, array.payload = _shape(window, shape), dtype, payload
        case _:
            raise window.broken("an array has a state that numpy does not write")


def _dtype_state(window: Window, dtype: DTypeValue, state: StackValue) -> None:
    if dtype.built:
        raise window.broken("a dtype's state is set twice")
    if not isinstance(state, tuple) or len(state) != _STATE_ITEMS or state[0] != _STATE_VERSION:
        raise window.broken("a dtype has a state that numpy does not write")
    if not isinstance(state[1], str):  # not shown either: it may expand to any size
        raise window.broken("a dtype has a byte order that is not text")
    if state[1] not in _NATIVE:
        order = printable(state[1][:4])
        raise _layout(window, f"array is not little-endian: byte order `{order}`")
    if state[2:5] != (None, None, None):
        raise _layout(window, "array has fields or sub-arrays")
    dtype.built = True


def _quantized_state(window: Window, weight: Quantized, state: StackValue) -> None:
    if weight.built:
        raise window.broken("a weight's state is set twice")
    if not isinstance(state, dict) or list(state) != ["weight", "scales"]:
        raise window.broken("QuantizedWeight8bit has other fields than weight and scales")
    for name, array in state.items():
        if not isinstance(array, Array):
            raise window.broken(f"`{name}` of QuantizedWeight8bit is not an array")
        weight.fields[name] = array
    weight.built = True


def _shape(window: Window, shape: tuple[StackValue, ...]) -> tuple[int, ...]:
    sizes = [n for n in shape if isinstance(n, int) and not isinstance(n, bool)]
    if len(sizes) != len(shape) or len(sizes) > MAX_DIMENSIONS:
        raise window.broken("a shape is not a few integers")
    if any(not 0 <= n <= _LARGEST_DIMENSION for n in sizes):
        raise window.broken("a shape has a negative or impossible size")
    return tuple(sizes)


def result(window: Window, value: StackValue) -> list[StoredArray]:
    """Return the arrays of the finished object: one plain array, or weight and scales.

    Raises:
        GrokpackError: GP209 if the object is neither.
    """
    match value:
        case Array():
            return [_stored(window, value)]
        case Quantized(built=True):
            return [_stored(window, array) for array in value.fields.values()]
    raise window.broken("the pickle holds neither an array nor a QuantizedWeight8bit")


def _stored(window: Window, array: Array) -> StoredArray:
    if array.payload is None or array.dtype is None or array.shape is None:
        raise window.broken("an array was begun and never filled")
    spec = ArraySpec(array.shape, array.dtype.dtype)
    if spec.nbytes != array.payload.nbytes:
        what = (
            f"array of shape {array.shape} needs {spec.nbytes:,} bytes, "
            f"its payload has {array.payload.nbytes:,}"
        )
        raise window.broken(what)
    return StoredArray(spec, array.payload.offset)


def _layout(window: Window, what: str) -> GrokpackError:
    hint = "save it in C order, little-endian, as int8, bfloat16, float16 or float32"
    return UnsupportedLayout(what, Place(window.path, window.opcode_at), hint=hint)
