"""Global options, output formats, errors: what scripts depend on."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml

from tests.support.commands import Command, Result, process_environment, run_inside
from tests.support.people import USER_FIELDS, create_company

pytestmark = pytest.mark.any_database

POSITIONS = (
    ("-o", "json", "user", "show", "1"),
    ("user", "-o", "json", "show", "1"),
    ("user", "show", "-o", "json", "1"),
    ("user", "show", "1", "-o", "json"),
    ("-o", "csv", "user", "show", "1", "--output", "json"),
    ("user", "show", "1", "--output=json"),
)


@pytest.fixture
def company(cli: Command) -> None:
    create_company(cli)


@pytest.mark.usefixtures("company")
def test_global_options_are_accepted_everywhere_alike(cli: Command) -> None:
    results = {cli(*words).stdout for words in POSITIONS}
    assert len(results) == 1
    assert json.loads(results.pop())["email"] == "ana@example.com"


@pytest.mark.usefixtures("company")
def test_one_thing_and_many_things_in_every_format(cli: Command) -> None:
    one = cli("user", "show", "1", "-o", "json").json
    assert cli("user", "show", "1", "-o", "jsonl").stdout == json.dumps(one) + "\n"
    assert yaml.safe_load(cli("user", "show", "1", "-o", "yaml").stdout) == one
    many = cli("user", "list", "-o", "json").json
    assert [list(user) for user in many] == [USER_FIELDS, USER_FIELDS]
    lines = cli("user", "list", "-o", "jsonl").stdout.splitlines()
    assert [json.loads(line) for line in lines] == many
    assert yaml.safe_load(cli("user", "list", "-o", "yaml").stdout) == many
    table = list(csv.reader(io.StringIO(cli("user", "list", "-o", "csv").stdout)))
    assert table == cli("user", "list", "-o", "tsv").rows
    assert table[0] == USER_FIELDS
    assert table[1][:8] == [
        *("1", "Ana Souza", "ana@example.com", "1", "admin", "reports:read"),
        *("true", "false"),
    ]


@pytest.mark.usefixtures("company")
def test_into_a_pipe_the_format_is_tsv_unless_a_setting_says_otherwise(cli: Command) -> None:
    assert cli("role", "show", "1").stdout == (
        "id\tdescription\tprotected\tusers\n1\tadmin\tfalse\t1\n"
    )
    env = {"USERMGR_OUTPUT": "jsonl"}
    shown = cli("role", "show", "1", env=env).stdout
    assert shown == '{"id": 1, "description": "admin", "protected": false, "users": 1}\n'


@pytest.mark.usefixtures("company")
def test_fields_choose_and_order(cli: Command) -> None:
    done = cli("user", "list", "--fields", "email, id,email", "-o", "csv")
    assert done.stdout == "email,id\nana@example.com,1\nbruno@example.com,2\n"
    table = cli("user", "list", "--fields", "role,id", "-o", "table").stdout
    assert [line.split() for line in table.splitlines()] == [
        ["role", "id"],
        ["admin", "1"],
        ["member", "2"],
    ]


@pytest.mark.parametrize(
    "words",
    [
        ("role", "create", "x", "--fields", "id,colour"),
        ("role", "create", "x", "-o", "xml"),
        ("seed", "--users", "3", "--fields", "colour"),
        ("user", "list", "--fields", ""),
        ("user", "list", "--fields", ","),
    ],
)
def test_a_wrong_format_or_field_is_found_before_anything_is_changed(
    cli: Command, words: tuple[str, ...]
) -> None:
    done = cli(*words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "\nhint: the f" in done.stderr
    assert cli("role", "list", "-o", "json").json == []


def test_an_error_is_a_json_object_when_json_was_asked_for(cli: Command) -> None:
    done = cli("user", "show", "9", "-o", "json")
    assert (done.exit_code, done.stdout) == (3, "")
    assert json.loads(done.stderr) == {
        "error": {
            "code": "not_found",
            "exit_status": 3,
            "message": 'no user "9"',
            "hint": "a user is named by id or e-mail; usermgr user list --search TEXT finds them",
        }
    }
    usage = cli("user", "show", "--colour", "-o", "json")
    assert (usage.exit_code, usage.stdout) == (2, "")
    assert json.loads(usage.stderr)["error"]["code"] == "invalid_input"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("usr",), 'error: no command "usr"\nhint: did you mean user?\n'),
        (("user", "shw"), 'error: no such command "shw"'),
        (("user", "show"), 'error: missing argument "USER"'),
        (("user", "show", "1", "2"), "error: got unexpected extra argument"),
        (("user", "list", "--limit", "0"), 'error: invalid value for "--limit"'),
        (("user", "list", "--limit", "-5"), 'error: invalid value for "--limit"'),
        (("user", "list", "--limit", "many"), 'error: invalid value for "--limit"'),
        (("user", "create", "--name"), 'error: option "--name" requires an argument'),
        (("user", "create", "--name", "x"), 'error: missing option "--email"'),
        (("--colour",), "error: no such option: --colour"),
    ],
)
def test_wrong_usage(cli: Command, words: tuple[str, ...], message: str) -> None:
    done = cli(*words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(message)
    assert "\nhint: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [(), ("user",), ("schema",)])
def test_a_group_alone_shows_its_help(cli: Command, words: tuple[str, ...]) -> None:
    done = cli(*words)
    assert (done.exit_code, done.stderr) == (2, "")
    assert done.stdout.strip() == cli(*words, "--help").stdout.strip()


def test_version_everywhere(cli: Command) -> None:
    from usermgr import __version__

    for words in (("--version",), ("user", "--version"), ("user", "list", "--version")):
        done = cli(*words)
        assert (done.exit_code, done.stdout, done.stderr) == (0, f"usermgr {__version__}\n", "")


def test_quiet_silences_notes_and_reports_but_not_results(cli: Command) -> None:
    assert cli("seed", "--users", "2", "-q").stdout == ""
    asked = cli("seed", "--users", "2", "-q", "-o", "json")
    assert (asked.json["users_existing"], asked.stderr) == (2, "")
    listed = cli("user", "list", "--limit", "1", "-q", "--fields", "id")
    assert (listed.stdout, listed.stderr) == ("id\n1\n", "")


def test_a_password_in_the_flag_is_warned_about(cli: Command) -> None:
    url = "postgresql://someone:hunter2@127.0.0.1:1/none"
    done = cli("user", "list", "--database-url", url)
    assert done.exit_code == 5
    assert done.stderr.startswith("note: a password in --database-url is visible to everybody")
    assert "hunter2" not in done.stderr + done.stdout


def test_exit_codes_topic_is_the_error_table(cli: Command) -> None:
    rows = cli("help", "exit-codes").rows
    assert [row[:2] for row in rows[1:]] == [
        ["0", "ok"],
        ["1", "internal"],
        ["2", "invalid_input"],
        ["3", "not_found"],
        ["4", "conflict"],
        ["5", "unavailable"],
        ["6", "partial"],
        ["7", "forbidden"],
        ["8", "mismatch"],
        ["130", "interrupted"],
    ]


@pytest.mark.usefixtures("company")
def test_a_reader_that_leaves_is_no_error(cli: Command, database_url: str) -> None:
    cli("seed", "--users", "2000", "-q")
    process = subprocess.Popen(
        [sys.executable, "-m", "usermgr", "user", "list", "--all"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**process_environment(), "USERMGR_DATABASE_URL": database_url},
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout, process.stderr:
        assert process.stdout.readline().startswith(b"id\tname")
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 0


@pytest.mark.usefixtures("company")
@pytest.mark.parametrize(
    "words",
    [
        ("user", "list", "--all", "-o", "table"),
        ("role", "show", "admin", "-o", "table"),
        ("config", "show", "-o", "table"),
        ("help", "settings", "-o", "table"),
        ("user", "create", "--help"),
        ("--help",),
        ("role", "list", "-o", "tsv"),
        ("role", "list", "-o", "json"),
    ],
)
def test_a_reader_that_has_left_is_no_error(database_url: str, words: tuple[str, ...]) -> None:
    assert _run_without_reader(database_url, *words) == (0, b"")


@pytest.mark.usefixtures("company")
@pytest.mark.parametrize("form", ["table", "tsv", "json"])
def test_what_nobody_reads_is_stored(cli: Command, database_url: str, form: str) -> None:
    words = ("user", "create", "--name", "Zoe", "--email", "zoe@example.com", "--role", "admin")
    assert _run_without_reader(database_url, *words, "-o", form) == (0, b"")
    assert cli("user", "show", "zoe@example.com").exit_code == 0


def _run_without_reader(database_url: str, *words: str) -> tuple[int, bytes]:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as stdout:
        done = subprocess.run(
            [sys.executable, "-m", "usermgr", *words],
            stdout=stdout,
            stderr=subprocess.PIPE,
            env={**process_environment(), "USERMGR_DATABASE_URL": database_url},
            timeout=60,
            check=False,
        )
    return done.returncode, done.stderr


def test_output_that_cannot_be_written(cli: Command, database_url: str) -> None:
    with open("/dev/full", "wb") as full:  # noqa: PTH123 - a device
        done = subprocess.run(
            [sys.executable, "-m", "usermgr", "role", "create", "admin"],
            stdout=full,
            stderr=subprocess.PIPE,
            env={**process_environment(), "USERMGR_DATABASE_URL": database_url},
            timeout=60,
            check=False,
        )
    assert done.returncode == 5
    message = "error: the output cannot be written: No space left on device\nhint: "
    assert done.stderr.decode().startswith(message)
    assert len(cli("role", "list", "-o", "json").json) == 1


def test_an_env_file_without_a_name_is_refused(tmp_path: Path) -> None:
    """An unset variable of the shell must not choose the embedded database."""
    done = run_inside(("--env-file", "", "role", "list"), "", {})
    message = "error: the name of --env-file is empty\nhint: a variable of the shell may be unset\n"
    assert done == Result(2, "", message)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words", [("user", "list", "--colour"), ("role", "show"), ("nonsense",), ("role", "show", "1")]
)
def test_errors_are_json_where_the_env_file_says_so(tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / ".env").write_text("USERMGR_OUTPUT=json\nUSERMGR_DATABASE_URL=sqlite:///x.db\n")
    done = run_inside(words, "", {})
    assert done.stdout == ""
    assert json.loads(done.stderr)["error"]["exit_status"] == done.exit_code


def test_a_pipe_with_a_value_that_is_refused_is_read_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    process = subprocess.Popen(
        [sys.executable, "-m", "usermgr", "--env-file", "pipe", "role", "list"],
        env=process_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    # In a thread: opening the pipe waits for a reader, which may not come.
    content = ("USERMGR_OUTPUT=xml\n",)
    threading.Thread(target=(tmp_path / "pipe").write_text, args=content, daemon=True).start()
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (2, "")
    assert stderr.startswith('error: unknown output format "xml" (pipe USERMGR_OUTPUT)\n')


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("user", "list", "--role", "a", "--role", "b"), "--role"),
        (("user", "disable", "--search", "x", "--yes", "--search", "y"), "--search"),
        (("user", "create", "--email", "a@example.com", "--email=b@example.com"), "--email"),
        (("undo", "1", "--left", "a", "--left", "b"), "--left"),
    ],
)
def test_an_option_with_one_value_is_given_once(
    cli: Command, words: tuple[str, ...], name: str
) -> None:
    done = cli(*words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == f"error: {name} was given twice\nhint: leave one of them out\n"
