"""How wide the columns of a table are: words stay whole as long as that is possible."""

from __future__ import annotations

import pytest

from usermgr.cli.tables import column_widths

HEADER = ["id", "name", "email"]
ROW = ["1", "Ana Maria Souza", "ana.maria.de.souza@example.com"]


@pytest.mark.parametrize(
    ("available", "widths"),
    [
        (200, [2, 15, 30]),
        (51, [2, 15, 30]),
        (50, [2, 14, 30]),
        (41, [2, 5, 30]),
        (40, [2, 5, 29]),
        (35, [2, 5, 24]),
        (34, None),
        (1, None),
    ],
)
def test_cells_then_words_then_pieces_of_the_longest_words(
    available: int, widths: list[int] | None
) -> None:
    assert column_widths([HEADER, ROW], available) == widths


@pytest.mark.parametrize(
    ("rows", "widths"),
    [
        ([["id"]], [2]),
        ([["a", "b"], ["", ""]], [1, 1]),
        ([["name"], ["日本語"]], [6]),
        ([["name"], ["x" * 200]], [80]),
    ],
)
def test_columns_without_words_of_wide_characters_and_of_one_endless_word(
    rows: list[list[str]], widths: list[int]
) -> None:
    assert column_widths(rows, 80) == widths
