"""How many statements the commands send: one query answers, whatever the number of rows."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import select

from tests.support.databases import CollectStatements
from usermgr.db.engine import Database, Operation
from usermgr.db.models import users as users_table
from usermgr.records import NewUser, UserChanges, UserFilter
from usermgr.services import grants, users
from usermgr.services.claims import create_claim, protect_claims
from usermgr.services.lookup import find_user, list_users
from usermgr.services.roles import create_role, protect_roles
from usermgr.services.users import create_user

CLAIMS = ("a", "b", "c")


def _create_users(database: Database, number: int) -> None:
    with database.operation("test", "tester") as op:
        create_role(op, "member", if_not_exists=True)
        for claim in CLAIMS:
            create_claim(op, claim, if_not_exists=True)
        for i in range(number):
            create_user(op, NewUser(f"User {i}", f"u{i}@example.com", "member", CLAIMS))


def test_one_query_shows_a_user_with_role_and_claims(
    database: Database, statements: CollectStatements
) -> None:
    _create_users(database, 3)
    with statements(database) as sent, database.read() as connection:
        user = find_user(connection, "u1@example.com")
    assert (user.name, user.email, user.role, user.claims) == (
        *("User 1", "u1@example.com", "member"),
        CLAIMS,
    )
    assert _selects_of_users(sent) == 1
    assert len(sent) == _opening(database) + 1


def test_one_query_lists_any_number_of_users(
    database: Database, statements: CollectStatements
) -> None:
    _create_users(database, 60)
    with statements(database) as sent, database.read() as connection:
        page = list_users(connection, UserFilter(), limit=100)
    assert [user.claims for user in page.users] == [CLAIMS] * 60
    assert _selects_of_users(sent) == 1
    assert len(sent) == _opening(database) + 1


def test_a_page_that_is_cut_costs_one_count(
    database: Database, statements: CollectStatements
) -> None:
    _create_users(database, 10)
    with statements(database) as sent, database.read() as connection:
        page = list_users(connection, UserFilter(), limit=3)
    assert (len(page.users), page.total) == (3, 10)
    assert len(sent) == _opening(database) + 2


def test_creating_a_user_takes_five_statements_and_six_on_sqlite(
    database: Database, statements: CollectStatements
) -> None:
    _create_users(database, 1)
    with statements(database) as sent, database.operation("test", "tester") as op:
        create_user(op, NewUser("Rui", "rui@example.com", "member", CLAIMS))
    verbs = [statement.split()[0] for statement in sent if not statement.startswith("BEGIN")]
    history = ["INSERT", "INSERT"] if database.is_sqlite else ["WITH"]
    assert verbs == ["SELECT", "SELECT", "INSERT", "INSERT", *history]


def test_a_password_hash_takes_one_statement_more_and_stands_in_no_other(
    database: Database, statements: CollectStatements
) -> None:
    _create_users(database, 1)
    new = NewUser("Rui", "rui@example.com", "member", CLAIMS, password_hash="$argon2id$x")
    with statements(database) as sent, database.operation("test", "tester") as op:
        create_user(op, new)
    verbs = [statement.split()[0] for statement in sent if not statement.startswith("BEGIN")]
    if database.is_sqlite:
        assert verbs == ["SELECT", "SELECT", "INSERT", "INSERT", "INSERT", "INSERT"]
    else:
        assert verbs == ["SELECT", "SELECT", "SELECT", "INSERT", "INSERT", "WITH"]
    with database.connect() as connection:
        stored = connection.execute(select(users_table.c.password).order_by(users_table.c.id))
        assert list(stored.scalars()) == ["!", "$argon2id$x"]


def _guarding(sent: list[str]) -> list[str]:
    return [statement for statement in sent if "protected" in statement]


DISABLED, MOVED = UserChanges(active=False), UserChanges(role="member")
TAKES: dict[str, Callable[[Operation], object]] = {
    "disable": lambda op: users.update_user(op, "1", DISABLED),
    "disable two": lambda op: users.update_users(op, ["1", "2"], DISABLED),
    "move": lambda op: users.update_user(op, "1", MOVED),
    "revoke": lambda op: users.revoke_claims(op, "1", ["a"]),
    "delete": lambda op: users.delete_user(op, "1"),
    "delete two": lambda op: users.delete_users(op, ["1", "2"]),
}
GIVES: dict[str, Callable[[Operation], object]] = {
    "create": lambda op: create_user(op, NewUser("Rui", "rui@example.com", "member", CLAIMS)),
    "rename": lambda op: users.update_user(op, "1", UserChanges(name="Rui")),
    "enable": lambda op: users.update_user(op, "1", UserChanges(active=True)),
    "grant": lambda op: grants.grant_claims(op, "1", ["a"]),
    "set password": lambda op: users.set_password(op, "1", None),
}


@pytest.mark.parametrize("act", TAKES.values(), ids=TAKES.keys())
def test_where_nothing_is_protected_a_guard_is_one_query(
    database: Database, statements: CollectStatements, act: Callable[[Operation], object]
) -> None:
    _create_users(database, 3)
    with statements(database) as sent, database.operation("test", "tester") as op:
        act(op)
    assert len(_guarding(sent)) == 1


@pytest.mark.parametrize("act", GIVES.values(), ids=GIVES.keys())
def test_what_takes_nothing_away_is_not_guarded(
    database: Database, statements: CollectStatements, act: Callable[[Operation], object]
) -> None:
    _create_users(database, 3)
    with statements(database) as sent, database.operation("test", "tester") as op:
        act(op)
    assert _guarding(sent) == []


@pytest.mark.parametrize("number", [1, 20])
def test_a_guard_takes_four_queries_however_many_users_there_are(
    database: Database, statements: CollectStatements, number: int
) -> None:
    _create_users(database, number + 1)
    with database.operation("test", "tester") as op:
        protect_roles(op, ["member"])
        protect_claims(op, ["a"])
    named = [str(user_id) for user_id in range(1, number + 1)]
    with statements(database) as sent, database.operation("test", "tester") as op:
        users.update_users(op, named, DISABLED)
    found, lock_roles, lock_claims, counted = [
        statement
        for statement in sent
        if "protected" in statement or statement.startswith(("SELECT roles.id", "SELECT claims.id"))
    ]
    assert ("FOR NO KEY UPDATE" in lock_roles) == ("FOR NO KEY UPDATE" in lock_claims)
    assert ("FOR NO KEY UPDATE" in lock_roles) != database.is_sqlite
    assert found != counted


def _opening(database: Database) -> int:
    """SQLite's BEGIN is sent by us, PostgreSQL's by the driver."""
    return 2 if database.is_sqlite else 1


def _selects_of_users(sent: list[str]) -> int:
    return sum("FROM users" in statement for statement in sent)
