"""Command lines with as many words as a shell passes: no limit of a database is met."""

from __future__ import annotations

import pytest
from sqlalchemy import insert

from tests.support.commands import Command
from tests.support.databases import open_database
from tests.support.people import create_company, create_user
from usermgr.db.models import claims
from usermgr.services.lookup import SEARCH_MAX_LENGTH

STORED = 2
"""Claims of the company."""


@pytest.fixture(autouse=True)
def company(cli: Command) -> None:
    create_company(cli)


def _create_claims(url: str, number: int) -> list[str]:
    names = [f"claim{i}" for i in range(number)]
    database = open_database(url)
    with database.connect() as connection:
        connection.execute(insert(claims), [{"description": name} for name in names])
        connection.commit()
    database.engine.dispose()
    return names


def test_a_user_with_many_claims_is_created_and_found(cli: Command, database_url: str) -> None:
    names = _create_claims(database_url, 1200)
    words = [word for name in names for word in ("--claim", name.upper())]

    created = create_user(cli, "Zoe", "zoe@example.com", "admin", *words)

    assert cli("user", "show", str(created), "-o", "json").json["claims"] == sorted(names)
    found = cli("user", "list", *words, "-o", "json")
    assert (found.exit_code, [user["id"] for user in found.json]) == (0, [created])
    cli("user", "revoke", str(created), names[700])
    assert cli("user", "list", *words, "-o", "json").json == []
    assert cli("user", "list", *words[:200], "-o", "json").json != []


def test_many_claims_are_granted_and_revoked(cli: Command, database_url: str) -> None:
    names = _create_claims(database_url, 2500)
    ids = [str(number) for number in range(STORED + 1, STORED + 2501)]

    granted = cli("user", "grant", "2", *ids, "-o", "json")
    assert (granted.exit_code, granted.json["claims"]) == (0, sorted(names))
    assert cli("user", "grant", "2", *ids[:10], "-o", "json").json["version"] == 2

    revoked = cli("user", "revoke", "2", *ids, "-o", "json")
    assert (revoked.exit_code, revoked.json["claims"]) == (0, [])


def test_names_and_ids_are_taken_in_the_order_given(cli: Command) -> None:
    shown = cli("claim", "disable", "2", "REPORTS:read", "reports:export", "1", "-o", "json")
    assert [claim["id"] for claim in shown.json] == [2, 1]

    for words, missing in (
        (("nobody", "77"), "nobody"),
        (("77", "nobody"), "77"),
        (("reports:read", "9" * 30), "9" * 30),
    ):
        done = cli("user", "grant", "1", *words)
        assert done.exit_code == 3
        assert done.stderr.startswith(f'error: no claim "{missing}"\n')
    both = ("--name", "Zoe", "--email", "zoe@example.com", "--role", "77", "--claim", "78")
    assert cli("user", "create", *both).stderr.startswith('error: no role "77"\n')


def test_a_search_text_has_a_limit(cli: Command) -> None:
    for text in ("x" * SEARCH_MAX_LENGTH, "%" * SEARCH_MAX_LENGTH, "ß" * SEARCH_MAX_LENGTH):
        assert cli("user", "list", "--search", text, "-o", "json").stdout == "[]\n"

    refused = cli("user", "list", "--search", "x" * 50_001)

    message = "error: the search text has 50001 characters\nhint: at most 1000 are allowed\n"
    assert (refused.exit_code, refused.stdout, refused.stderr) == (2, "", message)
