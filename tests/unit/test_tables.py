"""How wide the columns of a table are: words stay whole as long as that is possible."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from rich.console import Console

from usermgr.cli.tables import PART, column_widths, print_many

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


@pytest.mark.parametrize("number", [0, 1, PART, PART + 1, 3 * PART + 7])
@pytest.mark.parametrize("width", [80, 20])
def test_rows_are_streamed_and_each_is_shown_once(number: int, width: int) -> None:
    out = io.StringIO()
    ahead = 0

    def rows() -> Iterator[list[str]]:
        nonlocal ahead
        for line in range(number):
            ahead = max(ahead, line - out.getvalue().count("@"))
            yield [str(line), "Ana Maria Souza", f"a{line}@example.com"]

    print_many(Console(file=out, width=width), HEADER, rows())

    assert ahead <= PART
    shown = out.getvalue()
    assert [word for word in shown.split() if "@" in word] == [
        f"a{line}@example.com" for line in range(number)
    ]
    headers = 1 if width == 80 or not number else number
    assert shown.count("email") == headers


def test_a_longer_cell_further_down_is_not_cut_off() -> None:
    out = io.StringIO()
    rows = [["1", "Ana", "a@x.com"]] * PART + [["2", "B" * 30, "b@x.com"]]
    print_many(Console(file=out, width=80), HEADER, rows)
    assert out.getvalue().count("B") == 30
