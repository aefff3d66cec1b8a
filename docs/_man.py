"""Sphinx extension: manual pages with a synopsis, and references that `man` can follow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from docutils import nodes
from sphinx import addnodes
from sphinx.transforms.post_transforms import SphinxPostTransform

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_SYNOPSIS = {"reference/cli": "grokpack [OPTIONS] COMMAND [ARGS]..."}


class ManualPages(SphinxPostTransform):
    """Give a page the sections that every manual page has, and name pages as `man` does."""

    default_priority = 5  # before references become addresses, of which manual pages have none
    builders = ("man",)

    def run(self, **_: object) -> None:
        """Change the page."""
        pages = {page: f"{name}({section})" for page, name, _, _, section in self.config.man_pages}
        for reference in list(self.document.findall(addnodes.pending_xref)):
            name = pages.get(reference["reftarget"])
            reference.replace_self(nodes.strong("", name) if name else reference.children)
        own = self.env.docname
        content = next(self.document.findall(nodes.section))
        if own in _SYNOPSIS:
            self._frame(content, _SYNOPSIS[own])
        others = ", ".join(name for page, name in pages.items() if page != own)
        content += _section("See also", nodes.paragraph("", others))

    def _frame(self, content: nodes.section, synopsis: str) -> None:
        """Put the synopsis first, and what stands before the first heading into a section."""
        inner = list(content.findall(nodes.section))[1]
        first = content.index(inner)
        begun = content[1:first]
        usage = nodes.literal_block("", synopsis)
        content[1:first] = [_section("Synopsis", usage), _section("Description", *begun)]


def _section(title: str, *content: nodes.Node) -> nodes.section:
    return nodes.section("", nodes.title("", title), *content, ids=[nodes.make_id(title)])


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the transform."""
    app.add_post_transform(ManualPages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
