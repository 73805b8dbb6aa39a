"""An import of an export gives the same users, whatever they are called."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from tests.support.commands import Command, Result, run_inside
from tests.support.databases import open_database
from usermgr.db.engine import Database
from usermgr.emails import canonical_email
from usermgr.formats.writers import instant
from usermgr.names import canonical_label, canonical_name, parse_id

EXPORTS = ["x.csv", "x.tsv", "safe.csv", "safe.tsv", "x.jsonl", "x.json"]
HASHES = [
    "!",
    '!locked, "for ever"; \\N',
    "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2E$" + "A" * 43,
    "$2b$12$" + "./" * 26 + "a",
    "pbkdf2_sha256$390000$seasalt$8xBlGd3jVgvJ+92hWPxi5ww0uuAuAnKgC45eudxro7c=",
    "{SSHA}DkMTwBl+a/3DQTxCYEApdUtNXGgdUac3",
]

UNUSUAL = st.text(
    st.sampled_from("=+-@'\"\\;,#|Nnt.é\u0301\u2028\u200f😀 a1"), min_size=1, max_size=9
)
ANY = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=60)
NAMES = (ANY | UNUSUAL).filter(lambda name: bool(name.strip()))
# The databases do not agree with Python on the small letter of one capital letter.
LABELS = NAMES.filter(lambda name: parse_id(name.strip()) is None and "\u0130" not in name)
LOCAL_PARTS = st.sampled_from(["", "=", "+", "-", "'", "{", "é", "#", "Ab.c", "`|"])


@st.composite
def people(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Users as objects that an import reads; labels differ in more than the case of letters."""

    def labels(most: int) -> list[str]:
        by_fold = {
            label.strip().casefold(): label for label in draw(st.lists(LABELS, max_size=most))
        }
        return [*by_fold.values()]

    roles, claims = ["member", *labels(2)], labels(4)
    return [
        {
            "name": draw(NAMES),
            "email": f"{draw(LOCAL_PARTS)}{number}@example.com",
            "role": draw(st.sampled_from(roles)),
            "claims": draw(st.lists(st.sampled_from(claims), max_size=3)) if claims else [],
            "active": draw(st.booleans()),
            "created_at": instant(draw(st.datetimes(timezones=st.just(UTC)))),
            "password_hash": draw(st.sampled_from(HASHES)),
        }
        for number in range(draw(st.integers(1, 5)))
    ]


def canonical(user: dict[str, Any]) -> dict[str, Any]:
    """The user as it is stored."""
    return {
        **user,
        "name": canonical_name(user["name"], "name"),
        "email": canonical_email(user["email"]),
        "role": canonical_label(user["role"], "role"),
        "claims": sorted({canonical_label(claim, "claim") for claim in user["claims"]}),
    }


@pytest.fixture
def other(other_database_url: str) -> Iterator[Database]:
    """A database beside the one that ``cli`` works on."""
    database = open_database(other_database_url)
    yield database
    database.engine.dispose()


def empty(database: Database) -> None:
    with database.connect() as connection:
        for table in ("user_claims", "users", "claims", "roles"):
            connection.execute(text(f"DELETE FROM {table}"))
        connection.commit()


def exported(done: Result) -> dict[str, dict[str, Any]]:
    """By e-mail: an import may store users in another order."""
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.split("\n")[:-1]
    return {user["email"]: user for user in map(json.loads, lines)}


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(people(), st.sampled_from(EXPORTS))
def test_an_import_of_an_export_gives_the_same_users(
    cli: Command, database: Database, other: Database, users: list[dict[str, Any]], file: str
) -> None:
    def run_on_other(*words: str) -> Result:
        return run_inside(words, "", {"USERMGR_DATABASE_URL": other.url})

    empty(database)
    empty(other)
    create = ("--create-roles", "--create-claims")
    safe = ["--safe"] if file.startswith("safe") else []
    everything = ("user", "export", "--format", "jsonl", "--with-password-hashes")
    expected = {user["email"]: user for user in map(canonical, users)}

    made = cli("user", "import", "-", "--format", "json", *create, stdin=json.dumps(users))
    assert (made.exit_code, made.stderr) == (0, "")
    assert exported(cli(*everything)) == expected

    assert cli("user", "export", file, "--with-password-hashes", *safe).exit_code == 0
    copied = run_on_other("user", "import", file, *create, *safe)
    assert (copied.exit_code, copied.stderr) == (0, "")
    assert exported(run_on_other(*everything)) == expected

    again = cli(
        *("user", "import", file, "--on-conflict", "update", "--passwords", "set", "-o", "json"),
        *safe,
    )
    assert (again.exit_code, again.json["unchanged"]) == (0, len(users))
    assert again.json["operation_id"] is None
