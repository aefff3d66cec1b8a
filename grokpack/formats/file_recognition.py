"""Recognition of files in a weight file's place: pointers, web pages, archives, empty files.

Downloads leave such files under the right names. Only the first bytes are read, and only after a
header could not be read.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from grokpack.core.errors import GrokpackError, MalformedInput, OtherFormat, Place

if TYPE_CHECKING:
    from grokpack.formats.pickle import Bytes

_HEAD_BYTES = 512  # longer than any pointer file
_TEXT_LIMIT_BYTES = 64 << 10  # of a message that a server sends in place of a file
_GGML = "in the format of llama.cpp before GGUF: convert the original anew"
_STAND_INS = (
    (b"version https://git-lfs.github.com/spec/", "a Git LFS pointer: `git lfs pull` fetches it"),
    (b"# xet version", "a Xet pointer: download the repository with `hf download`"),
    (b"/annex/objects/", "a git-annex pointer: `git annex get` fetches it"),
    (b"<?xml", "an XML document, the answer of a server"),
    (b"<Error>", "an XML document, the answer of a server"),
)
"""Beginnings of files that stand in for a file of any format."""
_FORMATS = (
    (b"\x1f\x8b", "compressed with gzip: `gunzip` it"),
    (b"BZh", "compressed with bzip2: `bunzip2` it"),
    (b"\xfd7zXZ\0", "compressed with xz: `unxz` it"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd: name it NAME.zst, or `unzstd` it"),
    (b"PK\3\4", "a zip archive, as PyTorch's own format is"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive: unpack it"),
    (b"\x93NUMPY", "a numpy array"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"GGUF", "a GGUF file: its name has to end in .gguf"),
    (b"tjgg", _GGML),
    (b"fmgg", _GGML),
    (b"lmgg", _GGML),
)
_HTML = re.compile(
    rb"(<!--.*?-->\s*)*<(!doctype\s+html|html|head|body)\b", re.DOTALL | re.IGNORECASE
)
_PATTERNS = (
    (re.compile(rb".{257}ustar", re.DOTALL), "a tar archive: unpack it"),
    (
        re.compile(rb"[./]*\.git/annex/objects/"),
        "the text of a git-annex link: `git annex get` fetches the file",
    ),
    (
        re.compile(rb".{8}\{\s*[\"}]", re.DOTALL),
        "a safetensors file: its name has to end in .safetensors",
    ),
    (re.compile(rb"\x80[\x02-\x05]"), "a pickle, which is read in ckpt-0 folders only"),
)
_REMEDY = "it was not downloaded: fetch the file itself"
_PAGE = f"an HTML page of a server, a proxy or a login: {_REMEDY}"


def recognize(data: Bytes) -> str | None:
    """Describe a file, to follow "the file is"; None if its form is not known."""
    size = data.size()
    if size == 0:
        return f"empty: {_REMEDY}"
    head = data.read(0, min(size, _HEAD_BYTES))
    return _form(head) or _text(head, size)


def recognize_stand_in(data: Bytes) -> str | None:
    """Describe a pointer or a page in place of any file, to follow "the file is"."""
    head = data.read(0, min(data.size(), _HEAD_BYTES))
    told = (what for start, what in _STAND_INS if head.startswith(start))
    return next(told, _PAGE if _HTML.match(_stripped(head)) else None)


def recognize_document(data: bytes) -> str | None:
    """Describe bytes that are no JSON or text, to follow "but"; None for a text."""
    if not data:
        return f"empty: {_REMEDY}"
    head = data[:_HEAD_BYTES]
    return _form(head) or (_PAGE if _HTML.match(_stripped(head)) else None)


def _form(head: bytes) -> str | None:
    """Describe the format that the first bytes show."""
    if not head.strip(b"\0"):
        return "zeros where its header should be: the download did not get there"
    told = (what for start, what in (*_STAND_INS, *_FORMATS) if head.startswith(start))
    matched = (what for pattern, what in _PATTERNS if pattern.match(head))
    return next(told, None) or next(matched, None)


def _text(head: bytes, size: int) -> str | None:
    """Describe a text of any kind; no header is one."""
    text = _stripped(head)
    if _HTML.match(text):
        return _PAGE
    printable = all(byte >= ord(" ") or byte in b"\t\r\n" for byte in text)
    if printable and text[:1] in (b"{", b"["):
        return f"JSON, the answer of a server: {_REMEDY}"
    if printable and size <= _TEXT_LIMIT_BYTES:
        return f"a text of {size:,} bytes, the answer of a server: {_REMEDY}"
    return None


def _stripped(head: bytes) -> bytes:
    return head.removeprefix(b"\xef\xbb\xbf").lstrip()


def explained(error: GrokpackError, data: Bytes, path: str, own: str) -> GrokpackError:
    """Add to a header's error what lies in the file's place.

    Args:
        error: The error of the format's own reader.
        data: The file.
        path: Its path.
        own: Format that the file should have, in the words of `recognize`: `a pickle`, `a GGUF
            file`.
    """
    if not isinstance(error, MalformedInput):
        return error
    what = recognize(data)
    if what is None or what.startswith(own):
        return error
    return OtherFormat(f"the file is {what}", Place(path), error.facts)
