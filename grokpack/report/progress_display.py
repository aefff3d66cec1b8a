"""Display of progress on stderr: a bar, plain lines, or JSON lines."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, TextIO

from grokpack.core import escaping
from grokpack.core.byte_size import byte_size
from grokpack.core.counts import counted
from grokpack.core.escaping import escape_line, escape_terminal
from grokpack.core.events import (
    Advanced,
    Compiled,
    Compiling,
    Event,
    Finished,
    Published,
    Publishing,
    Sending,
    Started,
    Warned,
)
from grokpack.report.text import numbers
from grokpack.report.text.terminal import is_coloured

if TYPE_CHECKING:
    from rich.progress import Progress

_LINE_S = 30.0  # a log gets a line at least this often
_WATCHED_LINE_S = 5.0  # and a terminal whose cursor cannot go back
_LINE_SHARE = 0.1  # and at each tenth of the work
_SPACING_S = 1.0  # but never more often than this
_COMPILING = "compiling kernels, once"
_SHOW_CURSOR = b"\r\n\x1b[?25h"


def listener(
    form: str, *, quiet: bool, stream: TextIO | None = None, color: str = "auto"
) -> Display:
    """Return the listener that displays progress in a form.

    Args:
        form: auto, bar, lines, json or none.
        quiet: Show nothing, whatever the form.
        stream: Stream to write to, stderr by default.
        color: `auto`, `always` or `never`, for the bar.
    """
    stream = stream or sys.stderr
    if form == "none" or quiet:
        return Display()
    if form == "auto":
        movable = stream.isatty() and os.environ.get("TERM") != "dumb"
        form = "bar" if movable else "lines"
    if form == "bar":
        return ProgressBar(stream, coloured=is_coloured(color, stream))
    return {"lines": ProgressLines, "json": ProgressJson}[form](stream)


def shown(message: str) -> str:
    """Format a warning on one line."""
    return escape_terminal(escape_line(message))


def _sending(event: Sending) -> str:
    return f"sending, {byte_size(event.sent_bytes)} of {byte_size(event.nbytes)} are out"


class Display:
    """Listener that shows nothing, and what each display can do besides listening."""

    def __call__(self, event: Event) -> None:
        """Take an event."""

    def end(self) -> None:
        """End the display of work that may have ended early; what comes next is written below."""

    def leave(self) -> None:
        """Give the terminal back to the shell, at once and from a signal's handler."""


