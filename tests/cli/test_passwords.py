"""Passwords: generated, piped, read from a file; shown once; verified; in no table and no text."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from sqlalchemy import inspect, text

from tests.support.commands import Command, Result
from tests.support.databases import open_database
from tests.support.people import create_company
from tests.support.published_hashes import PUBLISHED

GOOD = "correct horse battery"
RUI = ("--name", "Rui", "--email", "rui@example.com", "--role", "admin")


@pytest.fixture(autouse=True)
def company(cli: Command) -> None:
    create_company(cli)


def _verify(cli: Command, password: str, user: str = "rui@example.com") -> int:
    return cli("user", "verify-password", user, "--password-stdin", stdin=password).exit_code


def _every_value(url: str) -> str:
    database = open_database(url)
    with database.connect() as connection:
        tables = inspect(connection).get_table_names()
        rows = [row for name in tables for row in connection.execute(text(f"SELECT * FROM {name}"))]
    return repr(rows)


def test_a_generated_password_is_shown_once_and_works(cli: Command, database_url: str) -> None:
    created = cli("user", "create", *RUI, "-o", "json")
    assert (created.exit_code, created.stderr) == (0, "")
    password = created.json["generated_password"]
    assert re.fullmatch(r"[a-km-np-zA-HJ-NP-Z2-9]{24}", password)
    assert _verify(cli, password) == 0
    assert password not in _every_value(database_url)
    for words in (["user", "show", "3"], ["user", "history", "3"], ["operation", "list"]):
        shown = cli(*words, "-o", "json").stdout
        assert "generated_password" not in shown
        assert "$argon2" not in shown


def test_the_own_name_and_e_mail_are_no_password(cli: Command) -> None:
    before = cli("user", "list", "-o", "json").stdout
    message = (
        "error: the password is made of the user's own name or e-mail\nhint: use other words\n"
    )
    refused = Result(2, "", message)

    made = cli("user", "create", *RUI, "--password-stdin", stdin="RUI@EXAMPLE.COM\n")
    assert made == refused
    for words, given in (("2", "bruno@example.com"), ("BRUNO@example.com", "lima bruno lima")):
        assert cli("user", "set-password", words, "--password-stdin", stdin=given) == refused
    assert cli("user", "list", "-o", "json").stdout == before


def test_a_byte_order_mark_is_no_part_of_a_password(cli: Command) -> None:
    Path("secret").write_text(f"\ufeff{GOOD}\r\n", encoding="utf-8")
    assert cli("user", "create", *RUI, "--password-file", "secret").exit_code == 0
    assert _verify(cli, GOOD) == 0
    assert _verify(cli, f"\ufeff{GOOD}") == 0
    Path("secret").write_text("\ufeff\n", encoding="utf-8")
    done = cli("user", "set-password", "1", "--password-file", "secret")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith('error: the password from "secret" is empty')


def test_two_generated_passwords_differ(cli: Command) -> None:
    def reset() -> str:
        done = cli("user", "set-password", "1", "-o", "json")
        password: str = done.json["generated_password"]
        return password

    assert reset() != reset()


def test_set_password_replaces(cli: Command) -> None:
    first = cli("user", "set-password", "1", "-o", "json").json
    assert first["has_password"] is True
    assert first["version"] == 2
    done = cli("user", "set-password", "1", "--password-stdin", "-o", "json", stdin=GOOD + "\n")
    assert "generated_password" not in done.json
    assert _verify(cli, GOOD, "1") == 0
    assert _verify(cli, first["generated_password"], "1") == 8
    cleared = cli("user", "set-password", "1", "--no-password", "-o", "json").json
    assert cleared["has_password"] is False
    assert _verify(cli, GOOD, "1") == 8


def test_hashes_are_argon2id_with_owasp_parameters(cli: Command, database_url: str) -> None:
    cli("user", "create", *RUI, "--password-stdin", stdin=GOOD)
    with open_database(database_url).connect() as connection:
        query = text("SELECT password FROM users WHERE email = 'rui@example.com'")
        stored = connection.execute(query).scalar_one()
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


def test_a_password_from_a_file(cli: Command, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(GOOD + "\r\n")
    done = cli("user", "create", *RUI, "--password-file", str(secret))
    assert (done.exit_code, done.stderr) == (0, "")
    assert _verify(cli, GOOD) == 0


def test_two_keyboards_one_password(cli: Command) -> None:
    composed = "cora\u00e7\u00e3o e pulm\u00e3o, n\u00e3o \u00e9"
    decomposed = "corac\u0327a\u0303o e pulma\u0303o, na\u0303o e\u0301"
    cli("user", "create", *RUI, "--password-stdin", stdin=composed)
    assert _verify(cli, decomposed) == 0


@pytest.mark.parametrize(
    ("stdin", "message"),
    [
        ("short", "the password has 5 characters, 15 are required"),
        ("", "the password from stdin is empty"),
        ("\n", "the password from stdin is empty"),
        (GOOD + "\n" + GOOD + "\n", "the password from stdin has more than one line"),
        (b"\xff" * 20, "the password from stdin is not UTF-8 text"),
        ("nul\x00nul\x00nul\x00nul\x00", "the password contains a NUL character"),
        ("x" * 1025, "the password has 1025 characters, at most 1024 are allowed"),
    ],
)
def test_passwords_that_are_refused(cli: Command, stdin: str | bytes, message: str) -> None:
    done = cli("user", "create", *RUI, "--password-stdin", stdin=stdin)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.splitlines()[0] == f"error: {message}"
    assert cli("user", "show", "rui@example.com").exit_code == 3


def test_the_least_length_can_be_lowered_to_8(cli: Command) -> None:
    env = {"USERMGR_PASSWORD_MIN_LENGTH": "8"}
    done = cli("user", "create", *RUI, "--password-stdin", stdin="12345678", env=env)
    assert (done.exit_code, done.stderr) == (0, "")


def test_one_password_option_at_most(cli: Command) -> None:
    done = cli("user", "create", *RUI, "--password-stdin", "--no-password", stdin=GOOD)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("error: more than one password option was given\nhint: ")


def test_a_prompt_needs_a_terminal(cli: Command) -> None:
    done = cli("user", "create", *RUI, "--password-prompt", stdin=GOOD)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("error: there is no terminal to ask for the password on\n")


def test_a_password_file_that_is_missing(cli: Command) -> None:
    done = cli("user", "create", *RUI, "--password-file", "none")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith('error: the password file "none" cannot be read: No such file')


def test_a_generated_password_is_never_lost(cli: Command) -> None:
    done = cli("user", "create", *RUI, "--fields", "id,email")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "generated password would be lost" in done.stderr
    assert cli("user", "show", "rui@example.com").exit_code == 3
    shown = cli("user", "create", *RUI, "--fields", "id,generated_password", "-o", "json")
    assert list(shown.json) == ["id", "generated_password"]


def test_verify_tells_by_its_exit_status(cli: Command) -> None:
    cli("user", "create", *RUI, "--password-stdin", stdin=GOOD)
    good = cli("user", "verify-password", "3", "--password-stdin", "-o", "json", stdin=GOOD)
    assert (good.exit_code, good.stderr) == (0, "")
    assert good.json == {"id": 3, "email": "rui@example.com", "verified": True}
    bad = cli("user", "verify-password", "3", "--password-stdin", stdin="wrong")
    assert (bad.exit_code, bad.stdout) == (8, "")
    assert bad.stderr == 'error: the password of "rui@example.com" does not match\n'
    unusable = cli("user", "verify-password", "1", "--password-stdin", stdin="!")
    assert (unusable.exit_code, unusable.stdout) == (8, "")
    assert unusable.stderr == 'error: the password of "ana@example.com" does not match\n'
    missing = cli("user", "verify-password", "9", "--password-stdin", stdin=GOOD)
    assert (missing.exit_code, missing.stdout) == (3, "")


@pytest.mark.parametrize("cost", ["m=4194304,t=100,p=1", "m=8,t=4294967295,p=1"])
def test_a_hash_that_asks_for_too_much_is_not_computed(
    cli: Command, database_url: str, cost: str
) -> None:
    stored = f"$argon2id$v=19${cost}$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaA"
    with open_database(database_url).connect() as connection:
        connection.execute(text("UPDATE users SET password = :stored"), {"stored": stored})
        connection.commit()

    began = time.monotonic()
    done = cli("user", "verify-password", "1", "--password-stdin", stdin=GOOD)

    assert time.monotonic() - began < 10
    assert done == Result(
        8,
        "",
        'error: the password of "ana@example.com" is not verified: '
        "its hash asks for too much memory or time\n"
        "hint: store a new one with: usermgr user set-password ana@example.com\n",
    )


def test_a_password_on_the_command_line_is_not_possible(cli: Command) -> None:
    done = cli("user", "create", *RUI, "--password", GOOD)
    assert (done.exit_code, done.stdout) == (2, "")
    assert GOOD not in done.stderr


@pytest.mark.any_database
@pytest.mark.parametrize("form", [form for form in PUBLISHED if form != "none"])
def test_a_hash_from_elsewhere_is_imported_and_verified(
    cli: Command, database_url: str, form: str
) -> None:
    password, stored = PUBLISHED[form][0]
    row = {"email": "rui@example.com", "name": "Rui", "role": "admin", "password_hash": stored}
    Path("users.jsonl").write_text(json.dumps(row) + "\n")

    assert cli("user", "import", "users.jsonl").exit_code == 0
    with open_database(database_url).connect() as connection:
        query = text("SELECT password FROM users WHERE email = 'rui@example.com'")
        assert connection.execute(query).scalar_one() == stored
    verify = ("user", "verify-password", "rui@example.com", "--password-stdin")
    assert cli(*verify, stdin="another").exit_code == 8
    assert cli(*verify, stdin=password).exit_code == 0


def test_a_password_on_the_blocklist_is_refused(cli: Command, database_url: str) -> None:
    Path("blocked.txt").write_text("something else\nCorrect Horse Battery\n", encoding="utf-8")
    env = {"USERMGR_PASSWORD_BLOCKLIST": "blocked.txt"}
    hint = "hint: use other words\n"
    refused = Result(2, "", f"error: the password is on the blocklist\n{hint}")

    for words in (("user", "create", *RUI), ("user", "set-password", "1"), ("seed",)):
        assert cli(*words, "--password-stdin", stdin=GOOD, env=env) == refused
    assert cli("user", "create", *RUI, env=env).exit_code == 0
    set_other = cli("user", "set-password", "3", "--password-stdin", stdin=GOOD + "!", env=env)
    assert set_other.exit_code == 0

    rows = [("ines", GOOD), ("joao", f"{GOOD} Staple"), ("lia", "CORRECT HORSE BATTERY")]
    lines = [f"{name}@example.com,{name},admin,{password}\n" for name, password in rows]
    Path("users.csv").write_text("email,name,role,password\n" + "".join(lines))
    done = cli(*("user", "import", "users.csv", "--on-error", "skip", "-o", "json"), env=env)
    assert (done.exit_code, done.json["created"]) == (6, 1)
    assert done.json["reasons"] == {"blocked_password": 2}
    assert "line 2: the password is on the blocklist" in done.stderr
    assert GOOD not in done.stdout + done.stderr
    missing = cli(
        *("user", "import", "users.csv"), env={"USERMGR_PASSWORD_BLOCKLIST": "missing.txt"}
    )
    assert (missing.exit_code, missing.stdout) == (2, "")
    assert missing.stderr == (
        'error: the password blocklist "missing.txt" cannot be read: No such file or directory\n'
        "hint: correct USERMGR_PASSWORD_BLOCKLIST, or unset it\n"
    )


def test_hashes_are_made_with_the_parameters_that_are_set(cli: Command, database_url: str) -> None:
    env = {"USERMGR_ARGON2_MEMORY": "12288", "USERMGR_ARGON2_PASSES": "3"}
    Path("users.csv").write_text(f"email,name,role,password\na@example.com,A,admin,{GOOD}\n")
    assert cli("user", "set-password", "1", "--password-stdin", stdin=GOOD, env=env).exit_code == 0
    assert cli("user", "set-password", "2", env=env).exit_code == 0
    assert cli("user", "create", *RUI, env=env).exit_code == 0
    assert cli("user", "import", "users.csv", env=env).exit_code == 0
    with open_database(database_url).connect() as connection:
        found = connection.execute(text("SELECT password FROM users")).scalars().all()
    assert {stored.partition("$v=19$")[2].partition("$")[0] for stored in found} == {
        "m=12288,t=3,p=1"
    }
    assert _verify(cli, GOOD, "1") == 0
