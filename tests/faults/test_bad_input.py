"""Bytes that are no text, streams that are closed or full, numbers that no database holds."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.migrations.challenge import KINDS, execute
from tests.support.commands import Command, Result, process_environment
from tests.support.consistency import broken_promises
from tests.support.people import create_company
from usermgr.db.engine import Database

NO_TEXT = os.fsdecode(b"\xff")


def _with_streams(
    cwd: Path, *words: str, prepare: Callable[[], None] | None = None, stdin: bytes = b""
) -> Result:
    done = subprocess.run(
        [sys.executable, "-m", "usermgr", *words],
        preexec_fn=prepare,
        input=stdin,
        capture_output=True,
        env=process_environment(),
        cwd=cwd,
        timeout=60,
        check=False,
    )
    return Result(done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.mark.parametrize(
    "words",
    [
        ("role", "create", NO_TEXT),
        ("role", "show", NO_TEXT),
        ("role", "update", "admin", "--name", NO_TEXT),
        ("user", "show", NO_TEXT),
        ("user", "update", "1", "--name", NO_TEXT),
        ("user", "update", "1", "--email", f"{NO_TEXT}@example.com"),
        ("user", "grant", "1", NO_TEXT),
        ("user", "list", "--search", NO_TEXT),
        ("user", "list", "--after", NO_TEXT),
        ("user", "list", "--created-since", NO_TEXT),
        ("user", "set-password", "1", "--password-file", NO_TEXT),
        ("seed", "--roles", NO_TEXT),
        ("seed", "--locale", NO_TEXT),
        ("schema", "upgrade", NO_TEXT),
        ("role", "list", "--fields", NO_TEXT),
        ("role", "list", "-o", NO_TEXT),
        ("role", "list", f"--{NO_TEXT}"),
        ("role", NO_TEXT),
        (NO_TEXT,),
    ],
)
def test_bytes_that_are_no_text_are_shown_escaped(cli: Command, words: tuple[str, ...]):
    create_company(cli)
    before = cli("operation", "list").stdout

    done = cli(*words)

    assert (done.exit_code, done.stdout) == (2, ""), done
    assert done.stderr.startswith("error: ")
    assert "\\udcff" in done.stderr
    assert cli("operation", "list").stdout == before


def test_an_actor_that_is_no_text_is_refused(cli: Command):
    done = cli("role", "create", "x", env={"USERMGR_ACTOR": NO_TEXT})

    told = 'error: "\\udcff" (environment USERMGR_ACTOR) contains a character that is not printable'
    assert done == Result(2, "", f"{told}\n")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (b"", "the password from stdin is empty\nhint: write it on one line"),
        (b"\n", "the password from stdin is empty\nhint: write it on one line"),
        (b"abcdefghijklmnop\0qrs", "the password contains a NUL character"),
        (b"\xff\xfe" + b"a" * 20, "the password from stdin is not UTF-8 text"),
        (
            b"two lines of\npassword",
            "the password from stdin has more than one line\nhint: write it on one line",
        ),
        (b"a" * 3_000_000, "the password has 65536 characters, at most 1024 are allowed"),
    ],
    ids=["nothing", "an empty line", "NUL", "no UTF-8", "two lines", "three megabytes"],
)
def test_passwords_that_stdin_cannot_mean(cli: Command, given: bytes, message: str):
    cli("role", "create", "admin")
    words = ("--name", "A", "--email", "a@example.com", "--role", "admin", "--password-stdin")

    done = cli("user", "create", *words, stdin=given)

    assert done == Result(2, "", f"error: {message}\n")
    assert cli("user", "list", "-o", "json").stdout == "[]\n"


@pytest.mark.parametrize("number", ["99999999999999999999", "9223372036854775808", "0", "-1"])
def test_ids_that_no_row_has(cli: Command, number: str):
    create_company(cli)
    for noun in ("user", "role", "claim", "operation"):
        done = cli(noun, "show", "--", number)
        assert (done.exit_code, done.stdout) == (3, "")
        assert done.stderr.startswith(f'error: no {noun} "{number}"\n')


@pytest.mark.parametrize("number", ["9223372036854775808", "99999999999999999999", "9" * 5000])
def test_an_id_that_no_row_can_have_is_not_the_row_with_id_0(
    cli: Command, database: Database, number: str
):
    """Adopted tables may hold it."""
    create_company(cli)
    execute(
        database,
        """
        INSERT INTO roles (id, description) {override} VALUES (0, 'zero');
        INSERT INTO claims (id, description) {override} VALUES (0, 'zero');
        INSERT INTO users (id, name, email, role_id) {override}
            VALUES (0, 'Zero', 'zero@example.com', 0);
        """.format(**KINDS["sqlite" if database.is_sqlite else "postgresql"]),
    )
    assert cli("user", "show", "0", "--fields", "email").rows[1] == ["zero@example.com"]
    before = cli("user", "list", "--all", "-o", "json").stdout

    for words in (
        ("user", "show", number),
        ("user", "delete", number, "--yes"),
        ("user", "disable", number),
        ("user", "history", number),
        ("user", "grant", "1", number),
        ("user", "update", "1", "--role", number),
        ("user", "list", "--role", number),
        ("user", "list", "--claim", number),
        ("role", "delete", number),
        ("claim", "disable", number),
    ):
        done = cli(*words)
        assert (words, done.exit_code, done.stdout) == (words, 3, "")
    assert cli("user", "list", "--all", "-o", "json").stdout == before


@pytest.mark.parametrize("number", ["-1", "0", "99999999999999999999", "many", ""])
def test_limits_that_are_none(cli: Command, number: str):
    done = cli("user", "list", "--limit", number)

    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith('error: invalid value for "--limit": ')
    assert ("is not a whole number\n" in done.stderr) == (number in ("many", ""))


def test_an_operation_beyond_the_largest_id(cli: Command):
    create_company(cli)

    listed = cli("operation", "list", "--before", "99999999999999999999")

    assert listed == cli("operation", "list")


@pytest.mark.parametrize(
    ("sort", "content"),
    [
        ("id", "3"),
        ("id", "[]"),
        ("id", '["id", 1, 99999999999999999999]'),
        ("id", '["id", 99999999999999999999, 1]'),
        ("id", '["id", true, 1]'),
        ("id", '["id", "x", 1]'),
        ("id", '[["id"], 1, 1]'),
        ("name", '["name", 1, 1]'),
        ("name", '["name", "a\\u0000", 1]'),
        ("email", '["email", "\\ud800", 1]'),
        ("created_at", '["created_at", "yesterday", 1]'),
        ("created_at", '["created_at", "0001-01-01T00:00:00+14:00", 1]'),
        ("created_at", '["created_at", 5, 1]'),
    ],
)
def test_cursors_that_nobody_handed_out(cli: Command, sort: str, content: str):
    cursor = base64.urlsafe_b64encode(content.encode()).decode()

    done = cli("user", "list", "--sort", sort, "--after", cursor)

    assert (done.exit_code, done.stdout) == (2, "")
    assert "cursor" in done.stderr
    assert "unexpected" not in done.stderr


def test_a_closed_stdin_is_an_empty_one(tmp_path: Path):
    words = ("user", "verify-password", "1", "--password-stdin")

    done = _with_streams(tmp_path, *words, prepare=lambda: os.close(0))

    message = "error: the password from stdin is empty\nhint: write it on one line\n"
    assert done == Result(2, "", message)


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (lambda: os.close(1), "Bad file descriptor"),
        (lambda: os.dup2(os.open("/dev/full", os.O_WRONLY), 1), "No space left on device"),
    ],
    ids=["closed", "full"],
)
def test_output_that_cannot_be_written(tmp_path: Path, prepare: Callable[[], None], reason: str):
    created = _with_streams(tmp_path, "role", "create", "x", "-q", "-o", "json", prepare=prepare)

    assert (created.exit_code, created.stdout) == (5, "")
    assert f"the output cannot be written: {reason}" in created.stderr
    assert "what was changed, if anything, is stored" in created.stderr
    assert _with_streams(tmp_path, "role", "show", "x").exit_code == 0
    helped = _with_streams(tmp_path, "--help", prepare=prepare)
    assert helped == Result(5, "", f"error: the output cannot be written: {reason}\n")
    assert broken_promises(f"sqlite:///{tmp_path / 'usermgr.db'}") == {}


@pytest.mark.parametrize(
    "prepare",
    [lambda: os.close(2), lambda: os.dup2(os.open("/dev/full", os.O_WRONLY), 2)],
    ids=["closed", "full"],
)
def test_errors_that_cannot_be_told_keep_their_status(tmp_path: Path, prepare: Callable[[], None]):
    assert _with_streams(tmp_path, "role", "create", "x", prepare=prepare).exit_code == 0
    assert _with_streams(tmp_path, "role", "create", "X", prepare=prepare) == Result(4, "", "")
    assert _with_streams(tmp_path, "role", "show", "y", prepare=prepare) == Result(3, "", "")


def test_without_any_stream_the_database_stays_whole(tmp_path: Path):
    """The numbers 0, 1 and 2 must not become the database file's, which is opened later."""

    def close_all() -> None:
        for number in range(3):
            os.close(number)

    for name in ("x", "X", "y"):
        _with_streams(tmp_path, "role", "create", name, prepare=close_all)

    listed = _with_streams(tmp_path, "role", "list", "--fields", "description")
    assert listed == Result(0, "description\nx\ny\n", "")
    assert broken_promises(f"sqlite:///{tmp_path / 'usermgr.db'}") == {}
