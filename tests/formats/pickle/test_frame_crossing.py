"""A window that is read a second time, from a byte before what it holds."""

from __future__ import annotations

from grokpack.formats.pickle.frame_crossing import FrameCrossingWindow
from grokpack.formats.pickle.window import _WINDOW_BYTES
from tests.support.pickles.sources import Memory

DATA = bytes(range(1, 251)) * (_WINDOW_BYTES // 100)


def test_another_way_through_frames_reads_the_same_bytes() -> None:
    """Wherever the first way ended: what it left in memory begins further on."""
    window = FrameCrossingWindow(Memory(DATA), "tensor")
    for at in (_WINDOW_BYTES, 3, 70, 2 * _WINDOW_BYTES, 0):
        window.start(at)
        assert window.take(1) + window.take(8) == DATA[at : at + 9]


def test_a_pickle_is_read_again_after_long_lines_of_it() -> None:
    data = b"x" * 40 + b"\n" + b"y" * _WINDOW_BYTES + b"\n" + b"z" * 60
    window = FrameCrossingWindow(Memory(data), "tensor")
    window.start(0)
    assert window.skip_line() == b"x" * 40
    assert len(window.skip_line()) > 40
    window.start(0)
    assert window.take(41) == data[:41]
