"""Rows that the new keys would not accept: told before any change, or merged when asked for."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest

from tests.migrations.challenge import KEPT, PLAIN, execute, image, make_challenge, rows
from tests.support.commands import run_inside
from usermgr.db import schema
from usermgr.db.engine import Database
from usermgr.errors import Conflict


class Refusal(NamedTuple):
    """Rows in the way, and how the error tells of them."""

    script: str
    reason: str
    hint: str
    details: dict[str, Any]


def member(number: int, stored: str) -> dict[str, Any]:
    """One of the rows that would be the same."""
    return {"id": number, "stored": stored}


BY_HAND = "change or delete these rows with a SQL client, then run this again"
MERGE_ROLES = "usermgr schema init --merge-roles joins roles of one name"
MERGE_CLAIMS = "usermgr schema init --merge-claims joins claims of one name, and grants"
WITHOUT_KEYS = """
    CREATE TABLE g AS SELECT * FROM user_claims;
    DROP TABLE user_claims;
    ALTER TABLE g RENAME TO user_claims;
"""
REFUSED = {
    "e-mail": Refusal(
        "INSERT INTO users (id, name, email, password, role_id, created_at) {override} VALUES"
        " (9, 'A2', ' ANA@example.com', '!', 2, '2020-01-01')",
        "e-mails of several users: 1\n"
        '  e-mail "ana@example.com": id 1 "Ana@Example.COM", id 9 " ANA@example.com"',
        BY_HAND,
        {
            "emails": [
                {
                    "value": "ana@example.com",
                    "rows": [member(1, "Ana@Example.COM"), member(9, " ANA@example.com")],
                }
            ]
        },
    ),
    "role": Refusal(
        "INSERT INTO roles (id, description) {override} VALUES (9, 'ADMIN'), (8, 'Admin')",
        'repeated role names: 1\n  role "admin": id 1 "admin", id 8 "Admin", id 9 "ADMIN"',
        MERGE_ROLES,
        {
            "roles": [
                {
                    "value": "admin",
                    "rows": [member(1, "admin"), member(8, "Admin"), member(9, "ADMIN")],
                }
            ]
        },
    ),
    "claim": Refusal(
        "INSERT INTO claims (id, description) {override} VALUES (9, 'READ')",
        'repeated claim names: 1\n  claim "read": id 1 "read", id 9 "READ"',
        MERGE_CLAIMS,
        {"claims": [{"value": "read", "rows": [member(1, "read"), member(9, "READ")]}]},
    ),
    "grant": Refusal(
        WITHOUT_KEYS + "INSERT INTO user_claims VALUES (1, 2), (1, 2)",
        "repeated grants: 1\n  grant: user_id 1, claim_id 2, rows 3",
        MERGE_CLAIMS,
        {"grants": [{"user_id": 1, "claim_id": 2, "rows": 3}]},
    ),
    "orphaned grant": Refusal(
        WITHOUT_KEYS + "INSERT INTO user_claims VALUES (4, 2), (1, 3)",
        "grants of a user or claim that does not exist: 2\n"
        "  grant: user_id 1, claim_id 3\n  grant: user_id 4, claim_id 2",
        BY_HAND,
        {
            "problems": [
                {
                    "sentence": "grants of a user or claim that does not exist",
                    "noun": "grant",
                    "rows": [{"user_id": 1, "claim_id": 3}, {"user_id": 4, "claim_id": 2}],
                }
            ]
        },
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_rows_in_the_way_stop_adoption_before_any_change(empty_database: Database, kind: str):
    database = empty_database
    script, reason, hint, details = REFUSED[kind]
    make_challenge(database, more=script)
    before = image(database)
    with pytest.raises(Conflict) as caught:
        schema.init(database)
    start = f'the rows of "{database.description}" must be put in order first: '
    assert caught.value.message == start + reason
    assert caught.value.hint == hint
    assert json.loads(json.dumps(caught.value.details)) == details
    assert image(database) == before


@pytest.mark.parametrize("kind", ["e-mail", "role", "claim"])
def test_the_same_rows_stop_an_upgrade(empty_database: Database, kind: str):
    database = empty_database
    make_challenge(database)
    schema.init(database)
    schema.downgrade(database, "0001")
    script, reason, _, _ = REFUSED[kind]
    execute(
        database,
        script.format(override="" if database.is_sqlite else "OVERRIDING SYSTEM VALUE"),
    )
    before = image(database)
    with pytest.raises(Conflict) as caught:
        schema.upgrade(database)
    shown = reason.replace("Ana@Example.COM", "ana@example.com")
    assert caught.value.message.endswith(shown)
    assert image(database) == before


def test_a_user_without_a_role_stops_adoption(empty_database: Database):
    database = empty_database
    drop_key = "" if database.is_sqlite else "ALTER TABLE users DROP CONSTRAINT users_fk;"
    make_challenge(database, more=f"{drop_key} DELETE FROM roles WHERE id = 1")
    before = image(database)
    with pytest.raises(Conflict) as caught:
        schema.init(database)
    assert caught.value.message.endswith(
        "users whose role does not exist: 1\n  user: id 1, email Ana@Example.COM, role_id 1"
    )
    assert image(database) == before


def test_the_command_exits_4_and_lists_the_rows(empty_database: Database):
    make_challenge(empty_database, more=REFUSED["e-mail"][0])
    env = {"USERMGR_DATABASE_URL": empty_database.url}
    result = run_inside(("schema", "init"), "", env)
    assert (result.exit_code, result.stdout) == (4, "")
    assert result.stderr == (
        f'error: the rows of "{empty_database.description}" must be put in order first: '
        f"{REFUSED['e-mail'][1]}\nhint: {REFUSED['e-mail'][2]}\n"
    )


def test_every_kind_is_told_at_once(empty_database: Database):
    more = "; ".join(REFUSED[kind][0] for kind in ("e-mail", "role", "claim"))
    make_challenge(empty_database, more=more)
    with pytest.raises(Conflict) as caught:
        schema.init(empty_database, merge_claims=True)
    assert sorted(caught.value.details) == ["emails", "roles"]


def test_merging_keeps_the_lowest_id_and_every_grant_once(empty_database: Database):
    database = empty_database
    make_challenge(
        database,
        "decription",
        more="""
            INSERT INTO roles (id, description) {override} VALUES (8, 'Member'), (9, 'MEMBER');
            INSERT INTO claims (id, decription) {override} VALUES (8, 'READ'), (9, 'Read');
            UPDATE users SET role_id = 9 WHERE id = 7;
            INSERT INTO user_claims VALUES (1, 8), (1, 9), (7, 9), (7, 8);
        """,
    )
    report = schema.init(database, merge_roles=True, merge_claims=True)
    assert report.changes == (
        KEPT.replace("4 grants", "5 grants"),
        "renamed claims.decription to description",
        'merged role 8 "Member", 9 "MEMBER" into 2 "member": moved 1 user',
        'merged claim 8 "READ", 9 "Read" into 1 "read": moved 1 grant',
        "made 2 e-mails canonical",
        PLAIN,
    )
    assert rows(database, "SELECT id, role_id FROM users ORDER BY id") == [(1, 1), (2, 2), (7, 2)]
    assert rows(database, "SELECT user_id, claim_id FROM user_claims ORDER BY 1, 2") == [
        (1, 1),
        (1, 2),
        (2, 1),
        (7, 1),
        (7, 5),
    ]
    assert schema.check(database) == ()


def test_merging_claims_joins_repeated_grants(empty_database: Database):
    make_challenge(empty_database, more=REFUSED["grant"][0])
    assert "joined 1 repeated grant" in schema.init(empty_database, merge_claims=True).changes
    assert rows(empty_database, "SELECT count(*) FROM user_claims") == [(4,)]
    assert schema.check(empty_database) == ()


def test_repeated_names_are_found_beyond_ascii(empty_database: Database):
    more = "INSERT INTO roles (id, description) {override} VALUES (8, 'ÉLÈVE'), (9, 'élève')"
    make_challenge(empty_database, more=more)
    with pytest.raises(Conflict, match='role "élève": id 8 "ÉLÈVE", id 9 "élève"'):
        schema.init(empty_database)
