"""Session of a command: its result, progress, errors and exit status."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TextIO

import typer

from grokpack.cli import machine_output, report_file
from grokpack.cli.options import OutputFlags
from grokpack.cli.wait_notices import WaitNotices
from grokpack.core.errors import GrokpackError, Interrupted
from grokpack.core.events import Event, Listener
from grokpack.core.exit_status import ExitStatus
from grokpack.report import envelope
from grokpack.report.text import error_text, terminal

if TYPE_CHECKING:
    from grokpack.core.documents.answer_json import Answer, FindingJson
    from grokpack.report.junit import Case
    from grokpack.report.progress_display import Display


_AGAIN_S, _AGAIN_IN_LOG_S = 5.0, 30.0
"""Seconds between lines that break a silence, on a terminal and in a log."""


@dataclass(slots=True)
class Session:
    """Output of one command.

    Attributes:
        command: Its name, in the JSON schema and in log lines.
        form: Of stdout: `text`, `json`, `github` or `junit`.
        progress: Form of the progress.
        report: File that also gets the answer: `.json` the document, `.html` a page.
        quiet: Nothing on stderr but errors.
        verbose: Tracebacks of bugs on stderr.
        color: `auto`, `always` or `never`; auto is decided for each stream.
        stop: Set by a signal; asks a run to stop between two tiles.
        waiting: Says how far reading has come where nothing else is shown.
        displays: What shows progress, to be ended before anything is said of its end.
        signal_status: Exit status where a signal ends the command.
    """

    command: str
    form: str = "text"
    progress: str = "auto"
    report: Path | None = None
    quiet: bool = False
    verbose: bool = False
    color: str = "auto"
    stop: threading.Event = field(default_factory=threading.Event)
    waiting: WaitNotices = field(init=False)
    displays: list[Display] = field(default_factory=list)
    signal_status: ExitStatus = ExitStatus.INTERRUPTED

    def __post_init__(self) -> None:
        """Make what breaks a long silence."""
        again_s = _AGAIN_S if sys.stderr.isatty() else _AGAIN_IN_LOG_S
        self.waiting = WaitNotices(self._say_waiting, again_s)

    def _say_waiting(self, text: str) -> None:
        if self.progress in ("auto", "bar", "lines"):
            self.say(text)

    def say(self, text: str) -> None:
        """Show a line for people, on stderr."""
        if not self.quiet:
            self._write(text, sys.stderr)

    def listener(self) -> Listener:
        """Return the listener that shows the progress of this command."""
        from grokpack.report import progress_display

        show = progress_display.listener(self.progress, quiet=self.quiet, color=self.color)
        self.displays.append(show)

        def listen(event: Event) -> None:
            self.waiting.note(event)
            show(event)

        return listen

    def stoppable(self) -> Listener:
        """Return the listener for a command that only reads, which a signal ends at its next step.

        Raises:
            GrokpackError: GP403, from within the listener, once a signal has come.
        """
        show = self.listener()

        def listen(event: Event) -> None:
            if self.stop.is_set():
                what = "stopped before everything was read"
                raise Interrupted(what, hint="the same command begins anew")
            show(event)

        return listen

    def result(
        self,
        text: str,
        data: Mapping[str, object],
        status: ExitStatus = ExitStatus.OK,
        findings: Sequence[FindingJson] = (),
        word: str = "ok",
        cases: Sequence[Case] = (),
        *,
        verbatim: bool = False,
    ) -> None:
        """Print the result in the requested form, write the report, and exit."""
        if self.form == "text" and self.report is None:  # no document is needed
            self._write(text, sys.stdout, verbatim=verbatim)
        else:
            document = envelope.document(self.command, word, status, data, findings)
            if self.report is not None:
                report_file.write(self.report, document)
            self._answer(document, cases, text, verbatim=verbatim)
        if status is not ExitStatus.OK:
            raise typer.Exit(int(status))

    def show(self, text: str) -> None:
        """Print what is known before an error, where the answer is for people."""
        if self.form == "text":
            self._write(text, sys.stdout)

    def fail(self, error: GrokpackError) -> None:
        """Show an error and leave with its status."""
        status = error.exit_status
        if isinstance(error, Interrupted):
            status = self.signal_status
        self.end_displays()
        document = envelope.failure(self.command, error, status)
        self._report_failure(document)
        self._answer(document, (), None)
        self._write(error_text.render(error), sys.stderr)
        raise typer.Exit(int(status))

    def end_displays(self) -> None:
        """End what shows progress, as it is."""
        for display in self.displays:
            display.end()

    def _answer(
        self,
        document: Answer,
        cases: Sequence[Case],
        text: str | None,
        *,
        verbatim: bool = False,
    ) -> None:
        """Put the result on stdout; as text only if there is one."""
        if self.form in machine_output.FORMS:
            machine_output.write(self.form, document, cases)
        elif text is not None:
            self._write(text, sys.stdout, verbatim=verbatim)

    def _report_failure(self, document: Answer) -> None:
        """Write the report of a failed command; if that fails, the first error stands."""
        if self.report is not None and report_file.is_possible(self.report):
            with suppress(GrokpackError):
                report_file.write(self.report, document)

    def _write(self, text: str, stream: TextIO, *, verbatim: bool = False) -> None:
        shown = terminal.fitted(text, stream, self.color, verbatim=verbatim)
        typer.echo(shown, file=stream, color=True)


@contextmanager
def session(command: str, flags: OutputFlags) -> Iterator[Session]:
    """Run a command's body: errors become messages and statuses, signals ask it to stop."""
    from grokpack import storage

    form = "json" if flags.json else "text" if flags.fmt == "auto" else flags.fmt
    current = Session(
        command, form, flags.progress, flags.report, flags.quiet, flags.verbose, flags.color
    )
    try:
        report_file.check(flags.report)
        counted = current.waiting.count
        reading = storage.interruptible(current.stop.is_set, counted=counted)
        with _signals(current), reading, current.waiting:
            yield current
    except GrokpackError as error:
        current.fail(error)
    except (typer.Exit, typer.Abort, KeyboardInterrupt):
        raise
    except Exception as error:  # noqa: BLE001  # the last resort of the command line
        from grokpack.cli import crash_report

        current.fail(crash_report.bug(error, verbose=flags.verbose))
    finally:
        current.end_displays()


@contextmanager
def _signals(current: Session) -> Iterator[None]:
    """Handle signals: the first Ctrl-C or SIGTERM stops cleanly, the second at once."""

    def handle(number: int, _frame: FrameType | None) -> None:
        if current.stop.is_set():
            for display in current.displays:
                display.leave()
            os._exit(128 + number)
        current.stop.set()
        again = "; once more ends at once"
        if number == signal.SIGTERM:
            current.signal_status, again = ExitStatus.TERMINATED, ""
        current.say(f"\nstopping: finishing what is in flight{again}")

    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        before = {n: signal.signal(n, handle) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        restore: Callable[[int, Any], Any] = signal.signal
        for number, handler in before.items():
            restore(number, handler)
