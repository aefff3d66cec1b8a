"""Opcode reader: a stack machine that describes arrays and can do nothing else.

Opcodes and their meanings: Python's `pickletools` documentation and PEP 307, 3154, 574.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from grokpack.core.errors import (
    GrokpackError,
    JaxPickle,
    MalformedInput,
    OldPickle,
    Place,
    TrailingBytes,
    UnsupportedLayout,
)
from grokpack.formats.pickle import reduce_and_build
from grokpack.formats.pickle.header_limits import (
    MAX_DEPTH,
    MAX_INTEGER_BYTES,
    MAX_MEMO,
    MAX_OPCODES,
    MAX_STACK,
    MAX_STRING_BYTES,
)
from grokpack.formats.pickle.stack_values import (
    ALLOWED,
    JAX_ARRAYS,
    MARK,
    UNSAFE,
    Global,
    Payload,
    Quantized,
    StackMark,
    StackValue,
)
from grokpack.formats.pickle.stored_arrays import Bytes, Pickled
from grokpack.formats.pickle.window import Window, printable

if TYPE_CHECKING:
    from collections.abc import Callable

_SMALL_BYTES = 16  # longest bytes object that may be an argument: `_reconstruct` takes b"b"
_OLDEST, _NEWEST = 3, 5
_OLD_BEGINNINGS = b"(cF]}I\x8cU"  # first bytes of old protocols; no other format has them
_OUT_OF_BAND = {b"\x97": "NEXT_BUFFER", b"\x98": "READONLY_BUFFER"}


def read(data: Bytes, path: str) -> Pickled:
    """Describe a tensor file without running it; payloads are skipped, not read.

    Args:
        data: The file.
        path: Its name, for messages.

    Raises:
        GrokpackError: GP204 for anything that would run code, GP205 beyond the limits, GP206 for
            protocols 0 to 2, GP207 for jax arrays, GP208 for layouts that are not C-ordered
            little-endian numbers, GP209 for a header that is broken or breaks off.
    """
    try:
        return Machine(Window(data, path)).run()
    except (UnsupportedLayout, MalformedInput) as error:
        from grokpack.formats.pickle import code_search  # good files do not pay for this import

        # a hostile file must be called hostile, whatever else it is
        code_search.search(data, path, damaged=isinstance(error, MalformedInput))
        raise


class Machine:
    """Unpickling machine: stack, memo and cursor."""

    def __init__(self, window: Window) -> None:
        self.window = window
        self.stack: list[StackValue] = []
        self.memo: dict[int, StackValue] = {}
        self.depth = 0

    def run(self) -> Pickled:
        """Walk to the end and describe the file."""
        version = self._protocol()
        if version < _OLDEST:
            raise self._too_old(version)
        return self._walk()

    def _walk(self) -> Pickled:
        window = self.window
        for _ in range(MAX_OPCODES):
            code = window.opcode()
            if code == b".":
                return self._finish()
            handler = _HANDLERS.get(code)
            if handler is None:
                raise self._unknown(code)
            handler(self)
            if len(self.stack) > MAX_STACK:
                raise window.beyond("objects on the stack", MAX_STACK)
        raise window.beyond("opcodes", MAX_OPCODES)

    def _protocol(self) -> int:
        window = self.window
        if window.size == 0:
            raise self._at_start("file is empty")
        first = window.take(1)
        if first != b"\x80":
            if first in _OLD_BEGINNINGS:
                window.move(0)
                return 0
            raise self._at_start("file does not begin like a pickle")
        version = window.number("B")
        if version > _NEWEST:
            raise self._at_start(f"pickle protocol {version} does not exist")
        return version

    def _at_start(self, what: str) -> GrokpackError:
        return MalformedInput(what, Place(self.window.path, 0))

    def _too_old(self, version: int) -> GrokpackError:
        what = (
            f"pickle protocol {version} writes the payload as text, so that it cannot be streamed"
        )
        hint = "load it where it was made and save it again with protocol 4"
        return OldPickle(what, Place(self.window.path, 0), hint=hint)

    def _unknown(self, code: bytes) -> GrokpackError:
        if code in UNSAFE:
            return self.window.unsafe(f"opcode {UNSAFE[code]}")
        if code in _OUT_OF_BAND:
            return self.window.broken("the payload is out of band: it is not in this file")
        return self.window.broken(f"opcode 0x{code.hex()} has no place in a tensor file")

    def _finish(self) -> Pickled:
        window = self.window
        if window.at != window.size:
            extra = window.size - window.at
            facts = (("expected", f"{window.at:,} bytes"), ("found", f"{window.size:,} bytes"))
            what = f"{extra:,} bytes follow the end of the pickle"
            raise TrailingBytes(what, Place(window.path, window.at), facts)
        if len(self.stack) != 1:
            raise window.broken("the pickle holds more or less than one object")
        arrays = reduce_and_build.result(window, self.stack[0])
        runs = [(a.offset, a.offset + a.spec.nbytes) for a in arrays]
        if any(end > start for (_, end), (start, _) in itertools.pairwise(runs)):
            raise window.broken("scales come before the weight, or share its bytes")
        scales = arrays[1] if len(arrays) > 1 else None
        return Pickled(arrays[0], scales, window.literals(runs), window.size)

    def push(self, value: StackValue) -> None:
        """Push a value."""
        self.stack.append(value)

    def pop(self) -> StackValue:
        """Pop a value; never past a mark."""
        stack = self.stack
        if stack and stack[-1] is not MARK:
            return stack.pop()
        raise self.window.broken("an opcode takes more than the stack holds")

    def top(self) -> StackValue:
        """Return the last value and leave it on the stack."""
        value = self.pop()
        self.stack.append(value)
        return value

    def pop_mark(self) -> list[StackValue]:
        """Pop everything above the last mark."""
        for i in range(len(self.stack) - 1, -1, -1):
            if isinstance(self.stack[i], StackMark):
                items = self.stack[i + 1 :]
                del self.stack[i:]
                self.depth -= 1
                return items
        raise self.window.broken("an opcode asks for a mark that was not set")

    def remember(self, index: int) -> None:
        """Enter the last value into the memo."""
        if len(self.memo) >= MAX_MEMO:
            raise self.window.beyond("memo entries", MAX_MEMO)
        self.memo[index] = self.top()

    def recall(self, index: int) -> None:
        """Push a value of the memo."""
        if index not in self.memo:
            raise self.window.broken(f"memo entry {index} was never written")
        self.push(self.memo[index])

    def string(self, nbytes: int) -> str:
        """Return the next bytes as text."""
        if nbytes > MAX_STRING_BYTES:
            raise self.window.beyond("bytes in a string", MAX_STRING_BYTES)
        try:
            return self.window.take(nbytes).decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.window.broken("a string is not UTF-8") from error

    def line(self) -> str:
        """Return the text up to a newline, as in the oldest opcodes."""
        text = b""
        while not text.endswith(b"\n"):
            if len(text) > MAX_STRING_BYTES:
                raise self.window.beyond("bytes in a name", MAX_STRING_BYTES)
            text += self.window.take(1)
        return text[:-1].decode("utf-8", "replace")

    def resolve(self, module: object, name: object) -> None:
        """Push a name of the allowlist without importing it."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise self.window.unsafe("a global whose name is not text")
        kind = ALLOWED.get((module, name))
        if kind is not None:
            self.push(Global(kind))
            return
        if (module, name) in JAX_ARRAYS:
            hint = "where it was made, save `numpy.asarray(x)` in place of `x`"
            facts = (("found", printable(f"{module}.{name}")),)
            place = Place(self.window.path, self.window.opcode_at)
            what = "pickle holds jax arrays, not numpy arrays; nothing was executed"
            raise JaxPickle(what, place, facts, hint)
        raise self.window.unsafe(f"{module}.{name}")


