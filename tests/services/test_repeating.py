"""A request that may come again: whoever comes first keeps the others out, in every process."""

from __future__ import annotations

import pytest

from tests.support.databases import open_database
from usermgr.errors import Conflict
from usermgr.services.repeating import Repeatable, find_answer, keep_answer

REQUEST = Repeatable(1, "key", "fingerprint", "secret")


def test_one_transaction_at_a_time_has_a_key(migrated_postgresql_url: str) -> None:
    first, second = (open_database(migrated_postgresql_url) for _ in range(2))
    with first.operation("test", "tester") as op:
        assert find_answer(op, REQUEST) is None
        with (
            pytest.raises(Conflict, match="is being worked on"),
            second.operation("t", "t") as other,
        ):
            find_answer(other, REQUEST)
        keep_answer(op, REQUEST, b"answer")
    with second.operation("test", "tester") as op:
        assert find_answer(op, REQUEST) == b"answer"


def test_the_token_that_was_rotated_since_is_not_answered(migrated_sqlite_url: str) -> None:
    database = open_database(migrated_sqlite_url)
    with database.operation("test", "tester") as op:
        keep_answer(op, REQUEST, b"answer")
    rotated = Repeatable(REQUEST.token_id, REQUEST.key, REQUEST.fingerprint, "other secret")
    with (
        pytest.raises(Conflict, match="before the token was rotated"),
        database.operation("test", "tester") as op,
    ):
        find_answer(op, rotated)
