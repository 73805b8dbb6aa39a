"""What is rendered for COPY is what PostgreSQL stores."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, text

from tests.support.databases import open_database
from usermgr.db.copying import copy_in
from usermgr.formats.copytext import Column, Same, copy_text, row_count

COPY = "COPY things (place, word, other, number, flag, at) FROM STDIN"

TEXTS = (
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
    | st.text("\\\t\n\r\b\f\vNx01. ,\"'", max_size=6)
    | st.sampled_from(["", "\\N", "\\.", "\\\\.", "\n\\.\n", "\\t", "\\x41", "\\101", "N", "\r\n"])
)
NUMBERS = st.integers(-(2**63), 2**63 - 1)
INSTANTS = st.datetimes(timezones=st.just(UTC))


@pytest.fixture
def connection(postgresql_url: str) -> Iterator[Connection]:
    """A connection with a table of every type that is rendered."""
    database = open_database(postgresql_url)
    with database.connect() as connection:
        connection.execute(text("SET TimeZone = 'UTC'"))
        connection.execute(
            text("""
                CREATE TEMPORARY TABLE things (place bigint, word text, other text, number bigint,
                    flag boolean, at timestamptz)
            """)
        )
        connection.commit()
        yield connection
    database.engine.dispose()


@st.composite
def rows(draw: st.DrawFn) -> list[Column]:
    """Columns of equal length; some are the same in every row, some have nothing in some."""
    number = draw(st.integers(1, 8))

    def column(values: st.SearchStrategy[Any]) -> Column:
        if draw(st.booleans()):
            values |= st.none()
        if draw(st.booleans()):
            return Same(draw(values))
        return draw(st.lists(values, min_size=number, max_size=number))

    return [range(number), *map(column, (TEXTS, TEXTS, NUMBERS, st.booleans(), INSTANTS))]


def values(column: Column, number: int) -> list[Any]:
    return [column.value] * number if isinstance(column, Same) else list(column)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows())
def test_what_is_rendered_is_what_is_stored(connection: Connection, columns: list[Column]) -> None:
    number = row_count(columns)

    assert copy_in(connection, COPY, [copy_text(columns)]) == number

    stored = connection.execute(text("SELECT * FROM things ORDER BY place")).all()
    connection.rollback()
    assert list(zip(*stored, strict=True)) == [tuple(values(c, number)) for c in columns]


def test_no_rows_are_no_line() -> None:
    assert copy_text([[], Same("x"), [], Same(None)]) == b""


def test_where_the_pieces_end_does_not_matter(connection: Connection) -> None:
    words = ["é\\\n\t", "\\.", "", "𝒵", "\\N"] * 40
    copied = copy_text([range(len(words)), words, *[Same(None)] * 4])

    copy_in(connection, COPY, (copied[at : at + 3] for at in range(0, len(copied), 3)))

    stored = connection.execute(text("SELECT word FROM things ORDER BY place")).scalars().all()
    assert stored == words
