"""Walk through a pickle's opcodes as Python's unpickler takes it, tracking only names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grokpack.core.errors import MalformedInput
from grokpack.formats.pickle import opcodes
from grokpack.formats.pickle.header_limits import MAX_MEMO, MAX_OPCODES, MAX_STACK, MAX_STRING_BYTES
from grokpack.formats.pickle.stack_values import (
    ALLOWED,
    HARMLESS,
    JAX_ARRAYS,
    MARK,
    OPAQUE,
    Global,
    Opaque,
    StackMark,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from grokpack.formats.pickle.frame_crossing import FrameCrossingWindow

_CALLABLE = ("reconstruct", "frombuffer", "dtype", "harmless")
_MADE = Global("instance")
_NUMBER = frozenset(b"0123456789_+- \t\r\v\f")  # characters that can spell a number
_Value = str | Global | StackMark | Opaque


class _RefusedError(Exception):
    """An opcode that Python would refuse, so that nothing after it runs."""


class Walk:
    """Walk through one pickle.

    Args:
        window: The file, at the byte where the pickle begins.
        among_garbage: True if that is a guess; a name then counts only if it is called.

    Attributes:
        steps: Opcodes so far.
    """

    def __init__(self, window: FrameCrossingWindow, *, among_garbage: bool = False) -> None:
        self.window = window
        self.among_garbage = among_garbage
        self.steps = 0
        self.newer = False  # protocol 2 or above, by its own word
        self.stack: list[_Value] = []
        self.memo: dict[int, _Value] = {}
        self._suspicion: str | None = None

    def run(self) -> int | None:
        """Walk to the end of the pickle.

        Returns:
            The offset behind it; None if Python would refuse the pickle before its end.

        Raises:
            GrokpackError: GP204 for a name off the list or an opcode that reaches other code, GP205
                beyond the limits.
        """
        window = self.window
        while self.steps < MAX_OPCODES:
            self.steps += 1
            window.opcode_at = window.at
            try:
                code = window.take(1)
                if code == b".":
                    return self._stop()
                _HANDLERS.get(code, _refuse)(self, code)
            except (_RefusedError, MalformedInput):  # the latter where the file ends
                return None
            if len(self.stack) > MAX_STACK:
                raise window.beyond("objects on the stack", MAX_STACK)
            if len(self.memo) > MAX_MEMO:
                raise window.beyond("memo entries", MAX_MEMO)
        raise window.beyond("opcodes", MAX_OPCODES)

    def _stop(self) -> int:
        if not self.stack:
            raise _RefusedError
        if self._suspicion:
            raise self.window.unsafe(self._suspicion)
        return self.window.at

    def top(self) -> _Value:
        """Return the last value and leave it on the stack."""
        if not self.stack:
            raise _RefusedError
        return self.stack[-1]

    def pop(self) -> _Value:
        """Pop the last value; never a mark."""
        if not self.stack or self.stack[-1] is MARK:
            raise _RefusedError
        return self.stack.pop()

    def pop_mark(self) -> list[_Value]:
        """Pop everything above the last mark, and the mark."""
        for i in range(len(self.stack) - 1, -1, -1):
            if self.stack[i] is MARK:
                items = self.stack[i + 1 :]
                del self.stack[i:]
                return items
        raise _RefusedError

    def suspect(self, found: str) -> None:
        """Note an opcode that few programs accept, which counts only if the pickle has an end."""
        if self.newer and not self.among_garbage:
            raise self.window.unsafe(found)
        self._suspicion = found
        self.stack.append(OPAQUE)

    def named(self, module: str, name: str) -> Global:
        """Look up a name in the allowlist; any other name is what the walk searches for."""
        pair = (module, name)
        if pair in ALLOWED:
            return Global(ALLOWED[pair])
        if pair in HARMLESS or pair in JAX_ARRAYS:
            return Global("harmless")
        if self.among_garbage:
            return Global(f"{module}.{name}")
        if not (module.strip() + name.strip()).isprintable():  # noise, which cannot be imported
            raise _RefusedError
        raise self.window.unsafe(f"{module}.{name}")

    def called(self, function: _Value, code: bytes) -> _Value:
        """Describe the result of a call, or of setting an object's state."""
        if self._suspicion:
            raise self.window.unsafe(self._suspicion)
        if code == b"b" and not isinstance(function, Global):
            return function  # an empty state has no effect
        if not isinstance(function, Global) or (function is _MADE and code != b"b"):
            raise _RefusedError
        if function is not _MADE and not _is_harmless(function.kind, code):
            raise self.window.unsafe(f"a call of {function.kind}")
        return _MADE


def _is_harmless(kind: str, code: bytes) -> bool:
    """Return whether an opcode is harmless when applied to an allowed name."""
    if kind == "quantized":
        return code == b"\x81"
    return kind in _CALLABLE and code in b"Roi"


def _refuse(_walk: Walk, _code: bytes) -> None:
    raise _RefusedError


def _push(walk: Walk, _: bytes) -> None:
    walk.stack.append(OPAQUE)


def _fixed(walk: Walk, code: bytes) -> None:
    walk.window.take(opcodes.FIXED[code])
    if code == b"\x80":
        walk.newer = True
    else:
        walk.stack.append(OPAQUE)


def _frame(walk: Walk, _: bytes) -> None:
    walk.window.begin_frame(walk.window.number("Q"))


def _count(walk: Walk, code: bytes) -> int:
    nbytes = walk.window.number(opcodes.COUNTED[code])
    if nbytes < 0:
        raise _RefusedError
    return nbytes


def _counted(walk: Walk, code: bytes) -> None:
    walk.window.skip(_count(walk, code))
    walk.stack.append(OPAQUE)