def _mark(m: Machine) -> None:
    m.depth += 1
    if m.depth > MAX_DEPTH:
        raise m.window.beyond("marks open at once", MAX_DEPTH)
    m.push(MARK)


def _global(m: Machine) -> None:
    module = m.line()
    m.resolve(module, m.line())


def _stack_global(m: Machine) -> None:
    name = m.pop()
    m.resolve(m.pop(), name)


def _payload(code: str) -> Callable[[Machine], None]:
    def handle(m: Machine) -> None:
        nbytes = m.window.number(code)
        if nbytes <= _SMALL_BYTES:
            offset = m.window.at
            m.push(Payload(offset, nbytes, m.window.take(nbytes)))
        else:
            m.push(Payload(m.window.skip(nbytes), nbytes, None))

    return handle


def _text(code: str) -> Callable[[Machine], None]:
    return lambda m: m.push(m.string(m.window.number(code)))


def _integer(code: str) -> Callable[[Machine], None]:
    return lambda m: m.push(m.window.number(code))


def _long(m: Machine) -> None:
    nbytes = m.window.number("B")
    if nbytes > MAX_INTEGER_BYTES:
        raise m.window.beyond("bytes in an integer", MAX_INTEGER_BYTES)
    m.push(int.from_bytes(m.window.take(nbytes), "little", signed=True))


