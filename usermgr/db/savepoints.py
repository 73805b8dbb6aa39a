"""Savepoints whose failure does not hide why they failed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from sqlalchemy import Connection, NestedTransaction
from sqlalchemy.exc import DBAPIError


@contextlib.contextmanager
def savepoint(connection: Connection) -> Iterator[NestedTransaction]:
    """Go back to this point when the block ends with an error, which comes out as it is.

    When its disk is full SQLite undoes the whole transaction by itself: then there is no point to
    go back to any more, and the driver's complaint about that would hide the reason.
    """
    nested = connection.begin_nested()
    try:
        yield nested
    except BaseException as error:
        try:
            if nested.is_active:
                nested.rollback()
        except DBAPIError:
            raise error from error.__cause__
        raise
    if nested.is_active:
        nested.commit()
