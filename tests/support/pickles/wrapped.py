"""Pickles where a scanner may not look: behind others, between garbage, in archives."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import marshal
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import zstandard

from tests.support.pickles.zoo import (
    ARRAY,
    CANARY,
    CANARY_MODULE,
    PROTOCOL,
    SING_LINE,
    SONG,
    named,
    text,
)

CALL = PROTOCOL + SONG + b"."
OLD_CALL = b"c" + SING_LINE + b"(tR."
GOOD = PROTOCOL + ARRAY + b"."
NOISE = bytes(np.random.default_rng(7).integers(0, 256, 4000, np.uint8))

TEXT_OPCODES = {
    "integer": b"I1\n",
    "long integer": b"L1L\n",
    "float": b"F1.5\n",
    "string": b"S'a'\n",
    "unicode": b"Va\n",
    "none": b"N",
    "remembered integer": b"I1\np0\n",
    "remembered and recalled": b"I1\np0\n0g0\n",
    "list": b"(I1\nl",
    "dict": b"(S'a'\nI1\nd",
    "empty tuple": b")",
    "small integer": b"K\x01",
    "bytes": b"C\x01a",
    "frame": b"\x95" + struct.pack("<Q", 4) + b"N",
    "mark": b"(",
}
"""Beginnings of pickles that say no protocol; each leaves one value on the stack."""


def zipped(method: int = zipfile.ZIP_STORED, data: bytes = CALL) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/version", "3\n")
    return stream.getvalue()


def flagged(bits: int) -> bytes:
    """A zip whose headers claim what is not so, which some readers pass over."""
    data = bytearray(zipped())
    data[6] |= bits
    return bytes(data)


def tarred(form: int = tarfile.GNU_FORMAT) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
        for name, data in (("sys_info", b"."), ("pickle", CALL)):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return stream.getvalue()


class Singer:
    """What pickles as a call of the canary."""

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        from tests.support.pickles import canary

        return canary.sing, ()


def saved(archive: bool = False) -> bytes:
    stream = io.BytesIO()
    array = np.array([Singer()], object)
    if archive:
        np.savez_compressed(stream, array)
    else:
        np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def _code() -> bytes:
    return marshal.dumps(compile("1", "x", "exec"))


LATER = {
    "second pickle": b"N." + OLD_CALL,
    "second pickle behind an array": GOOD + CALL,
    "third pickle": GOOD + b"N." + CALL,
    "behind an array and garbage": GOOD + NOISE + CALL,
    "between garbage": NOISE + CALL + NOISE,
    "old, between garbage": NOISE + OLD_CALL + NOISE,
    "without a protocol, between garbage": NOISE + SONG + b"." + NOISE,
    "cut short behind the call": PROTOCOL + SONG + b"X\xff\xff\x00\x00",
    "an opcode that is none behind the call": OLD_CALL[:-1] + b"\xff",
    "lines of another system": OLD_CALL.replace(b"\n", b"\r\n"),
    "name in pieces of the memo": PROTOCOL
    + text(CANARY_MODULE) + b"\x94" + text(CANARY) + b"\x94h\x00h\x01\x93)R.",
    "name in old strings": b"S'" + CANARY_MODULE.encode() + b"'\nS'" + CANARY.encode()
    + b"'\n\x93)R.",
    "name in escapes": b"\x80\x04V\\u0074ests.pickles.canary\nVsing\n\x93)R.",
    "persistent id that is called": b"Pid\n)R.",
    "extension behind an integer": b"I1\n0\x82\x01)R.",
    "attribute of numpy": PROTOCOL + named("numpy", "testing.runstring") + b")R.",
    "attribute of jax": PROTOCOL + named("jax._src.array", "os.system") + b")R.",
    "behind a name of jax": PROTOCOL
    + named("jax._src.array", "_reconstruct_array") + b"0" + SONG + b".",
    "behind a dtype that is not read": PROTOCOL
    + named("numpy", "dtype") + text("f8") + b"\x89\x88\x87R0" + SONG + b".",
}  # fmt: skip

WRAPPED = {
    "zip": zipped(),
    "deflated zip": zipped(zipfile.ZIP_DEFLATED),
    "zip of bzip2": zipped(zipfile.ZIP_BZIP2),
    "zip of lzma": zipped(zipfile.ZIP_LZMA),
    "zip in a zip": zipped(data=zipped()),
    "zip said to be encrypted": flagged(0x01),
    "zip said to be patched": flagged(0x20),
    "zip behind a picture": NOISE + zipped(),
    "zip behind an array": GOOD + zipped(),
    "zip without its directory": zipped()[:90],
    "old tar": tarred(tarfile.USTAR_FORMAT),
    "tar": tarred(),
    "tar of POSIX": tarred(tarfile.PAX_FORMAT),
    "gzip of a tar": gzip.compress(tarred()),
    "gzip": gzip.compress(CALL),
    "bzip2": bz2.compress(CALL),
    "xz": lzma.compress(CALL),
    "lzma": lzma.compress(CALL, lzma.FORMAT_ALONE),
    "zlib": zlib.compress(CALL),
    "zlib, stored": zlib.compress(CALL, 0),
    "zlib, cut short": zlib.compress(CALL + NOISE)[:-1000],
    "zstd": zstandard.compress(CALL),
    "three times": gzip.compress(bz2.compress(zlib.compress(CALL))),
    "array of objects": saved(),
    "archive of arrays of objects": saved(archive=True),
    "7z": b"7z\xbc\xaf\x27\x1c\x00\x04" + bytes(50),
    "marshal": _code(),
    "compiled module": b"\xa7\x0d\x0d\x0a" + bytes(12) + _code(),
}

BOMBS: dict[str, Callable[[], bytes]] = {
    "zlib": lambda: zlib.compress(bytes(40 << 20)),
    "gzip of gzip": lambda: gzip.compress(gzip.compress(bytes(40 << 20))),
    "zstd": lambda: zstandard.compress(bytes(400 << 20)),
    "deflated zip": lambda: zipped(zipfile.ZIP_DEFLATED, bytes(40 << 20)),
    "six times": lambda: gzip.compress(
        gzip.compress(gzip.compress(gzip.compress(gzip.compress(gzip.compress(CALL)))))
    ),
    "members": lambda: (b"PK\x03\x04" + bytes(26)) * 20_000,
    "pickles": lambda: b"N." * 50_000,
}


def _npz(array: np.ndarray[Any, Any]) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, array)
    return stream.getvalue()


HARMLESS = {
    "zip of text": zipped(data=b"nothing"),
    "zip of a tensor": zipped(data=GOOD),
    "arrays of numbers": _npz(np.arange(9)),
    "arrays of objects that are numbers": _npz(np.array([1, None], object)),
    "gzip of a tensor": gzip.compress(GOOD),
    "page of a proxy": b"<html><body>Please log in</body></html>",
    "text of a server": b"Please log in\nthen try again\n",
    "another text of a server": b"Internal Server Error\n",
    "noise": NOISE,
    "two tensors": GOOD * 2,
}
