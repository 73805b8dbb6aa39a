"""What adoption does to rows: canonical texts, real booleans and dates, and an operation of it."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from tests.migrations.challenge import PLAIN, execute, image, make_challenge, rows
from tests.support.commands import run_inside
from tests.support.databases import open_database
from tests.support.published_hashes import PUBLISHED
from usermgr.db import schema
from usermgr.db.engine import Database
from usermgr.errors import Conflict
from usermgr.records import Difference

ODD_NAMES = """
    INSERT INTO roles (id, description) {override} VALUES (3, '  editor '), (4, '42');
    INSERT INTO claims (id, description) {override} VALUES (6, 'Cafe\u0301'), (7, '');
    UPDATE users SET name = ' Zoe\u0308 ' WHERE id = 7;
"""


ZOE = "zoë@xn--bcher-kva.example"
MEMBER = {"id": 2, "description": "member"}


def full(
    entity: str, entity_id: int, name: str, action: str, before: object, after: object
) -> tuple[object, ...]:
    """A change with whole images: a text stands for an e-mail."""
    images = []
    for each in (before, after):
        fields = each if isinstance(each, dict) else {"email": each}
        images.append({"id": entity_id, **fields})
    return (entity, entity_id, name, action, *images)


def test_names_become_canonical(empty_database: Database):
    make_challenge(empty_database, more=ODD_NAMES)
    by_id = (
        'note: commands reach these by id only, not by name: role 4 "42", claim 7 ""; '
        "rename them with: usermgr role update, usermgr claim update"
    )
    assert schema.init(empty_database).changes[:7] == (
        "kept 4 roles, 5 claims, 3 users, 4 grants",
        "made 2 e-mails canonical",
        "made 1 user name canonical",
        "made 1 role name canonical",
        "made 1 claim name canonical",
        by_id,
        PLAIN,
    )
    assert rows(empty_database, "SELECT description FROM roles WHERE id = 3") == [("editor",)]
    assert rows(empty_database, "SELECT description FROM claims WHERE id = 6") == [("Caf\u00e9",)]
    assert rows(empty_database, "SELECT name FROM users WHERE id = 7") == [("Zo\u00eb",)]


UNMATCHED = {
    # What other programs leave in the column -> what it is here, and whether it counts as one.
    "": ("unrecognised", True),
    "*": ("unrecognised", True),
    "$ecret": ("unrecognised", True),
    "$2b$12$too short": ("unrecognised", True),
    "{SSHA}": ("unrecognised", True),
    "5f4dcc3b5aa765d61d8327deb882cf99": ("unrecognised", True),
    "$2b$31$" + "a" * 53: ("too costly", True),
    "!" + "a" * 40: ("unusable", False),
    "!\u00e9": ("unusable", False),
}


def test_what_stands_for_a_password_is_told_as_every_command_tells_it(empty_database: Database):
    published = [stored for vectors in PUBLISHED.values() for _, stored in vectors[:1]]
    matched = dict.fromkeys(published, ("matched", True))
    stored = {**UNMATCHED, **matched}
    values = [
        f"('N', 'n{n}@example.com', '{text}', 2, '2020-01-01')" for n, text in enumerate(stored)
    ]
    names = "name, email, password, role_id, created_at"
    make_challenge(empty_database)
    more = f"INSERT INTO users ({names}) VALUES {', '.join(values)}"
    execute(empty_database, more)

    told = schema.init(empty_database).changes

    assert [line for line in told if line.startswith("note: the password")] == [
        PLAIN.replace("1 user", "7 users"),
        PLAIN.replace(
            "of 1 user is in no known hash format (plain text?)",
            "hash of 1 user asks for too much memory or time",
        ),
    ]
    env = {"USERMGR_DATABASE_URL": empty_database.url}
    report = run_inside(("password", "report", "-o", "json"), "", env).json
    counted: Counter[str] = Counter()
    for row in report:
        known = row["strength"] in ("unrecognised", "too costly", "unusable")
        counted[row["strength"] if known else "matched"] += row["users"]
    # Of the challenge's own users one has a hash, one plain text, and one the marker.
    beside = ["matched", "unrecognised", "unusable"]
    assert counted == Counter([*(kind for kind, _ in stored.values()), *beside])
    for n, (text, (_, has_password)) in enumerate(stored.items()):
        shown = run_inside(("user", "show", f"n{n}@example.com", "-o", "json"), "", env).json
        assert shown["has_password"] is has_password, text
    verify = ("user", "verify-password", "n0@example.com", "--password-stdin")
    assert run_inside(verify, "anything", env).exit_code == 8
    cleared = ("user", "set-password", "n0@example.com", "--no-password", "-o", "json")
    assert run_inside(cleared, "", env).json["has_password"] is False


def test_users_whose_e_mail_is_no_way_to_them_are_told(empty_database: Database):
    """There may be many; a control character and an empty e-mail are none that a command takes."""
    made = ", ".join(f"({n}, 'N', '{n}', '!', 1, '2024-01-01')" for n in range(20, 30))
    more = (
        "UPDATE users SET email = ' ' WHERE id = 1; UPDATE users SET email = '7' WHERE id = 2;"
        "INSERT INTO users (id, name, email, password, role_id, created_at) {override} VALUES"
        " (8, 'N', 'a\tb@example.com', '!', 1, '2024-01-01'),"
        f" (9, 'N', 'a\u200db', '!', 1, '2024-01-01'), {made}"
    )
    make_challenge(empty_database, more=more)
    note = (
        "note: commands reach these users by id only, not by e-mail: "
        '1 "", 2 "7", 8 "a\\tb@example.com", 20 "20", 21 "21", 22 "22", 23 "23", 24 "24", 25 "25", '
        '26 "26" and 3 more; give them others with: usermgr user update'
    )
    assert note in schema.init(empty_database).changes


def test_nothing_at_all_is_nobody(empty_database: Database):
    """An unset variable of the shell must not mean the one whose adopted name is empty."""
    more = (
        "UPDATE users SET email = '' WHERE id = 1; UPDATE roles SET description = '' WHERE id = 1;"
        "UPDATE claims SET description = '' WHERE id = 5;"
    )
    make_challenge(empty_database, more=more)
    schema.init(empty_database)
    before = rows(empty_database, "SELECT * FROM users ORDER BY id")
    for words in (
        ("user", "show", ""),
        ("user", "delete", " ", "--yes"),
        ("user", "disable", "2", ""),
        ("user", "history", ""),
        ("user", "grant", "2", ""),
        ("user", "update", "2", "--role", ""),
        ("user", "list", "--claim", ""),
        ("role", "show", ""),
        ("claim", "delete", "\t"),
    ):
        done = run_inside(words, "", {"USERMGR_DATABASE_URL": empty_database.url})
        assert (words, done.exit_code, done.stdout) == (words, 2, "")
        assert done.stderr.endswith(" is empty\nhint: a variable of the shell may be unset\n")
    assert rows(empty_database, "SELECT * FROM users ORDER BY id") == before


def test_names_that_would_become_one_are_told_and_can_be_merged(empty_database: Database):
    database = empty_database
    more = "INSERT INTO roles (id, description) {override} VALUES (8, ' Admin ');"
    make_challenge(database, more=more)
    before = image(database)
    with pytest.raises(Conflict, match='role "admin": id 1 "admin", id 8 " Admin "'):
        schema.init(database)
    assert image(database) == before
    assert 'merged role 8 " Admin " into 1 "admin": moved 0 users' in (
        schema.init(database, merge_roles=True).changes
    )
    assert schema.check(database) == ()


@pytest.mark.parametrize("spelling", ["description", "decription"])
def test_adoption_is_an_operation(empty_database: Database, spelling: str):
    database = empty_database
    make_challenge(
        database,
        spelling,
        more="INSERT INTO roles (id, description) {override} VALUES (8, 'Member'), (9, ' x');"
        "UPDATE users SET name = ' Bob ' WHERE id = 2;",
    )
    env = {"USERMGR_DATABASE_URL": database.url, "USERMGR_ACTOR": "ci"}
    assert run_inside(("schema", "init", "--merge-roles", "-q"), "", env).exit_code == 0
    (operation,) = run_inside(("operation", "list", "-o", "json"), "", env).json
    assert (operation["id"], operation["command"], operation["actor"]) == (1, "schema init", "ci")
    assert operation["counts"] == {
        "role.adopt": 3,
        "claim.adopt": 3,
        "user.adopt": 3,
        "grant.adopt": 4,
        "role.merge": 1,
        "role.update": 1,
        "user.update": 3,
    }
    shown = run_inside(("operation", "show", "1", "-o", "json"), "", env).json
    told = [
        (c["entity"], c["entity_id"], c["name"], c["action"], c["before"], c["after"])
        for c in shown["changes"]
    ]
    expected = [
        ("role", 9, "x", "update", {"description": " x"}, {"description": "x"}),
        ("user", 1, "ana@example.com", "update", "Ana@Example.COM", "ana@example.com"),
        ("user", 2, "bob@example.com", "update", {"name": " Bob "}, {"name": "Bob"}),
        ("user", 7, ZOE, "update", "zoë@bücher.example", ZOE),
        ("role", 8, "Member", "merge", {"description": "Member"}, MEMBER),
    ]
    assert told == [full(*change) for change in expected]
    history = run_inside(("user", "history", "Ana@Example.COM", "-o", "json"), "", env).json
    assert [change["changed"] for change in history] == [
        "email: Ana@Example.COM -> ana@example.com"
    ]
    assert run_inside(("role", "create", "new"), "", env).exit_code == 0
    assert rows(database, "SELECT max(id) FROM operations") == [(2,)]


def test_an_upgrade_that_changes_rows_is_an_operation(empty_database: Database):
    database = empty_database
    make_challenge(database)
    schema.init(database)
    schema.downgrade(database, "0001")
    execute(database, "UPDATE users SET email = 'BOB@example.com' WHERE id = 2")
    schema.upgrade(database, actor="me")
    assert rows(database, "SELECT command, actor FROM operations") == [("schema upgrade", "me")]
    assert rows(database, "SELECT entity_id, name FROM changes") == [(2, "bob@example.com")]


def test_an_init_that_changes_no_row_is_no_operation(database: Database):
    schema.downgrade(database, "0001")
    schema.init(database)
    assert rows(database, "SELECT count(*) FROM operations") == [(0,)]


@pytest.mark.parametrize(
    ("stored", "truth"),
    [
        ("'f'", False),
        ("'false'", False),
        ("' No '", False),
        ("'0'", False),
        ("0", False),
        ("'t'", True),
        ("'TRUE'", True),
        ("1", True),
        ("2", True),
    ],
)
def test_words_for_true_and_false_are_read_on_sqlite(sqlite_url: str, stored: str, truth: bool):
    database = open_database(sqlite_url)
    make_challenge(database, more=f"UPDATE claims SET active = {stored} WHERE id = 1;")
    changes = schema.init(database).changes
    assert rows(database, "SELECT active FROM claims WHERE id = 1") == [(int(truth),)]
    shown = run_inside(
        ("claim", "show", "read", "-o", "json"), "", {"USERMGR_DATABASE_URL": sqlite_url}
    ).json
    assert shown["active"] is truth
    told = "made the active of 1 claim true or false" in changes
    assert told == (stored not in ("0", "1", "'0'"))


WRONG = {
    "claims whose active is neither true nor false: 1\n  claim: id 1, active 'maybe'": "UPDATE "
    "claims SET active = 'maybe' WHERE id = 1",
    "users with a date that cannot be read: 1\n  user: id 2, created_at 2023-02-30, updated_at "
    "None": "UPDATE users SET created_at = '2023-02-30' WHERE id = 2",
    "users with a date that cannot be read: 1\n  user: id 2, created_at now, updated_at None": ""
    "UPDATE users SET created_at = 'now' WHERE id = 2",
    "rows of users whose password is not text: 1\n  users: id 2": "UPDATE users SET password = "
    "x'00ff' WHERE id = 2",
    "rows of user_claims whose user_id is not a whole number: 1\n  user_claims: user_id 'two', "
    "claim_id 1": "UPDATE user_claims SET user_id = 'two' WHERE user_id = 2",
}


@pytest.mark.parametrize("told", WRONG)
def test_values_that_cannot_be_kept_are_listed_on_sqlite(sqlite_url: str, told: str):
    database = open_database(sqlite_url)
    make_challenge(database, more=WRONG[told])
    before = image(database)
    with pytest.raises(Conflict) as caught:
        schema.init(database)
    assert caught.value.message.endswith(told)
    json.dumps(caught.value.details)
    assert image(database) == before


def test_text_in_another_encoding_is_refused_on_sqlite(sqlite_url: str):
    database = open_database(sqlite_url)
    make_challenge(database, more="UPDATE users SET name = CAST(x'5a6feb' AS text) WHERE id = 7")
    with pytest.raises(Conflict, match="is not in UTF-8"):
        schema.init(database)


def test_columns_of_any_type_are_adopted_on_sqlite(sqlite_url: str):
    """People declare what they like: SQLite keeps almost any value in almost any column."""
    database = open_database(sqlite_url)
    execute(
        database,
        """
        CREATE TABLE Roles (ID integer PRIMARY KEY, Description);
        CREATE TABLE CLAIMS (id text, decription text, active text);
        CREATE TABLE users (id bigint, name text, email text COLLATE NOCASE, password blob,
            role_id text, created_at timestamp, updated_at text);
        CREATE TABLE user_claims (user_id text, claim_id text);
        INSERT INTO Roles VALUES (1, 'admin');
        INSERT INTO CLAIMS VALUES ('1', 'read', 'f');
        INSERT INTO users VALUES (1, 'Ana', 'Ana@Example.com', '!', '1',
            '2021-05-31 10:20:30.123456', '2021-06-01T00:00:00Z');
        INSERT INTO user_claims VALUES ('1', '1');
        """,
    )
    assert schema.init(database).outcome == "adopted"
    assert schema.check(database) == ()
    assert rows(database, "SELECT * FROM users") == [
        (
            1,
            "Ana",
            "ana@example.com",
            "!",
            1,
            "2021-05-31 10:20:30.123456",
            "2021-06-01 00:00:00.000000",
            1,
            1,
            None,
        )
    ]
    assert rows(database, "SELECT typeof(id), active FROM claims") == [("integer", 0)]
    assert rows(database, "SELECT typeof(user_id), claim_id FROM user_claims") == [("integer", 1)]


@pytest.mark.parametrize(("table", "name"), [("users", "phone"), ("user_claims", "created_at")])
def test_a_table_is_not_built_anew_without_the_columns_of_others(
    migrated_sqlite_url: str, table: str, name: str
):
    database = open_database(migrated_sqlite_url)
    execute(database, f"ALTER TABLE {table} ADD COLUMN {name} varchar")
    before = image(database)
    with pytest.raises(Conflict, match=f"does not know would be lost: {name}"):
        schema.downgrade(database, "0001")
    assert image(database) == before
    execute(database, f"ALTER TABLE {table} DROP COLUMN {name}")
    schema.downgrade(database, "0001")
    execute(database, f"ALTER TABLE {table} ADD COLUMN {name} varchar")
    before = image(database)
    with pytest.raises(Conflict, match=f"does not know would be lost: {name}"):
        schema.upgrade(database)
    assert image(database) == before


def test_an_index_that_does_not_fit_the_older_table_is_told(migrated_sqlite_url: str):
    database = open_database(migrated_sqlite_url)
    execute(database, "CREATE INDEX mine ON users (active)")
    before = image(database)
    with pytest.raises(Conflict, match=r"not fit any more: CREATE INDEX mine ON users \(active\)"):
        schema.downgrade(database, "0001")
    assert image(database) == before


def test_indexes_of_others_survive_where_a_table_is_built_anew(migrated_sqlite_url: str):
    database = open_database(migrated_sqlite_url)
    execute(database, "CREATE INDEX users_name ON users (name)")
    schema.downgrade(database, "0001")
    schema.upgrade(database)
    words = "there is an index users_name of users that this program does not know"
    assert schema.check(database) == (Difference(words, addition=True),)
