"""Bulk verbs work on sets: the statements are the same, however many users there are."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text

from tests.support.databases import CollectStatements, open_database
from usermgr.db import changing
from usermgr.db.engine import Database
from usermgr.errors import Forbidden
from usermgr.records import BulkReport, UserFilter
from usermgr.services import bulk_verbs as bulk
from usermgr.services.bulk import Named, change_users
from usermgr.services.bulk_verbs import Prepare
from usermgr.services.claims import create_claim, protect_claims
from usermgr.services.roles import create_role, protect_roles

FEW, MANY = 5, 5_000
VERBS: dict[str, tuple[Prepare, str, int]] = {
    "disable": (bulk.disabling, "user.update", MANY - MANY // 5),
    "enable": (bulk.enabling, "user.update", MANY // 5),
    "set-role": (bulk.setting_role("few"), "user.update", MANY),
    "grant": (bulk.granting(["a", "c"]), "user.grant", MANY),
    "grant what is held": (bulk.granting(["c"]), "user.grant", 0),
    "revoke": (bulk.revoking(["c", "a"]), "user.revoke", MANY),
    "delete": (bulk.deleting, "user.delete", MANY),
}
MEMBERS = """
    INSERT INTO users (name, email, password, role_id, active, created_at, created_in)
    WITH RECURSIVE numbers (n) AS
        (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {number})
    SELECT 'M ' || n, '{role}' || n || '@example.com', '!', r.id, n % 5 <> 0,
        '2026-01-31 12:00:00.000000', {op}
    FROM numbers CROSS JOIN roles r WHERE r.description = '{role}'
"""


def _fill(database: Database) -> None:
    """5 users with the role few, 5,000 with the role many; one in five is inactive, and all of them
    hold the claim c."""
    with database.operation("test", "tester") as op:
        for claim in ("a", "b", "c"):
            create_claim(op, claim)
        for role, number in (("few", FEW), ("many", MANY)):
            create_role(op, role)
            made = MEMBERS.format(role=role, number=number, op=op.id)
            op.connection.execute(text(made))
            op.count("user.create", number)
        op.connection.execute(
            text("INSERT INTO user_claims (user_id, claim_id) SELECT id, 3 FROM users")
        )


@pytest.mark.parametrize("verb", VERBS)
def test_5_000_users_take_as_many_statements_as_5(
    database: Database, statements: CollectStatements, verb: str
) -> None:
    _fill(database)
    prepare, counted, changed = VERBS[verb]
    with statements(database) as few, database.operation("test", "tester", dry_run=True) as op:
        change_users(op, UserFilter(role="few"), prepare, dry_run=True)
        assert (changed == 0 or verb == "set-role") == (op.counts == {})
    with statements(database) as many, database.operation("test", "tester") as op:
        report = change_users(op, UserFilter(role="many"), prepare)

    operation_id = op.id if changed else None
    assert report == BulkReport(MANY, changed, MANY - changed, False, operation_id)
    assert op.counts == ({counted: changed} if changed else {})
    if verb != "set-role":  # The few have that role already.
        assert [_verb(one) for one in many] == [_verb(one) for one in few]
    assert len(many) < 35
    recorded = "SELECT count(DISTINCT entity_id) FROM changes WHERE operation_id = :id"
    with database.read() as connection:
        assert connection.execute(text(recorded), {"id": op.id}).scalar_one() == changed


def _verb(statement: str) -> str:
    return " ".join(statement.split()[:4])


@pytest.mark.parametrize("protects", [True, False])
def test_a_guard_of_5_000_users_costs_as_much_as_of_5(
    database: Database, statements: CollectStatements, protects: bool
) -> None:
    _fill(database)
    with database.operation("test", "tester") as op:
        protect_roles(op, ["few", "many"], protected=protects)
        protect_claims(op, ["b"])
    sent = {}
    for role in ("few", "many"):
        selection = UserFilter(role=role, search="M 1")
        with statements(database) as sent[role], database.operation("test", "tester") as op:
            change_users(op, selection, bulk.disabling)
    assert len(sent["few"]) == len(sent["many"])
    guarding = [statement for statement in sent["many"] if "protected" in statement]
    assert len(guarding) == (2 if protects else 1)


@pytest.mark.parametrize("verb", ["disable", "set-role", "delete", "revoke"])
def test_5_000_users_do_not_take_what_is_protected_with_them(database: Database, verb: str) -> None:
    _fill(database)
    with database.operation("test", "tester") as op:
        protect_roles(op, ["many"])
        if verb == "revoke":
            change_users(op, UserFilter(role="few"), bulk.revoking(["c"]))
            protect_claims(op, ["c"])
    with (
        pytest.raises(Forbidden, match="no active user would be left with the protected"),
        database.operation("test", "tester") as op,
    ):
        change_users(op, UserFilter(role="many"), VERBS[verb][0])
    with database.operation("test", "tester") as op:
        report = change_users(op, UserFilter(role="many", search="2"), VERBS[verb][0])
    assert 0 < report.changed < MANY


def test_5_000_names_are_sent_at_once(database: Database, statements: CollectStatements) -> None:
    _fill(database)
    with database.read() as connection:
        rows = connection.execute(text("SELECT id, email FROM users ORDER BY id")).all()
    names = [str(row.id) if row.id % 2 else row.email.upper() for row in rows]
    named = Named(lambda: enumerate([*names, *reversed(names)], 1), "users.txt")

    with statements(database) as sent, database.operation("test", "tester") as op:
        report = change_users(op, named, bulk.granting(["a"]))

    assert report == BulkReport(FEW + MANY, FEW + MANY, 0, False, op.id)
    assert len(sent) < 40


def test_every_user_who_is_changed_gives_a_statement_a_millisecond(
    migrated_postgresql_url: str,
) -> None:
    database = open_database(migrated_postgresql_url, statement_timeout="7")
    with database.operation("test", "tester") as op:
        driver: Any = op.connection.connection.dbapi_connection
        patience = driver.patience
        with changing.room_for(op, 5_000):
            limit = op.connection.execute(text("SHOW statement_timeout")).scalar_one()
            assert (limit, driver.patience - patience) == ("12s", 5)
        assert driver.patience == patience
    database.engine.dispose()


def test_many_users_get_memory_and_few_leave_it_as_it_is(migrated_postgresql_url: str) -> None:
    database = open_database(migrated_postgresql_url)
    show = text("SHOW work_mem")
    with database.operation("test", "tester") as op:
        before = op.connection.execute(show).scalar_one()
        with changing.room_for(op, 10):
            assert op.connection.execute(show).scalar_one() == before
        with changing.room_for(op, 10_000_000):
            assert op.connection.execute(show).scalar_one() == "64MB"
    with database.read() as connection:
        assert connection.execute(show).scalar_one() == before
    database.engine.dispose()


def test_sqlite_keeps_more_pages_for_many_users_for_as_long(migrated_sqlite_url: str) -> None:
    database = open_database(migrated_sqlite_url)

    def size() -> int:
        found: int = op.connection.exec_driver_sql("PRAGMA cache_size").scalar_one()
        return found

    with database.operation("test", "tester") as op:
        before = size()
        with changing.room_for(op, 10):
            assert size() == before
        with changing.room_for(op, 10_000_000):
            assert size() == -64 * 1024
        assert size() == before
        op.connection.exec_driver_sql("PRAGMA cache_size = 50000")
        with changing.room_for(op, 10_000_000):
            assert size() == 50_000
    database.engine.dispose()
