"""usermgr password: policy, calibrate, report, strengthen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tests.support.commands import Command, Result
from tests.support.consistency import broken_promises
from tests.support.databases import open_database
from tests.support.people import create_company
from tests.support.published_hashes import PUBLISHED
from usermgr.hashes import hash_problem
from usermgr.passwords import hash_password
from usermgr.services import password_verification

STRENGTHEN = ("password", "strengthen", "-o", "json")
COSTLY = "$2b$31$" + "a" * 53
PLAIN = "hunter2 as it was typed"


def _hashes(url: str) -> dict[str, str]:
    database = open_database(url)
    with database.connect() as connection:
        rows = connection.execute(text("SELECT email, password FROM users")).all()
    database.engine.dispose()
    return {row.email: row.password for row in rows}


def _store(url: str, hashes: dict[str, str]) -> None:
    database = open_database(url)
    with database.connect() as connection:
        update = text("UPDATE users SET password = :stored WHERE email = :email")
        for email, stored in hashes.items():
            connection.execute(update, {"email": email, "stored": stored})
        connection.commit()
    database.engine.dispose()


def _import(cli: Command, rows: list[dict[str, Any]]) -> None:
    lines = [json.dumps({"name": "N", "role": "member", **row}) + "\n" for row in rows]
    Path("users.jsonl").write_text("".join(lines))
    done = cli("user", "import", "users.jsonl", "--create-roles", "-q")
    assert (done.exit_code, done.stderr) == (0, "")


def _everybody(cli: Command) -> dict[str, str]:
    """A user for every format, with its password."""
    known = {}
    rows = []
    for form, vectors in PUBLISHED.items():
        for password, stored in vectors[:1]:
            email = f"{form}@example.com"
            rows.append({"email": email, "password_hash": stored})
            known[email] = str(password)
    _import(cli, rows)
    return known


def test_policy_tells_every_rule_and_its_source(cli: Command) -> None:
    Path("blocked.txt").write_text("correct horse battery\n\nanother one\n")
    (Path.cwd() / ".env").write_text("USERMGR_PASSWORD_MIN_LENGTH=12\n")
    env = {"USERMGR_PASSWORD_BLOCKLIST": "blocked.txt", "USERMGR_ARGON2_PASSES": "3"}
    done = cli("password", "policy", "-o", "json", env=env)
    assert (done.exit_code, done.stderr) == (0, "")
    rules = {row["rule"]: (row["value"], row["source"]) for row in done.json}
    assert rules["min_length"] == ("12", ".env USERMGR_PASSWORD_MIN_LENGTH")
    assert rules["max_length"] == ("1024", "NIST SP 800-63B-4")
    assert rules["blocklist"] == (
        "2 lines of blocked.txt",
        "environment USERMGR_PASSWORD_BLOCKLIST",
    )
    assert rules["hash"] == (
        "argon2id m=19456,t=3,p=1",
        "default, environment USERMGR_ARGON2_PASSES",
    )
    assert rules["expiry"] == rules["composition"] == ("none", "NIST SP 800-63B-4")
    assert cli("password", "policy", "-o", "json").json[2]["value"] == "none"
    broken = cli("password", "policy", env={"USERMGR_PASSWORD_BLOCKLIST": "no.txt"})
    assert (broken.exit_code, broken.stdout) == (2, "")


def test_calibrate_prints_settings_that_can_be_used(cli: Command) -> None:
    words = ("password", "calibrate", "--target-ms", "20", "--memory", "19456")
    done = cli(*words)
    assert done.exit_code == 0
    assert done.stderr.startswith("note: a hash takes ")
    settings = dict(line.split("=") for line in done.stdout.splitlines())
    assert list(settings) == [
        "USERMGR_ARGON2_MEMORY",
        "USERMGR_ARGON2_PASSES",
        "USERMGR_ARGON2_LANES",
    ]
    used = cli("config", "show", "-o", "json", env=settings)
    shown = {row["setting"]: row["value"] for row in used.json}
    assert shown["argon2_memory"] == settings["USERMGR_ARGON2_MEMORY"]
    as_json = cli(*words, "-o", "json", "-q")
    assert as_json.stderr == ""
    assert as_json.json["argon2_lanes"] == 1
    assert as_json.json["target_milliseconds"] == 20
    assert cli("password", "calibrate", "--memory", "7167").exit_code == 2


def test_report_counts_by_strength_and_format(cli: Command, database_url: str) -> None:
    assert cli("password", "report", "-o", "json").json == []
    create_company(cli)
    _everybody(cli)
    emails = ("ana@example.com", "bruno@example.com", "argon2@example.com")
    _store(database_url, dict(zip(emails, (PLAIN, COSTLY, hash_password("x")), strict=True)))
    assert cli("user", "create", *_named("new"), "--no-password").exit_code == 0
    assert cli("user", "disable", "new@example.com").exit_code == 0

    done = cli("password", "report", "-o", "json")

    assert done.exit_code == 0
    found = {(row["strength"], row["format"]): row["users"] for row in done.json}
    assert found == {
        ("current", "argon2id"): 1,
        ("wrapped", "argon2id(salted-sha1)"): 1,
        ("legacy", "bcrypt"): 1,
        ("legacy", "bcrypt-sha256"): 1,
        ("legacy", "des-crypt"): 1,
        ("legacy", "firebase-scrypt"): 1,
        ("legacy", "pbkdf2-sha1"): 3,
        ("legacy", "pbkdf2-sha256"): 3,
        ("legacy", "phpass"): 1,
        ("legacy", "salted-sha1"): 1,
        ("legacy", "scrypt"): 3,
        ("legacy", "sha256-crypt"): 1,
        ("legacy", "sha512-crypt"): 1,
        ("too costly", "bcrypt"): 1,
        ("unrecognised", "unrecognised"): 1,
        ("unusable", "none"): 1,
    }
    assert [row["inactive"] for row in done.json][-1] == 1
    assert done.stderr == (
        "note: the hashes of 17 users are below OWASP's minimum; "
        "usermgr password strengthen wraps them\n"
    )
    for secret in (PLAIN, COSTLY, "hunter2"):
        assert secret not in done.stdout + done.stderr


def _named(name: str) -> tuple[str, ...]:
    return ("--name", name, "--email", f"{name}@example.com", "--role", "member")


def test_the_oldest_of_a_group(cli: Command) -> None:
    stored = PUBLISHED["ldap"][0][1]
    times = ["2021-01-01T00:00:00Z", "2019-05-05T05:05:05Z", "2020-01-01T00:00:00Z"]
    rows = [
        {"email": f"{n}@example.com", "password_hash": stored, "created_at": at}
        for n, at in enumerate(times)
    ]
    _import(cli, rows)
    (row,) = cli("password", "report", "-o", "json").json
    assert row["unchanged_since"] == "2019-05-05T05:05:05.000000Z"
    assert cli("user", "update", "1@example.com", "--name", "Other").exit_code == 0
    (row,) = cli("password", "report", "-o", "json").json
    assert row["unchanged_since"] == "2020-01-01T00:00:00.000000Z"


def test_strengthen_wraps_what_is_below_the_minimum(cli: Command, database_url: str) -> None:
    known = _everybody(cli)
    before = _hashes(database_url)
    shown = cli("user", "list", "--all", "-o", "json").stdout

    dry = cli(*STRENGTHEN, "--dry-run")
    assert (dry.json["found"], dry.json["strengthened"], dry.json["dry_run"]) == (17, 0, True)
    assert _hashes(database_url) == before
    done = cli(*STRENGTHEN, "--batch", "5")

    assert (done.exit_code, done.stderr) == (0, "")
    assert {**done.json, "seconds": 0} == {
        "found": 17,
        "formats": dry.json["formats"],
        "strengthened": 17,
        "changed": 0,
        "left": 0,
        "dry_run": False,
        "operations": [2, 5],
        "seconds": 0,
    }
    after = _hashes(database_url)
    strong = {"argon2@example.com", "wrapped@example.com"}
    for email, stored in after.items():
        if email in strong:
            assert stored == before[email]
        else:
            assert stored.startswith("$usermgr-wrap$")
            assert hash_problem(stored) is None
    # What is shown of the users is the same, and the history holds no hash.
    assert cli("user", "list", "--all", "-o", "json").stdout == shown
    history = cli("operation", "show", "2", "-o", "json").stdout
    assert '"strengthen"' in history
    for stored in [*before.values(), *after.values()]:
        assert stored not in history
        assert stored.rpartition("$")[2] not in history
    assert broken_promises(database_url) == {}

    # Again: there is nothing left to do, and nothing is recorded.
    again = cli(*STRENGTHEN)
    assert (again.json["found"], again.json["operations"]) == (0, [])
    assert _hashes(database_url) == after
    for email, password in known.items():
        words = ("user", "verify-password", email, "--password-stdin")
        assert cli(*words, stdin=password[:-1] + "?").exit_code == 8
        assert cli(*words, stdin=password).exit_code == 0
    assert all(stored.startswith("$argon2i") for stored in _hashes(database_url).values())
    assert broken_promises(database_url) == {}


def test_an_export_of_wrapped_hashes_is_imported_again(
    cli: Command, other_database_url: str
) -> None:
    rows = [
        {"email": f"{n}@example.com", "password_hash": PUBLISHED[form][0][1]}
        for n, form in enumerate(("ldap", "phpass", "crypt"))
    ]
    _import(cli, rows)
    assert cli(*STRENGTHEN).json["strengthened"] == 3
    assert cli("user", "export", "out.csv", "--with-password-hashes").exit_code == 0
    env = {"USERMGR_DATABASE_URL": other_database_url}
    assert cli("user", "import", "out.csv", "--create-roles", env=env).exit_code == 0
    for number, password in ((0, "secret"), (1, "test12345"), (2, "secret")):
        words = ("user", "verify-password", f"{number}@example.com", "--password-stdin")
        assert cli(*words, stdin=password, env=env).exit_code == 0


def test_what_cannot_be_wrapped_is_left_and_told(cli: Command, database_url: str) -> None:
    """A recipe with so long a salt could not be read again."""
    data = {"algorithm": "pbkdf2", "hashIterations": 1}
    secret = {"value": "aGFzaA==", "salt": "c2Fs" * 150}
    long = json.dumps({"credentialData": data, "secretData": secret})
    weak = PUBLISHED["ldap"][0][1]
    _import(
        cli,
        [
            {"email": "long@example.com", "password_hash": long},
            {"email": "weak@example.com", "password_hash": weak},
        ],
    )
    done = cli(*STRENGTHEN)
    assert (done.exit_code, done.json["strengthened"], done.json["changed"]) == (0, 1, 0)
    assert (done.json["found"], done.json["left"]) == (2, 1)
    assert done.stderr == (
        "note: hashes that cannot be wrapped, and stay as they are: 1; only a new password "
        "replaces them: usermgr user set-password\n"
    )
    assert _hashes(database_url)["long@example.com"] == long


def test_what_the_bin_keeps_is_told(cli: Command) -> None:
    weak = PUBLISHED["ldap"][0][1]
    _import(cli, [{"email": f"{n}@example.com", "password_hash": weak} for n in range(3)])
    assert cli("user", "delete", "0@example.com", "--yes").exit_code == 0
    assert cli("user", "set-password", "1@example.com").exit_code == 0

    done = cli(*STRENGTHEN)

    assert (done.exit_code, done.json["strengthened"]) == (0, 1)
    assert done.stderr == (
        "note: hashes below OWASP's minimum that the recycle bin keeps as they are: 2; "
        "usermgr bin sweep --older-than 0 removes them, and with them the way back\n"
    )
    assert cli("bin", "sweep", "--older-than", "0", "--yes").exit_code == 0
    assert cli(*STRENGTHEN).stderr == ""


def test_more_than_a_hundred_are_asked_for(cli: Command, database_url: str) -> None:
    stored = PUBLISHED["ldap"][0][1]
    _import(cli, [{"email": f"{n}@example.com", "password_hash": stored} for n in range(101)])
    before = _hashes(database_url)
    assert cli("password", "strengthen") == Result(
        2,
        "",
        "error: this command would strengthen the password hashes of 101 users: it asks for "
        "confirmation, and there is no terminal to ask on\n"
        "hint: pass --yes to confirm; USERMGR_CONFIRM_ABOVE says how many need it\n",
    )
    many = {"USERMGR_CONFIRM_ABOVE": "101"}
    assert cli("password", "strengthen", "--dry-run", "-o", "json").json["found"] == 101
    assert _hashes(database_url) == before
    done = cli("password", "strengthen", "-o", "json", env=many)
    assert (done.json["strengthened"], done.json["operations"]) == (101, [2])


def test_an_interrupted_run_says_how_to_go_on(
    cli: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = PUBLISHED["ldap"][0][1]
    _import(cli, [{"email": f"{n}@example.com", "password_hash": stored} for n in range(7)])
    real, calls = password_verification.replace_hash, iter(range(10))

    def interrupted(*args: Any) -> bool:
        if next(calls) == 4:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(password_verification, "replace_hash", interrupted)
    done = cli(*STRENGTHEN, "--batch", "3")
    assert (done.exit_code, done.stdout) == (130, "")
    assert done.stderr.startswith("note: it ended before the last user; each hash is the old one")
    # The first batch is stored, and of the second nothing.
    again = cli(*STRENGTHEN, env={"USERMGR_CONFIRM_ABOVE": "4"})
    assert (again.exit_code, again.json["found"], again.json["strengthened"]) == (0, 4, 4)


def test_what_cannot_be_wrapped_is_left_alone(cli: Command, database_url: str) -> None:
    create_company(cli)
    assert cli("user", "create", *_named("rui")).exit_code == 0
    _store(database_url, {"ana@example.com": PLAIN, "bruno@example.com": COSTLY})
    before = _hashes(database_url)
    assert cli(*STRENGTHEN).json["found"] == 0
    assert _hashes(database_url) == before
    verify = ("user", "verify-password", "ana@example.com", "--password-stdin")
    assert cli(*verify, stdin=PLAIN).exit_code == 8


def test_fields_are_checked_before_anything_is_done(cli: Command, database_url: str) -> None:
    _import(cli, [{"email": "a@example.com", "password_hash": PUBLISHED["ldap"][0][1]}])
    before = _hashes(database_url)
    for words in (("strengthen",), ("report",), ("policy",), ("calibrate",)):
        done = cli("password", *words, "--fields", "nothing")
        assert (done.exit_code, done.stdout) == (2, "")
    assert _hashes(database_url) == before
    assert cli(*STRENGTHEN).json["strengthened"] == 1
