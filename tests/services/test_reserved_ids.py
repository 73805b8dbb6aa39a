"""Ids for many rows are taken from the sequence at once, whoever else takes some."""

from __future__ import annotations

from sqlalchemy import text

from tests.support.databases import open_database
from usermgr.db.bulk import reserve_ids


def test_ids_are_ascending_and_nobody_elses_where_others_take_some_in_between(
    migrated_postgresql_url: str,
) -> None:
    database = open_database(migrated_postgresql_url)
    with database.operation("test", "tester") as op:
        together = reserve_ids(op.connection, "users", 3)
        assert (together, list(together)) == (range(1, 4), [1, 2, 3])
        # As if somebody took every second one.
        op.connection.execute(text("ALTER SEQUENCE users_id_seq INCREMENT BY 2"))
        apart = reserve_ids(op.connection, "users", 3)
        following = op.connection.execute(text("SELECT nextval('users_id_seq')")).scalar_one()
        assert list(apart) == [apart[0] + step for step in (0, 2, 4)]
        assert apart[0] > together[-1]
        assert following == apart[-1] + 2
    database.engine.dispose()
