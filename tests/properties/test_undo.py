"""Whatever was done: undone in reverse, the database is what it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import patch

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.commands import Command
from tests.support.consistency import broken_promises, content
from usermgr.db import undo_load

ROLES, CLAIMS = ("member", "admin", "guest"), ("read", "write", "audit")
PASSWORD = "a passphrase of words"
EMAILS = st.integers(1, 5).map("p{}@example.com".format)
ROLE, CLAIM = st.sampled_from(ROLES), st.sampled_from(CLAIMS)
NAMES = st.sampled_from(["Ana", "João", "名前"])
TEXT = NAMES | st.just('O\'Neil; "x"')


RENAMED = {"histories with a gap", "images that are not the rows"}
"""Images keep the name that a role had at the time."""


def words(*parts: Any) -> st.SearchStrategy[tuple[str, ...]]:
    """Command lines of fixed words and drawn ones."""
    return st.tuples(*(p if isinstance(p, st.SearchStrategy) else st.just(p) for p in parts))


COMMANDS = st.one_of(
    words("user", "create", "--name", TEXT, "--email", EMAILS, "--role", ROLE, "--claim", CLAIM),
    words("user", "update", EMAILS, "--name", TEXT, "--email", EMAILS, "--role", ROLE),
    words("user", "disable", EMAILS),
    words("user", "enable", EMAILS),
    words("user", "grant", EMAILS, CLAIM, "--reason", TEXT, "--expires", "30d"),
    words("user", "grant", EMAILS, CLAIM),
    words("user", "revoke", EMAILS, CLAIM),
    words("user", "set-password", EMAILS),
    words("user", "set-password", EMAILS, "--no-password"),
    words("user", "delete", EMAILS, "--yes"),
    words("user", "restore", EMAILS),
    words("role", "create", ROLE),
    words("role", "update", ROLE, "--name", ROLE),
    words("role", "delete", ROLE),
    words("claim", "create", CLAIM),
    words("claim", "disable", CLAIM),
    words("claim", "delete", CLAIM),
    words("claim", "enable", CLAIM),
    words("claim", "update", CLAIM, "--name", CLAIM),
    words("claim", "sweep"),
    words("role", "protect", ROLE),
    words("role", "unprotect", ROLE),
    words("claim", "protect", CLAIM),
    words("user", "set-role", ROLE, "--where-role", ROLE, "--yes"),
    words("user", "disable", "--where-claim", CLAIM, "--yes"),
    words("user", "revoke", CLAIM, "--where-claim", CLAIM, "--yes"),
    words("user", "delete", "--search", st.sampled_from(["p1", "p2"]), "--yes"),
    words("undo", st.integers(0, 8).map(lambda back: f"-{back}"), "--yes"),
)


@st.composite
def imports(draw: st.DrawFn) -> str:
    """The rows of a file that creates some users and changes others."""
    emails = draw(st.lists(EMAILS, unique=True, min_size=1, max_size=4))
    lines = []
    for email in emails:
        claims = ";".join(draw(st.lists(CLAIM, max_size=2, unique=True)))
        stored = draw(st.sampled_from(["!", "!x"]))
        lines.append(f"{draw(NAMES)},{email},{draw(ROLE)},{claims},{stored}")
    return "name,email,role,claims,password_hash\n" + "\n".join(lines) + "\n"


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(COMMANDS | imports(), min_size=1, max_size=9))
def test_undone_in_reverse_everything_is_as_it_was(
    cli: Command, database_url: str, steps: list[tuple[str, ...] | str]
) -> None:
    before, first = content(database_url), newest(cli)
    for step in steps:
        done = cli(*command(cli, step), stdin=PASSWORD)
        assert done.exit_code in (0, 2, 3, 4, 6, 7), (step, done)
    for operation in cli("operation", "list", "-o", "json", "--limit", "1000").json:
        if operation["id"] > first:
            with patch.object(undo_load, "WORTH", 1):
                done = cli("undo", str(operation["id"]), "--yes")
            assert (done.exit_code, done.stderr) == (0, ""), (steps, operation, done)
    assert content(database_url) == before
    assert broken_promises(database_url).keys() <= RENAMED


def command(cli: Command, step: tuple[str, ...] | str) -> tuple[str, ...]:
    """The command line of a step: the rows of a file are written, a number back is an id."""
    if isinstance(step, str):
        Path("x.csv").write_text(step)
        update = ("--on-conflict", "update", "--passwords", "set", "--yes")
        return ("user", "import", "x.csv", *update, "--create-roles", "--create-claims")
    if step[0] == "undo":
        return ("undo", str(max(1, newest(cli) + int(step[1]))), "--yes")
    # A guard keeps the last holder, also the only one there ever was, from being undone.
    if (
        step[1] == "protect"
        and not cli("user", "list", f"--{step[0]}", step[2], "--active").rows[1:]
    ):
        return (step[0], "unprotect", step[2])
    return step


def newest(cli: Command) -> int:
    """The id of the newest operation, 0 without any."""
    listed = cli("operation", "list", "--limit", "1", "-o", "json").json
    return int(listed[0]["id"]) if listed else 0
