"""Every error and finding code: its exit status, what it means, and what to do.

The numbers are a promise: they are printed, documented and matched by scripts. A code is never
given another meaning. GP1xx findings, GP2xx source, GP3xx plan and target, GP4xx run, GP9xx bug.
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
