"""Undo brings back what every kind of operation changed, or says what it left and why."""

from __future__ import annotations

import csv
import itertools
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, text

from tests.support.commands import Command, Result
from tests.support.consistency import broken_promises, content, stored_state
from tests.support.databases import open_database
from tests.support.filling import fill
from tests.support.people import create_company, create_user
from usermgr.db import changing
from usermgr.db.models import operations

PASSWORD = "correct horse battery"
SINCE = "was changed since"
GONE = "was deleted since"
ROWS = 300


@pytest.fixture(autouse=True)
def company(cli: Command) -> None:
    """Ana (admin, reports:read), Bruno (member), Caio (member, inactive), an unused role."""
    fill(cli, "company to undo", _create_all)


def _create_all(cli: Command) -> None:
    create_company(cli)
    create_user(cli, "Caio", "caio@example.com", "member", "--inactive")
    assert cli("role", "create", "guest").exit_code == 0
    assert cli("user", "grant", "2", "1", "--reason", "audit", "--expires", "9d").exit_code == 0
    assert cli("user", "set-password", "2", "--password-stdin", stdin=PASSWORD).exit_code == 0


def write_rows(number: int = ROWS) -> str:
    """A file that creates so many users with new roles and claims, and changes Bruno."""
    with Path("people.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["name", "email", "role", "claims", "active"])
        out.writerow(["Bruno L.", "bruno@example.com", "boss", "new;reports:export", "false"])
        for n in range(number):
            out.writerow([f"P {n}", f"p{n}@example.com", "boss", ["", "new"][n % 2], "true"])
    return "people.csv"


def newest(cli: Command) -> int:
    """The id of the newest operation."""
    return int(cli("operation", "list", "--limit", "1", "-o", "json").json[0]["id"])


def done(cli: Command, *words: str) -> int:
    """Run it, and return the id of its operation."""
    result = cli(*words, stdin=PASSWORD)
    assert result.exit_code == 0, result
    return newest(cli)


def undo(cli: Command, operation: int, *more: str) -> Result:
    """Undo it, with the report as JSON."""
    return cli("undo", str(operation), "--yes", "-o", "json", *more)


IMPORT = ("import", "people.csv", "--on-conflict", "update", "--create-roles", "--create-claims")
CREATE = ("create", "--name", "Eva", "--email", "eva@example.com", "--role", "admin")
# The command, and how many users an undo deletes, restores and changes, and roles and claims.
KINDS: dict[str, tuple[tuple[str, ...], tuple[int, int, int, int]]] = {
    "create": (("user", *CREATE, "--claim", "1", "--password-stdin"), (1, 0, 0, 0)),
    "update": (
        ("user", "update", "2", "--name", "B", "--email", "b@example.com", "--role", "admin"),
        (0, 0, 1, 0),
    ),
    "disable": (("user", "disable", "1", "2"), (0, 0, 2, 0)),
    "enable": (("user", "enable", "3"), (0, 0, 1, 0)),
    "grant": (("user", "grant", "2", "2", "--expires", "9d", "--reason", "why"), (0, 0, 1, 0)),
    "grant otherwise": (("user", "grant", "2", "1", "--expires", "never"), (0, 0, 1, 0)),
    "revoke": (("user", "revoke", "2", "1"), (0, 0, 1, 0)),
    "set-password": (("user", "set-password", "2", "--password-stdin"), (0, 0, 1, 0)),
    "no password": (("user", "set-password", "2", "--no-password"), (0, 0, 1, 0)),
    "delete": (("user", "delete", "1", "2", "--yes"), (0, 2, 0, 0)),
    "import": (("user", *IMPORT, "--yes"), (ROWS, 0, 1, 2)),
    "seed": (("seed", "--users", "20", "-q"), (20, 0, 0, 10)),
    "bulk disable": (("user", "disable", "--active"), (0, 0, 2, 0)),
    "bulk grant": (("user", "grant", "1", "2", "--search", "@", "--reason", "x"), (0, 0, 3, 0)),
    "bulk revoke": (("user", "revoke", "1", "--search", "@"), (0, 0, 2, 0)),
    "bulk set-role": (("user", "set-role", "guest", "--search", "@"), (0, 0, 3, 0)),
    "bulk delete": (("user", "delete", "--search", "@", "--yes"), (0, 3, 0, 0)),
    "role create": (("role", "create", "new"), (0, 0, 0, 1)),
    "role update": (("role", "update", "member", "--name", "Member!"), (0, 0, 0, 1)),
    "role delete": (("role", "delete", "guest"), (0, 0, 0, 1)),
    "role protect": (("role", "protect", "admin", "member"), (0, 0, 0, 2)),
    "claim create": (("claim", "create", "new"), (0, 0, 0, 1)),
    "claim disable": (("claim", "disable", "1", "2"), (0, 0, 0, 2)),
    "claim delete": (("claim", "delete", "reports:export"), (0, 0, 0, 1)),
    "claim protect": (("claim", "protect", "1"), (0, 0, 0, 1)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_everything_is_as_it_was_and_an_undo_can_be_undone(
    cli: Command, database_url: str, kind: str
) -> None:
    words, numbers = KINDS[kind]
    write_rows()
    before = content(database_url)
    operation = done(cli, *words)
    after = stored_state(database_url)

    tried = undo(cli, operation, "--dry-run")
    assert (tried.exit_code, tried.stderr, stored_state(database_url)) == (0, "", after)
    undone = undo(cli, operation)

    assert (undone.exit_code, undone.stderr) == (0, "")
    names = ("users_deleted", "users_restored", "users_changed", "roles_and_claims")
    if kind != "seed":
        assert tuple(undone.json[name] for name in names) == numbers
    number = newest(cli)
    assert undone.json == tried.json | {"dry_run": False, "operation_id": number}
    assert (undone.json["undoes"], undone.json["left"]) == (operation, 0)
    assert content(database_url) == before
    told = cli("operation", "show", str(number), "-o", "json").json
    assert (told["command"], told["undoes"], told["outcome"]) == ("undo", operation, "ok")

    again = undo(cli, operation)
    assert (again.exit_code, again.stdout) == (4, "")
    assert f"operation {operation} was undone by operation {number} already" in again.stderr
    back = undo(cli, number)
    assert (back.exit_code, back.stderr) == (0, "")
    assert content(database_url)["users"] == _uncounted(after["users"])
    assert content(database_url)["user_claims"] == after["user_claims"]
    assert undo(cli, operation).exit_code == 0
    assert content(database_url) == before
    if kind != "role update":  # Images keep the name of a role.
        assert broken_promises(database_url) == {}


def test_many_are_deleted_in_portions_and_nobody_is_forgotten(
    cli: Command, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changing, "PORTION", 7)
    before = content(database_url)
    write_rows(20)
    imported = done(cli, "user", *IMPORT)
    after = stored_state(database_url)

    deleted = done(cli, "user", "delete", "--where-role", "boss", "--yes")
    gone = content(database_url)["users"]
    assert len(gone) == len(before["users"]) - 1
    assert undo(cli, deleted).json["users_restored"] == 21
    assert content(database_url)["users"] == _uncounted(after["users"])
    assert content(database_url)["user_claims"] == after["user_claims"]

    assert undo(cli, imported).json["users_deleted"] == 20
    assert content(database_url) == before


@pytest.mark.parametrize("kind", ["together", "together, by one that began before", "alone"])
def test_who_has_the_id_of_a_deleted_user_by_now_stays(
    cli: Command, database_url: str, kind: str
) -> None:
    """Ids come again by ``--with-ids`` only, in tables that are empty."""
    for name in ("A", "B"):
        rows = (f"{n},{name} {n},{name.lower()}{n}@example.com,member\n" for n in (4, 5))
        Path(f"{name}.csv").write_text("id,name,email,role\n" + "".join(rows))
    done(cli, "user", "delete", "1", "2", "3", "--yes")
    if kind == "alone":
        created = done(cli, "user", *CREATE, "--no-password")
    else:
        created = done(cli, "user", "import", "A.csv", "--with-ids")
    done(cli, "user", "delete", "--search", "@", "--yes")
    if "before" in kind:
        database = open_database(database_url)
        with database.connect() as connection:
            connection.execute(text("UPDATE recycled_users SET operation_id = 1 WHERE id > 3"))
            connection.commit()
        database.engine.dispose()
    done(cli, "user", "import", "B.csv", "--with-ids")
    before = content(database_url)["users"]

    undone = undo(cli, created)

    assert (undone.exit_code, undone.json["users_deleted"]) == (6, 0)
    assert GONE in undone.stderr
    assert content(database_url)["users"] == before


def _uncounted(rows: list[Any]) -> list[Any]:
    """Users without updated_at and version."""
    return [(*row[:6], row[7], row[9]) for row in rows]


def test_undoing_protection_that_was_taken_away_brings_it_back(cli: Command) -> None:
    done(cli, "role", "protect", "admin")
    undo(cli, done(cli, "role", "unprotect", "admin"))
    assert cli("role", "show", "admin", "-o", "json").json["protected"] is True
    assert cli("user", "disable", "1").exit_code == 7


def test_a_sweep_of_grants_can_be_undone(cli: Command, database_url: str) -> None:
    _expire(cli, database_url)
    before = content(database_url)
    operation = done(cli, "claim", "sweep")
    assert content(database_url)["user_claims"] != before["user_claims"]
    assert undo(cli, operation).exit_code == 0
    assert content(database_url) == before


def _expire(cli: Command, database_url: str) -> None:
    """Bruno's grant has run out."""
    from sqlalchemy import text

    from tests.support.databases import open_database

    database = open_database(database_url)
    with database.connect() as connection:
        past = "UPDATE user_claims SET expires_at = '2001-01-01 00:00:00.000000' WHERE user_id = 2"
        connection.execute(text(past))
        connection.commit()
    database.engine.dispose()


LATER: dict[str, tuple[tuple[str, ...], tuple[tuple[str, ...], ...], str]] = {
    "created, updated": (
        ("user", *CREATE, "--no-password"),
        (("user", "update", "4", "--name", "E"),),
        f'user 4 "eva@example.com": {SINCE}',
    ),
    "created, granted": (
        ("user", *CREATE, "--no-password"),
        (("user", "grant", "4", "1"),),
        f'user 4 "eva@example.com": {SINCE}',
    ),
    "created, new password": (
        ("user", *CREATE, "--no-password"),
        (("user", "set-password", "4"),),
        f'user 4 "eva@example.com": {SINCE}',
    ),
    "created, deleted": (
        ("user", *CREATE, "--no-password"),
        (("user", "delete", "4", "--yes"),),
        f'user 4 "eva@example.com": {GONE}',
    ),
    "changed, changed": (
        ("user", "update", "2", "--name", "B"),
        (("user", "disable", "2"),),
        f'user 2 "bruno@example.com": {SINCE}',
    ),
    "new password, new password": (
        ("user", "set-password", "2"),
        (("user", "set-password", "2"),),
        f'user 2 "bruno@example.com": {SINCE}',
    ),
    "changed, deleted": (
        ("user", "disable", "2"),
        (("user", "delete", "2", "--yes"),),
        f'user 2 "bruno@example.com": {GONE}',
    ),
    "deleted, brought back": (
        ("user", "delete", "2", "--yes"),
        (("user", "restore", "2"),),
        'user 2 "bruno@example.com": was brought back since',
    ),
    "deleted, e-mail taken": (
        ("user", "delete", "2", "--yes"),
        (("user", "create", "--name", "X", "--email", "bruno@example.com", "--role", "1"),),
        'user 2 "bruno@example.com": its former e-mail is taken',
    ),
    "changed, e-mail taken": (
        ("user", "update", "2", "--email", "b@example.com"),
        (("user", "create", "--name", "X", "--email", "bruno@example.com", "--role", "1"),),
        'user 2 "bruno@example.com": its former e-mail is taken',
    ),
    "role gone": (
        ("user", "set-role", "admin", "2", "3"),
        (("role", "delete", "member"),),
        'user 2 "bruno@example.com": its former role is gone',
    ),
    "claim gone": (
        ("user", "revoke", "2", "1"),
        (("user", "revoke", "1", "1"), ("claim", "delete", "1")),
        'user 2 "bruno@example.com": a claim that it held is gone',
    ),
    "deleted, claim gone": (
        ("user", "delete", "2", "--yes"),
        (("user", "revoke", "1", "1"), ("claim", "delete", "1")),
        'user 2 "bruno@example.com": a claim that it held is gone',
    ),
    "deleted, role gone": (
        ("user", "delete", "2", "3", "--yes"),
        (("role", "delete", "member"),),
        'user 3 "caio@example.com": its former role is gone',
    ),
    "role created, used": (
        ("role", "create", "new"),
        (("user", "set-role", "new", "2"),),
        'role 4 "new": the role "new" is in use by 1 user',
    ),
    "role created, renamed": (
        ("role", "create", "new"),
        (("role", "update", "new", "--name", "newer"),),
        f'role 4 "new": {SINCE}',
    ),
    "role created, protected": (
        ("role", "create", "new"),
        (("role", "protect", "new"),),
        f'role 4 "new": {SINCE}',
    ),
    "role created, deleted": (
        ("role", "create", "new"),
        (("role", "delete", "new"),),
        f'role 4 "new": {GONE}',
    ),
    "role deleted, name taken": (
        ("role", "delete", "guest"),
        (("role", "create", "GUEST"),),
        'role 3 "guest": the role "guest" exists already',
    ),
    "role renamed, name taken": (
        ("role", "update", "guest", "--name", "visitor"),
        (("role", "create", "guest"),),
        'role 3 "guest": the role "guest" exists already',
    ),
    "claim enabled, protected": (
        ("claim", "disable", "2"),
        (("claim", "update", "2", "--name", "x"),),
        f'claim 2 "reports:export": {SINCE}',
    ),
}


@pytest.mark.parametrize("case", LATER)
def test_what_changed_since_is_left_and_told(cli: Command, database_url: str, case: str) -> None:
    first, later, told = LATER[case]
    operation = done(cli, *first)
    for words in later:
        done(cli, *words)
    before = stored_state(database_url)

    strict = undo(cli, operation, "--strict")
    assert (strict.exit_code, strict.stdout, stored_state(database_url)) == (4, "", before)
    undone = cli("undo", str(operation))

    assert undone.exit_code == 6
    assert told in undone.stderr
    assert undone.stderr.endswith("\nhint: --left FILE lists them\n")
    assert stored_state(database_url) == before


def test_the_rest_is_undone_and_the_left_are_listed(cli: Command, database_url: str) -> None:
    write_rows()
    operation = done(cli, "user", *IMPORT, "--yes")
    for n in range(0, 24, 2):
        done(cli, "user", "disable", f"p{n}@example.com")
    done(cli, "user", "delete", "p1@example.com", "--yes")

    tried = cli("undo", str(operation), "--yes", "--dry-run", "--left", "tried.csv")
    undone = cli("undo", str(operation), "--yes", "--left", "left.csv")

    assert (tried.exit_code, undone.exit_code) == (6, 6)
    assert tried.stderr == undone.stderr
    assert undone.stderr.startswith("error: 14 changes were left as they are\n  user ")
    assert undone.stderr.endswith("\n  and 4 more\n")
    assert Path("tried.csv").read_text() == Path("left.csv").read_text()
    with Path("left.csv").open(newline="") as file:
        left = list(csv.DictReader(file))
    assert [row["reason"] for row in left if row["entity"] == "user"].count(SINCE) == 12
    assert [row["name"] for row in left if row["reason"] == GONE] == ["p1@example.com"]
    assert [row["name"] for row in left if row["entity"] == "role"] == ["boss"]
    assert {row["id"] for row in left} == {
        *(str(user["id"]) for user in _users(cli) if user["name"].startswith("P ")),
        next(row["id"] for row in left if row["reason"] == GONE),
        next(row["id"] for row in left if row["entity"] == "role"),
    }
    assert [claim["description"] for claim in cli("claim", "list", "-o", "json").json] == [
        *("reports:read", "reports:export"),
    ]
    told = cli("operation", "list", "--limit", "1", "-o", "json").json[0]
    assert (told["outcome"], told["counts"]["user.delete"]) == ("partial", ROWS - 13)
    assert broken_promises(database_url) == {}


def _users(cli: Command) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = cli("user", "list", "--all", "-o", "json").json
    return listed


def test_what_was_changed_and_changed_back_is_no_change_since(cli: Command) -> None:
    operation = done(cli, "user", *CREATE, "--no-password")
    done(cli, "user", "disable", "4")
    done(cli, "user", "enable", "4")
    changed = done(cli, "user", "set-password", "4")
    assert undo(cli, operation).exit_code == 6
    assert undo(cli, changed).exit_code == 0
    assert undo(cli, operation).exit_code == 0


def test_what_another_program_has_changed_is_left(cli: Command, database_url: str) -> None:
    """Of users who were created together no change tells what they were."""
    operation = done(cli, "user", "import", write_rows(2), *IMPORT[2:], "--yes")
    database = open_database(database_url)
    with database.connect() as connection:
        connection.execute(
            text("UPDATE users SET name = 'X', version = version + 1 WHERE email LIKE 'p%'")
        )
        connection.commit()
    database.engine.dispose()

    undone = cli("undo", str(operation))

    assert undone.exit_code == 6
    assert undone.stderr.count(f'@example.com": {SINCE}') == 2
    assert [user["name"] for user in _users(cli)].count("X") == 2


def test_the_name_that_a_claim_has_by_now_is_no_change_since(cli: Command) -> None:
    first = done(cli, "user", "update", "1", "--name", "A2")
    second = done(cli, "user", "update", "1", "--name", "A3")
    assert undo(cli, second).exit_code == 0
    done(cli, "claim", "update", "reports:read", "--name", "reports:see")
    assert undo(cli, first).exit_code == 0


@pytest.mark.parametrize("undos", [2, 1_101])
def test_a_long_chain_of_undos(cli: Command, database_url: str, undos: int) -> None:
    first = done(cli, "role", "create", "new")
    database = open_database(database_url)
    now = datetime.now(UTC)
    told = {"command": "undo", "actor": "x", "source": "cli", "outcome": "ok", "counts": {"x": 1}}
    with database.connect() as connection:
        ids = [first, *range(100_000, 100_000 + undos)]
        rows = [
            {**told, "started_at": now, "finished_at": now, "id": later, "undoes": earlier}
            for earlier, later in itertools.pairwise(ids)
        ]
        connection.execute(insert(operations), rows)
        connection.commit()
    database.engine.dispose()
    # An even number of them has brought the role back.
    assert undo(cli, first, "--dry-run").exit_code == (4 if undos % 2 else 0)


def test_a_guard_refuses_an_undo_as_well(cli: Command, database_url: str) -> None:
    """The one who would go is the last one by now."""
    operation = done(cli, "user", *CREATE, "--no-password")
    done(cli, "role", "protect", "admin")
    done(cli, "user", "disable", "1")
    before = stored_state(database_url)
    refused = undo(cli, operation)
    assert (refused.exit_code, refused.stdout) == (7, "")
    assert 'no active user would be left with the protected role \\"admin\\"' in refused.stderr
    assert stored_state(database_url) == before


def test_a_protected_role_is_left(cli: Command) -> None:
    """Undone are both, the protection and then the role."""
    operation = done(cli, "claim", "enable", "1")
    created = done(cli, "role", "create", "new")
    protected = done(cli, "role", "protect", "new")
    assert undo(cli, created).exit_code == 6
    assert undo(cli, protected).exit_code == 0
    assert undo(cli, created).exit_code == 0
    assert operation < created


@pytest.mark.parametrize("number", ["99", "0", "-1", "x", "9" * 30, " "])
def test_no_such_operation(cli: Command, number: str) -> None:
    done = cli("undo", "--", number)
    assert (done.exit_code, done.stdout) == (3, "")
    assert done.stderr == (
        f'error: no operation "{number}"\nhint: usermgr operation list shows the newest\n'
    )


def test_more_than_the_setting_allows_need_yes(cli: Command, database_url: str) -> None:
    write_rows(4)
    operation = str(done(cli, "user", *IMPORT))
    before = stored_state(database_url)

    refused = cli("undo", operation, env={"USERMGR_CONFIRM_ABOVE": "4"})

    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr.startswith(
        "error: this command would undo the change of 5 users: it asks"
    )
    assert stored_state(database_url) == before
    tried = cli("undo", operation, "--dry-run", env={"USERMGR_CONFIRM_ABOVE": "4"})
    assert (tried.exit_code, stored_state(database_url)) == (0, before)
    assert cli("undo", operation, env={"USERMGR_CONFIRM_ABOVE": "5"}).exit_code == 0


def test_when_the_retention_is_over_it_is_told(cli: Command, database_url: str) -> None:
    write_rows()
    password = done(cli, "user", "set-password", "2")
    deleted = done(cli, "user", "delete", "1", "--yes")
    imported = done(cli, "user", *IMPORT, "--yes")
    undone = undo(cli, imported).json["operation_id"]
    assert cli("bin", "sweep", "--older-than", "0", "--yes").exit_code == 0
    before = stored_state(database_url)

    for operation, told in (
        (password, 'user 2 \\"bruno@example.com\\": the password that was replaced is not kept'),
        (deleted, 'user 1 \\"ana@example.com\\": the recycle bin does not keep it any more'),
        (undone, f"the recycle bin does not keep {ROWS} users of it any more"),
    ):
        result = undo(cli, operation, "--strict")
        assert (result.exit_code, stored_state(database_url)) == (4, before)
        result = undo(cli, operation)
        assert result.exit_code == 6
        assert told in result.stderr
    assert [user["id"] for user in _users(cli)] == [2, 3]


def test_what_others_refer_to_is_not_deleted(cli: Command, database_url: str) -> None:
    from sqlalchemy import text

    from tests.support.databases import open_database

    operation = done(cli, "user", *CREATE, "--no-password")
    database = open_database(database_url)
    with database.connect() as connection:
        kind = "integer" if database.is_sqlite else "bigint"
        for statement in (
            f"CREATE TABLE orders (id {kind} PRIMARY KEY, user_id {kind} REFERENCES users (id))",
            "INSERT INTO orders VALUES (1, 4)",
        ):
            connection.execute(text(statement))
        connection.commit()
    database.engine.dispose()
    refused = undo(cli, operation)
    assert (refused.exit_code, refused.stdout) == (4, "")
    assert "one of the users that would be deleted" in refused.stderr
    assert cli("user", "show", "4").exit_code == 0
