"""One line of a report: what was compared, the figure, and the most that passes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """One comparison; without a limit the figure is only reported."""

    what: str
    figure: float
    limit: float | None = 0

    @property
    def good(self) -> bool:
        return self.limit is None or self.figure <= self.limit


def report(title: str, results: Iterable[Result]) -> bool:
    """Print a table; whether all is good."""
    print(f"\n{title}", flush=True)
    good = True
    for result in results:
        mark = "ok  " if result.good else "FAIL"
        limit = "" if result.limit is None else f"<= {result.limit:g}"
        print(f"  {mark} {result.what:58} {result.figure:9.3g}  {limit}".rstrip(), flush=True)
        good = good and result.good
    return good


def summary(what: str, results: Iterable[Result]) -> bool:
    """The same in one line, with what failed below it."""
    listed = list(results)
    failed = [result for result in listed if not result.good]
    notes = "; ".join(f"{r.what} {r.figure:.3g}" for r in listed if r.limit != 0)
    print(f"  {'FAIL' if failed else 'ok  '} {what:58} {notes}".rstrip(), flush=True)
    for result in failed:
        print(f"         {result.what}: {result.figure:.3g}, at most {result.limit:g}", flush=True)
    return not failed


def failures(results: Iterable[Result]) -> list[str]:
    """What went wrong, an error of the other program included."""
    try:
        return [result.what for result in results if not result.good]
    except Exception as error:  # noqa: BLE001  # whatever it is, it was noticed
        words = str(error).strip().partition("\n")[0]
        return [f"{type(error).__name__}: {words[:70]}"]