class _Meter(Display):
    """Meter of bytes and their rate, without the time in which kernels are compiled.

    Events come from several threads.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.what, self.total, self.done, self.before = "", 0, 0, 0
        self.began = time.monotonic()
        self.compiles = 0
        self._guard = threading.Lock()

    def __call__(self, event: Event) -> None:
        with self._guard:
            if isinstance(event, Started):
                self.what, self.total = event.what, event.total_bytes
                self.done = self.before = event.done_bytes
                self.began = time.monotonic()
            elif isinstance(event, Advanced):
                self.done += event.nbytes
            elif isinstance(event, Compiling):
                self.compiles += 1
            elif isinstance(event, Compiled):
                self.began += event.seconds
            self.show(event)

    def show(self, event: Event) -> None:
        """Draw the state after an event."""
        raise NotImplementedError

    def note_of(self, event: Event) -> str | None:
        """Return the line that an event is worth beside the progress, if it is worth one."""
        if isinstance(event, Warned):
            return f"warning: {shown(event.message)}"
        if isinstance(event, Publishing):
            return f"publishing {counted(event.files, 'file')}, {byte_size(event.nbytes)}"
        if isinstance(event, Published):
            return f"published {counted(event.files, 'file')}, {byte_size(event.nbytes)}"
        return _COMPILING if isinstance(event, Compiling) and self.compiles == 1 else None

    @property
    def rate(self) -> float:
        """Compute the bytes per second in this run."""
        return (self.done - self.before) / max(time.monotonic() - self.began, 1e-6)

    @property
    def left_s(self) -> float:
        """Compute the seconds left at this rate."""
        return (self.total - self.done) / max(self.rate, 1.0)


class ProgressLines(_Meter):
    """Progress as plain lines, one per tenth or half minute, with the time; more on a terminal."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._shown, self._shown_at = 0.0, time.monotonic()
        self._line_s = _WATCHED_LINE_S if stream.isatty() else _LINE_S

    def show(self, event: Event) -> None:
        """Write a line if one is due."""
        note = self.note_of(event)
        if note is not None:
            self._line(note)
        elif isinstance(event, Started):
            self._shown = self.done / max(self.total, 1)
            text = byte_size(self.total)
            done = f", {byte_size(self.done)} done before" if self.done else ""
            self._line(text + done)
        elif isinstance(event, Finished):
            self._line(f"{byte_size(self.done)} in {numbers.duration(event.seconds)}")
        elif isinstance(event, Sending):
            self._tell(event)
        elif self._is_due():
            self._shown, self._shown_at = self.done / self.total, time.monotonic()
            self._line(
                f"{self._shown:4.0%}  {byte_size(self.done)}  {numbers.byte_rate(self.rate)}"
                f"  eta {numbers.duration(self.left_s)}"
            )

    def _tell(self, event: Sending) -> None:
        now = time.monotonic()
        if now - self._shown_at > self._line_s:
            self._shown_at = now
            self._line(_sending(event))

    def _is_due(self) -> bool:
        share = self.done / max(self.total, 1)
        since = time.monotonic() - self._shown_at
        due = share - self._shown >= _LINE_SHARE or since > self._line_s
        return share < 1 and since > _SPACING_S and due

    def _line(self, text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {self.what} {text}", file=self.stream, flush=True)


class ProgressJson(_Meter):
    """Progress as JSON lines, one for each event; steps at most five times a second."""

    _SPACING_S = 0.2

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._last = 0.0

    def show(self, event: Event) -> None:
        """Write the event."""
        now = time.monotonic()
        if isinstance(event, Advanced | Sending) and now - self._last < self._SPACING_S:
            return
        self._last = now
        row: dict[str, Any] = {
            "event": type(event).__name__.lower(),
            "what": self.what,
            "done_bytes": self.done,
            "total_bytes": self.total,
        }
        if isinstance(event, Warned):
            row["message"] = escape_line(event.message)
        elif isinstance(event, Sending):
            row |= {"sent_bytes": event.sent_bytes, "sending_bytes": event.nbytes}
        elif isinstance(event, Published | Publishing):
            row |= {"published_files": event.files, "published_bytes": event.nbytes}
        print(escaping.json(json.dumps(row)), file=self.stream, flush=True)


class ProgressBar(_Meter):
    """Progress as a bar, drawn by rich."""

    def __init__(self, stream: TextIO, *, coloured: bool) -> None:
        super().__init__(stream)
        self._coloured = coloured
        self._progress: Progress | None = None

    def show(self, event: Event) -> None:
        """Start, move or end the bar."""
        if isinstance(event, Started):
            self._start()
        elif self._progress is not None and (note := self.note_of(event)) is not None:
            self._progress.console.out(note, highlight=False)
        elif self._progress is not None and isinstance(event, Compiled):  # a rate of its own since
            self._progress.reset(self._progress.task_ids[0], completed=self.done)
        elif self._progress is not None:
            doing = f"{self.what}: {_sending(event)}" if isinstance(event, Sending) else self.what
            self._progress.update(
                self._progress.task_ids[0], completed=self.done, description=doing
            )
        if isinstance(event, Finished):
            self._stop()

    def end(self) -> None:
        """Leave the bar as it is, and show the cursor again."""
        with self._guard:
            self._stop()

    def leave(self) -> None:
        """Show the cursor again, which rich hides beside a bar; locks may be held, also rich's."""
        if self._progress is not None and self.stream.isatty():
            os.write(self.stream.fileno(), _SHOW_CURSOR)

    def _stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _start(self) -> None:
        from rich import progress
        from rich.console import Console

        columns = (
            progress.TextColumn("  {task.description}"),
            progress.BarColumn(),
            progress.TaskProgressColumn(),
            progress.DownloadColumn(),
            progress.TransferSpeedColumn(),
            progress.TimeRemainingColumn(),
        )
        console = Console(file=self.stream, no_color=not self._coloured)
        self._progress = progress.Progress(*columns, console=console, transient=False)
        self._progress.add_task(self.what, total=self.total, completed=self.done)
        self._progress.start()
        if self.before:
            again = f"  continuing: {byte_size(self.before)} were done before"
            self._progress.console.out(again, highlight=False)
