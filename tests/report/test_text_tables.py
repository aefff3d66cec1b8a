"""Tables of text in a terminal of any width: no line is longer, and no cell is lost."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grokpack.core.documents.plan_json import AccountJson, AccountsJson
from grokpack.report.text import quantization_error_text, terminal, text_tables
from grokpack.report.text.text_tables import Column

COLUMNS = (Column("part", 9, left=True), Column("size", 9), Column("stored as", 12, left=True))
cells = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=12)
rows = st.lists(st.tuples(cells, cells, cells), max_size=4)


def laid_out(width: int | None, given_rows: Sequence[tuple[str, ...]]) -> list[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(terminal, "text_width", lambda _stream: width)
        return text_tables.table(COLUMNS, given_rows)


@given(rows, st.integers(32, 120))
def test_no_line_is_longer_than_the_terminal_and_no_cell_is_lost(
    given_rows: Sequence[tuple[str, ...]], width: int
) -> None:
    lines = laid_out(width, given_rows)
    assert all(len(line) <= width for line in lines)
    words = " ".join(lines).replace(",", " ").split()
    for row in given_rows:
        for cell in row:
            assert cell in words


def test_it_is_laid_out_wide_then_squeezed_then_as_records() -> None:
    row = [("experts", "1 GB", "int8")]
    assert laid_out(None, row) == [
        "  part            size  stored as",
        "  experts         1 GB  int8",
    ]
    assert laid_out(28, row) == ["  part     size  stored as", "  experts  1 GB  int8"]
    assert laid_out(24, row) == ["  part experts", "      size 1 GB,", "      stored as int8"]


def test_a_column_of_words_gives_way_first() -> None:
    row = [("experts", "1 GB", "int8, bf16 scales, and more")]
    assert laid_out(38, row) == [
        "  part     size  stored as",
        "  experts  1 GB  int8, bf16 scales,",
        "                 and more",
    ]


def test_a_weight_of_no_layer_is_worst_in_none() -> None:
    figures = AccountJson(
        weights=1,
        groups=1,
        zero_groups=0,
        relative_error=0.03,
        sqnr_db=28.7,
        worst_group=0.05,
        cosine=0.9,
        saturated_share=0.0,
        zeroed_share=0.0,
    )
    name = "language_model/in_out_embed/embeddings"
    shown = quantization_error_text.table(
        AccountsJson(roles={"embedding": figures}, tensors={name: figures})
    )
    assert "layer" not in shown