def _text(walk: Walk, code: bytes) -> None:
    """Push text that could be a name; of longer text, the beginning."""
    nbytes = _count(walk, code)
    raw = walk.window.take(min(nbytes, MAX_STRING_BYTES))
    walk.window.skip(nbytes - len(raw))
    walk.stack.append(raw.decode("utf-8", "replace"))


def _text_line(walk: Walk, code: bytes) -> None:
    text = walk.window.skip_line().decode("latin-1")
    walk.stack.append(text.strip("'\"") if code == b"S" else text)


def _number_line(walk: Walk, _: bytes) -> None:
    walk.window.skip_line()
    walk.stack.append(OPAQUE)


def _index(walk: Walk, form: str | None) -> int:
    if form:
        return walk.window.number(form)
    line = walk.window.skip_line().partition(b"\0")[0]  # the C unpickler reads a C string
    if len(line) > MAX_STRING_BYTES and _NUMBER.issuperset(line):
        raise walk.window.beyond("bytes in a number", MAX_STRING_BYTES)
    try:
        index = int(line)  # with signs, spaces, zeros and underscores, as unpicklers accept them
    except ValueError as error:
        raise _RefusedError from error
    if index < 0:
        raise _RefusedError
    return index


def _remember(walk: Walk, code: bytes) -> None:
    index = len(walk.memo) if code == b"\x94" else _index(walk, opcodes.MEMO_WRITES[code])
    walk.memo[index] = walk.top()


def _recall(walk: Walk, code: bytes) -> None:
    walk.stack.append(walk.memo.get(_index(walk, opcodes.MEMO_READS[code]), OPAQUE))


def _mark(walk: Walk, _: bytes) -> None:
    walk.stack.append(MARK)


def _duplicate(walk: Walk, _: bytes) -> None:
    walk.stack.append(walk.top())


def _drop(walk: Walk, _: bytes) -> None:
    walk.top()
    walk.stack.pop()


def _replace(walk: Walk, code: bytes) -> None:
    for _ in range(opcodes.REPLACING[code]):
        walk.pop()
    walk.stack.append(OPAQUE)


def _replace_marked(walk: Walk, _: bytes) -> None:
    walk.pop_mark()
    walk.stack.append(OPAQUE)


def _append(walk: Walk, code: bytes) -> None:
    for _ in range(opcodes.APPENDING[code]):
        walk.pop()
    walk.top()


def _drop_marked(walk: Walk, _: bytes) -> None:
    walk.pop_mark()


def _extension(walk: Walk, code: bytes) -> None:
    number = walk.window.number(opcodes.EXTENSIONS[code])
    if number <= 0 or walk.window.opcode_at == 0:  # damage to the opcode of the protocol
        raise _RefusedError
    walk.suspect(f"extension {number}")


def _persistent_line(walk: Walk, _: bytes) -> None:
    line = walk.window.skip_line()
    if not line.isascii() or not line.decode("ascii").isprintable():
        raise _RefusedError
    walk.suspect(f"persistent id {line.decode('ascii')}")


def _persistent(walk: Walk, _: bytes) -> None:
    walk.pop()
    walk.suspect("a persistent id")


def _name_line(walk: Walk, *, last: bool = False) -> str:
    try:
        return walk.window.skip_line(last=last).decode("utf-8")
    except UnicodeDecodeError as error:
        raise _RefusedError from error


def _global(walk: Walk, _: bytes) -> None:
    walk.stack.append(walk.named(_name_line(walk), _name_line(walk)))


def _stack_global(walk: Walk, _: bytes) -> None:
    name, module = walk.pop(), walk.pop()
    if _MADE in (name, module) and not walk.among_garbage:
        raise walk.window.unsafe("a name that a call makes")
    if not isinstance(module, str) or not isinstance(name, str):
        raise _RefusedError
    walk.stack.append(walk.named(module, name))


def _instance(walk: Walk, code: bytes) -> None:
    walk.pop_mark()
    found = walk.named(_name_line(walk), _name_line(walk, last=True))
    walk.stack.append(walk.called(found, code))


def _call(walk: Walk, code: bytes) -> None:
    for _ in range(opcodes.ARGUMENTS[code]):
        walk.pop()
    walk.stack.append(walk.called(walk.pop(), code))


def _object(walk: Walk, code: bytes) -> None:
    items = walk.pop_mark()
    if not items:
        raise _RefusedError
    walk.stack.append(walk.called(items[0], code))


def _nothing(_walk: Walk, _code: bytes) -> None:
    """Do nothing."""


_KINDS: tuple[tuple[Iterable[bytes], Callable[[Walk, bytes], None]], ...] = (
    (opcodes.FIXED, _fixed),
    (opcodes.COUNTED, _counted),
    (opcodes.LINES, _number_line),
    (opcodes.TEXTS & opcodes.LINES, _text_line),
    (opcodes.TEXTS - opcodes.LINES, _text),
    (opcodes.PLAIN, _push),
    (opcodes.MEMO_WRITES, _remember),
    (opcodes.MEMO_READS, _recall),
    (opcodes.REPLACING, _replace),
    (opcodes.REPLACING_MARKED, _replace_marked),
    (opcodes.APPENDING, _append),
    (opcodes.DROPPING_MARKED, _drop_marked),
    (opcodes.EXTENSIONS, _extension),
    (opcodes.ARGUMENTS, _call),
)
_HANDLERS: dict[bytes, Callable[[Walk, bytes], None]] = {
    **{code: handler for codes, handler in _KINDS for code in codes},
    b"\x95": _frame,
    b"(": _mark,
    b"2": _duplicate,
    b"0": _drop,
    b"\x98": _nothing,
    b"P": _persistent_line,
    b"Q": _persistent,
    b"c": _global,
    b"\x93": _stack_global,
    b"i": _instance,
    b"o": _object,
}
