"""Charts side by side on a page, drawn where matplotlib is installed.

The extra `report` installs it, and it is imported when a page is written. A page without it has
its tables, and says what would draw the charts: no run fails for want of a picture.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from grokpack.core.optional_imports import installation
from grokpack.report.pages import html

if TYPE_CHECKING:
    from grokpack.report.pages.charts import Chart
    from grokpack.report.pages.html import Html

EXTRA = "report"


def gallery(*shown: Chart) -> Html:
    """Draw charts, as many side by side as fit."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it tells how it looks for fonts
    try:
        from grokpack.report.pages import chart_drawing
    except ImportError:
        install = html.element("code", installation(EXTRA))
        drawn = [html.element("p", "Not drawn: charts need matplotlib, by ", install, ".")]
    else:
        drawn = list(map(chart_drawing.figure, shown))
    return html.element("div", *drawn, class_="gallery")
