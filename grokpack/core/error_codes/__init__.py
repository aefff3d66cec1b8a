"""Table of every error and finding code: its exit status, its meaning and its remedy.

Codes are stable: they are printed, documented and matched by scripts, so a code never changes its
meaning. GP1xx are findings, GP2xx sources, GP3xx plans and targets, GP4xx runs, GP9xx bugs.
"""

from __future__ import annotations

from grokpack.core.error_codes.code import Code
from grokpack.core.error_codes.findings import FINDINGS
from grokpack.core.error_codes.plans import PLANS
from grokpack.core.error_codes.runs import RUNS
from grokpack.core.error_codes.sources import SOURCES

__all__ = ["CODES", "Code"]


def _table(*rows: Code) -> dict[str, Code]:
    table = {row.id: row for row in rows}
    if len(table) != len(rows):
        message = "a code stands twice in the table"
        raise ValueError(message)
    return table


CODES: dict[str, Code] = _table(*FINDINGS, *SOURCES, *PLANS, *RUNS)
