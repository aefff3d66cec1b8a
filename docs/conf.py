"""Sphinx settings: MyST Markdown, the Furo theme, and no network while building."""

import sys
from pathlib import Path

import grokpack

sys.path.insert(0, str(Path(__file__).parent))  # the extension of manual pages lies beside this

project = "grokpack"
author = "the grokpack authors"
copyright = author  # noqa: A001  # Sphinx asks for this name
release = version = grokpack.__version__

extensions = ["myst_parser", "_man"]
myst_enable_extensions = ["deflist"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
nitpicky = True

# Headings down to this depth can be linked to: `codes.md#gp103` is what messages print.
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"grokpack {release}"
html_copy_source = False

man_pages = [
    (
        "reference/cli",
        "grokpack",
        "check, look into, cut, quantize and convert Grok-1 and Grok-2 checkpoints",
        author,
        1,
    ),
    ("reference/codes", "grokpack-codes", "codes of findings and errors", author, 7),
    ("reference/environment", "grokpack-environment", "environment variables", author, 7),
    ("reference/exit-codes", "grokpack-exit-codes", "exit statuses", author, 7),
]
