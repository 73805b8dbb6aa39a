"""How many statements the commands send: one query answers, whatever the number of rows."""

from __future__ import annotations

from tests.support.databases import CollectStatements
from usermgr.db.engine import Database
from usermgr.records import NewUser, UserFilter
from usermgr.services.claims import create_claim
from usermgr.services.lookup import find_user, list_users
from usermgr.services.roles import create_role
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


def test_creating_a_user_takes_at_most_six_statements(
    database: Database, statements: CollectStatements
) -> None:
    _create_users(database, 1)
    with statements(database) as sent, database.operation("test", "tester") as op:
        create_user(op, NewUser("Rui", "rui@example.com", "member", CLAIMS))
    verbs = [statement.split()[0] for statement in sent if not statement.startswith("BEGIN")]
    assert verbs == ["SELECT", "SELECT", "INSERT", "INSERT", "INSERT", "INSERT"]


def _opening(database: Database) -> int:
    """SQLite's BEGIN is sent by us, PostgreSQL's by the driver."""
    return 2 if database.is_sqlite else 1


def _selects_of_users(sent: list[str]) -> int:
    return sum("FROM users" in statement for statement in sent)