def _constant(value: StackValue) -> Callable[[Machine], None]:
    return lambda m: m.push(value)


def _tuple(count: int) -> Callable[[Machine], None]:
    def handle(m: Machine) -> None:
        items = [m.pop() for _ in range(count)]
        m.push(tuple(reversed(items)))

    return handle


def _set_items(m: Machine, items: list[StackValue]) -> None:
    target = m.top()
    if not isinstance(target, dict):
        raise m.window.broken("items are set on something that is not a dict")
    if len(items) % 2:
        raise m.window.broken("a dict gets a key without a value")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(key, str) or key in target:
            raise m.window.broken("a dict key is not text, or stands twice")
        target[key] = value


def _set_item(m: Machine) -> None:
    value = m.pop()
    _set_items(m, [m.pop(), value])


def _dict(m: Machine) -> None:
    items = m.pop_mark()
    m.push({})
    _set_items(m, items)


def _pop(m: Machine) -> None:
    if m.stack and isinstance(m.stack[-1], StackMark):
        m.pop_mark()
    else:
        m.pop()


def _reduce(m: Machine) -> None:
    arguments = m.pop()
    m.push(reduce_and_build.call(m.window, m.pop(), arguments))


def _new_object(m: Machine) -> None:
    arguments = m.pop()
    found = m.pop()
    if found != Global("quantized") or arguments != ():
        raise m.window.unsafe("an instance of something other than QuantizedWeight8bit")
    m.push(Quantized())


def _build(m: Machine) -> None:
    state = m.pop()
    reduce_and_build.set_state(m.window, m.top(), state)


_HANDLERS: dict[bytes, Callable[[Machine], None]] = {
    b"\x95": lambda m: m.window.begin_frame(m.window.number("Q")),
    b"(": _mark,
    b"0": _pop,
    b"1": lambda m: (m.pop_mark(), None)[1],
    b"2": lambda m: m.push(m.top()),
    b"c": _global,
    b"\x93": _stack_global,
    b"q": lambda m: m.remember(m.window.number("B")),
    b"r": lambda m: m.remember(m.window.number("I")),
    b"\x94": lambda m: m.remember(len(m.memo)),
    b"h": lambda m: m.recall(m.window.number("B")),
    b"j": lambda m: m.recall(m.window.number("I")),
    b"C": _payload("B"),
    b"B": _payload("I"),
    b"\x8e": _payload("Q"),
    b"\x96": _payload("Q"),
    b"\x8c": _text("B"),
    b"X": _text("I"),
    b"\x8d": _text("Q"),
    b"K": _integer("B"),
    b"M": _integer("H"),
    b"J": _integer("i"),
    b"\x8a": _long,
    b"N": _constant(None),
    b"\x88": _constant(value=True),
    b"\x89": _constant(value=False),
    b")": _constant(()),
    b"\x85": _tuple(1),
    b"\x86": _tuple(2),
    b"\x87": _tuple(3),
    b"t": lambda m: m.push(tuple(m.pop_mark())),
    b"}": lambda m: m.push({}),
    b"d": _dict,
    b"s": _set_item,
    b"u": lambda m: _set_items(m, m.pop_mark()),
    b"R": _reduce,
    b"\x81": _new_object,
    b"b": _build,
}
