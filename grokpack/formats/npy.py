""".npy, numpy's format: a header, then one array."""

from __future__ import annotations

import ast
import io
import math
from typing import TYPE_CHECKING, Any

from grokpack.core.tensors import DType

if TYPE_CHECKING:
    import numpy as np

    from grokpack.core.tensors import ArraySpec

SUFFIX = ".npy"
_MAGIC = b"\x93NUMPY"
_LENGTHS = {1: 2, 2: 4, 3: 4}  # bytes of the header's length, by version
_MOST_HEADER_BYTES = 4096
_KEYS = {"descr", "fortran_order", "shape"}
_KINDS = "<>|="


def header_bytes(spec: ArraySpec) -> bytes:
    """Return the header of an array; .npy has no bfloat16, whose bits are stored as uint16."""
    import numpy as np

    kind = "<u2" if spec.dtype is DType.BF16 else spec.dtype.numpy().str
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"descr": kind, "fortran_order": False, "shape": spec.shape}
    )
    return stream.getvalue()


def read_integers(data: bytes, most: int) -> np.ndarray:
    """Parse a file as an array of integers.

    Args:
        data: The whole file.
        most: The most elements that the array may have.

    Raises:
        ValueError: It is not such an array; the message says why in a few words.
    """
    import numpy as np

    head, begin = _header(data)
    descr, shape = head["descr"], head["shape"]
    if not _is_integer(descr):
        message = f"integers are wanted, not {str(descr)[:40]}"
        raise ValueError(message)
    if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
        message = "the shape is not a tuple of sizes"
        raise ValueError(message)
    count, width = math.prod(shape), int(descr[2:])
    if count > most:
        message = f"more than {most:,} elements are more than a run can take"
        raise ValueError(message)
    if len(data) - begin != count * width:
        message = f"shape and dtype need {count * width:,} bytes, there are {len(data) - begin:,}"
        raise ValueError(message)
    flat = np.frombuffer(data, np.dtype(descr), count, begin) if count else np.zeros(0, np.int64)
    return flat.reshape(shape, order="F" if head["fortran_order"] is True else "C")


def _is_integer(descr: object) -> bool:
    return (
        isinstance(descr, str)
        and descr[:1] in tuple(_KINDS)
        and descr[1:2] in ("i", "u")
        and descr[2:] in ("1", "2", "4", "8")
    )


def _header(data: bytes) -> tuple[dict[str, Any], int]:
    """Return the header's dict, and the offset of the elements.

    Raises:
        ValueError: The header is not numpy's.
    """
    length_bytes = _LENGTHS.get(data[6]) if data[:6] == _MAGIC and len(data) > len(_MAGIC) else None
    if length_bytes is None:
        message = "the file does not begin as numpy.save writes it"
        raise ValueError(message)
    begin = 8 + length_bytes
    length = int.from_bytes(data[8:begin], "little")
    if length > _MOST_HEADER_BYTES or begin + length > len(data):
        message = f"a header of {length:,} bytes"
        raise ValueError(message)
    try:
        head = ast.literal_eval(data[begin : begin + length].decode("utf-8").strip())
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
        message = "the header is broken"
        raise ValueError(message) from error
    if not isinstance(head, dict) or set(head) != _KEYS:
        message = "the header has not the keys descr, fortran_order and shape"
        raise ValueError(message)
    return head, begin + length
