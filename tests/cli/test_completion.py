"""Shell completion: what bash is offered for a line, words split the way bash splits them."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import process_environment, run_inside
from usermgr.cli.app import run

pytestmark = pytest.mark.any_database

BASH = """
env() { command env "${@:1:$#-1}" "$PYTHON" -m usermgr; }
source /dev/stdin
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_usermgr_completion usermgr
printf '%s\\n' "${COMPREPLY[@]}"
"""
"""Calls the completion script on its input as bash does; ``env`` finds the program."""

COMMANDS = [
    *("user", "role", "claim", "password", "operation", "undo", "bin", "why", "audit"),
    *("token", "serve", "seed", "schema", "config", "help"),
]


@pytest.fixture
def labels(tmp_path: Path, sqlite_template: Path) -> None:
    shutil.copyfile(sqlite_template, tmp_path / "usermgr.db")
    for words in (
        ("role", "create", "admin"),
        ("role", "create", "auditor"),
        ("claim", "create", "reports:read"),
        ("claim", "create", "reports:write"),
        ("claim", "create", "billing:eu:read"),
    ):
        assert run_inside(words, "", {}).exit_code == 0


def _offered(monkeypatch: pytest.MonkeyPatch, *words: str, shell: str = "bash") -> list[str]:
    """What the shell is offered for the last of the words."""
    monkeypatch.setenv("_USERMGR_COMPLETE", f"complete_{shell}")
    monkeypatch.setenv("_USERMGR_COMPLETE_PREFIX", "")
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", " ".join(("usermgr", *words)))
    monkeypatch.setenv("COMP_WORDS", "\n".join(("usermgr", *words)))
    monkeypatch.setenv("COMP_CWORD", str(len(words)))
    stdin, stdout, stderr = io.StringIO(), io.StringIO(), io.StringIO()
    with pytest.raises(SystemExit) as ended:
        run((), environ=os.environ, stdin=stdin, stdout=stdout, stderr=stderr)
    assert (ended.value.code, stderr.getvalue()) == (0, "")
    return stdout.getvalue().split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ([""], COMMANDS),
        (["us"], ["user"]),
        (["-o", "json", "role", "de"], ["delete"]),
        (["user", "list", "--in"], ["--inactive"]),
        (["user", "list", "--out"], ["--output"]),
        (["-o", "j"], ["json", "jsonl"]),
        (["user", "list", "--output", "=", "j"], ["json", "jsonl"]),
        (["user", "list", "--fields", "id,e"], ["id,email"]),
        (["claim", "list", "--fields", ""], ["id", "description", "active", "protected", "users"]),
        (["user", "history", "--fields", "be"], ["before"]),
        (["audit", "seal", "--fields", "s"], ["sealed_at", "signature"]),
        (["audit", "verify", "--fields", "se"], ["seals"]),
        (["audit", "export", "--fields", "se"], ["seal"]),
        (["user", "erase", "--fields", "c"], ["changes"]),
        (["password", "report", "--fields", "st"], ["strength"]),
        (["password", "strengthen", "--fields", "st"], ["strengthened"]),
        (["user", "list", "--sort", ""], ["id", "email", "name", "created_at"]),
        (["schema", "ddl", "--dialect", "s"], ["sqlite"]),
        (["schema", "downgrade", "0001"], ["0001"]),
        (["schema", "upgrade", "0002"], ["0002"]),
    ],
    ids=" ".join,
)
def test_commands_options_formats_and_fields(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], offered: list[str]
) -> None:
    assert _offered(monkeypatch, *words) == offered
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("labels")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["user", "create", "--role", ""], ["admin", "auditor"]),
        (["user", "create", "--role", "=", "au"], ["auditor"]),
        (["user", "create", "--role", "="], ["admin", "auditor"]),
        (["role", "show", "ad"], ["admin"]),
        (["user", "list", "--claim", "rep"], ["reports:read", "reports:write"]),
        (["user", "grant", "1", "reports", ":"], ["read", "write"]),
        (["user", "grant", "1", "reports", ":", "w"], ["write"]),
        (["user", "grant", "1", "reports", ":", "read", "bil"], ["billing:eu:read"]),
        (["user", "grant", "1", "billing", ":", "eu", ":", "r"], ["read"]),
        (["user", "list", "--claim", "reports", ":", "r", "--role", "ad"], ["admin"]),
        (["claim", "disable", "nothing"], []),
    ],
    ids=" ".join,
)
def test_roles_and_claims_of_the_database(
    monkeypatch: pytest.MonkeyPatch, words: list[str], offered: list[str]
) -> None:
    assert _offered(monkeypatch, *words) == offered


@pytest.mark.usefixtures("labels")
@pytest.mark.parametrize(
    ("shell", "told"),
    [
        ("bash", "admin auditor Überblick/EU_1.x+y@z"),
        ("fish", "admin auditor Überblick/EU_1.x+y@z"),
        ("zsh", """_arguments '*: :(("admin" "auditor" "Überblick/EU_1.x+y@z"))'"""),
    ],
)
def test_names_that_a_shell_could_evaluate_are_not_offered(
    monkeypatch: pytest.MonkeyPatch, shell: str, told: str
) -> None:
    for name in ("$(touch x)", "`touch x`", "\\$(touch x)", "a'b", 'a"b', "*", "-q", "a b", "a;b"):
        assert run_inside(("role", "create", "--", name), "", {}).exit_code == 0
    assert run_inside(("role", "create", "Überblick/EU_1.x+y@z"), "", {}).exit_code == 0

    assert " ".join(_offered(monkeypatch, "role", "show", "", shell=shell)) == told


def test_fields_behind_what_a_shell_could_evaluate_are_not_offered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert _offered(monkeypatch, "role", "list", "--fields", "$(touch x),u") == []


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///none.db",
        "postgresql://u:secret@127.0.0.1:1/none",
        "no database",
    ],
)
def test_without_a_database_nothing_is_offered_and_nothing_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    assert _offered(monkeypatch, "--database-url", url, "claim", "show", "") == []
    monkeypatch.setenv("USERMGR_DATABASE_URL", url)
    assert _offered(monkeypatch, "role", "show", "") == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_are_offered_the_commands(monkeypatch: pytest.MonkeyPatch, shell: str) -> None:
    offered = " ".join(_offered(monkeypatch, "", shell=shell))

    for command in COMMANDS:
        assert command in offered


@pytest.mark.usefixtures("labels")
def test_the_script_for_bash_works_in_bash(tmp_path: Path) -> None:
    script = subprocess.run(
        [sys.executable, "-m", "usermgr"],
        capture_output=True,
        env={**process_environment(), "_USERMGR_COMPLETE": "source_bash"},
        timeout=60,
        check=True,
    ).stdout
    line = ("usermgr", "user", "grant", "1", "reports", ":", "r")
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-c", BASH, "bash", *line],
        input=script,
        capture_output=True,
        env={**process_environment(), "PYTHON": sys.executable},
        cwd=tmp_path,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, b"read\n", b"")


@pytest.mark.usefixtures("labels")
@pytest.mark.parametrize(
    "words",
    [
        ("user", "list"),
        ("user", "create", "--name", "N", "--email", "n@example.com", "--role", "admin"),
        ("user", "export", "--with-password-hashes"),
        ("role", "show", "admin"),
        ("claim", "disable", "reports:read"),
        ("operation", "list"),
        ("operation", "show", "1"),
        ("audit", "seal"),
        ("audit", "verify"),
        ("schema", "status"),
        ("schema", "check"),
        ("schema", "init"),
        ("config", "show"),
        ("config", "check"),
        ("seed", "--users", "2"),
    ],
)
def test_fields_that_are_offered_are_shown(
    monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    with monkeypatch.context() as shell:
        offered = _offered(shell, *words, "--fields", "")
    assert offered

    done = run_inside((*words, "--fields", ",".join(offered), "-o", "csv"), "", {})

    assert done.exit_code == 0, done
    if words != ("schema", "check"):
        assert done.stdout.splitlines()[0] == ",".join(offered)
