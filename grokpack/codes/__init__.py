"""Every error and finding code: its exit status, what it means, and what to do.

The numbers are a promise: they are printed, documented and matched by scripts. A code is never
given another meaning. GP1xx findings, GP2xx source, GP3xx plan and target, GP4xx run, GP9xx bug.
"""

from __future__ import annotations

from grokpack.codes.code import Code
from grokpack.codes.findings import FINDINGS
from grokpack.codes.plans import PLANS
from grokpack.codes.runs import RUNS
from grokpack.codes.sources import SOURCES

__all__ = ["CODES", "Code"]


def _table(*rows: Code) -> dict[str, Code]:
    table = {row.id: row for row in rows}
    if len(table) != len(rows):
        message = "a code stands twice in the table"
        raise ValueError(message)
    return table


CODES: dict[str, Code] = _table(*FINDINGS, *SOURCES, *PLANS, *RUNS)
