"""Decompression of zstd frames from outside, to the expected size and no further."""

from __future__ import annotations

_WINDOW_BYTES = 8 << 20
"""Largest window that is allocated: the one that every decompressor must support, by RFC 8878."""


class TooLongError(ValueError):
    """A frame that decompresses to more bytes than are allowed."""


def decompress(frame: bytes, nbytes: int) -> bytes:
    """Decompress a frame to exactly `nbytes` bytes.

    The size and the window that the frame claims are not trusted, so that neither memory nor time
    depends on them.

    Raises:
        ValueError: The frame holds another number of bytes, or is damaged.
    """
    data = decompress_some(frame, nbytes)
    if len(data) != nbytes:
        message = f"the frame does not stand for {nbytes:,} bytes"
        raise ValueError(message)
    return data


def decompress_some(frame: bytes, most: int) -> bytes:
    """Decompress a frame to at most `most` bytes.

    Raises:
        TooLongError: The frame holds more.
        ValueError: The frame is damaged.
    """
    import zstandard

    made = zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES)
    try:
        with made.stream_reader(frame) as reader:
            data: bytes = reader.read(most)
            more = reader.read(1)
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error
    if more:
        message = f"the frame stands for more than {most:,} bytes"
        raise TooLongError(message)
    return data
