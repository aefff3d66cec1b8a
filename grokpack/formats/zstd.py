"""zstd frames that others made, decompressed to the size that is expected and no further."""

from __future__ import annotations

_WINDOW_BYTES = 8 << 20
"""The largest window that is reserved: what every decompressor has to take, by RFC 8878."""


class TooLongError(ValueError):
    """A frame that stands for more bytes than are allowed."""


def decompress(frame: bytes, nbytes: int) -> bytes:
    """What a frame stands for, where that is `nbytes` bytes.

    Nothing that the frame says of its size or window is believed before it is seen, so that
    neither memory nor time depend on it.

    Raises:
        ValueError: Where it stands for another number of bytes, or is damaged.
    """
    data = decompress_some(frame, nbytes)
    if len(data) != nbytes:
        message = f"the frame does not stand for {nbytes:,} bytes"
        raise ValueError(message)
    return data


def decompress_some(frame: bytes, most: int) -> bytes:
    """What a frame stands for, where that is no more than `most` bytes.

    Raises:
        TooLongError: Where it is more.
        ValueError: Where the frame is damaged.
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
