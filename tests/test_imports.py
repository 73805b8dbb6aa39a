"""What a run of the program imports: a short command must not pay for what it does not use.

Each run is a process of its own; the interpreter itself reports what it imported.
"""

from __future__ import annotations

import pkgutil
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

import usermgr
from tests.support.commands import Command, process_environment

NEVER_FOR_HELP = {
    "alembic",
    "argon2",
    "bcrypt",
    "cryptography",
    "dotenv",
    "email_validator",
    "faker",
    "fastapi",
    "passlib",
    "psycopg2",
    "pydantic",
    "sqlalchemy",
    "starlette",
    "uvicorn",
    "yaml",
}
NEVER_FOR_SHOW = {
    "alembic",
    "argon2",
    "bcrypt",
    "cryptography",
    "email_validator",
    "faker",
    "fastapi",
    "passlib",
    "pydantic",
    "sqlalchemy.orm",
    "starlette",
    "uvicorn",
    "yaml",
}
SHORT_COMMANDS = [
    ["--help"],
    ["--version"],
    ["help", "exit-codes"],
    ["user", "--help"],
    ["user", "create", "--help"],
    ["serve", "--help"],
]
LINES_TO_COMPLETE = ["usermgr ", "usermgr us", "usermgr user ", "usermgr user list --"]
IMPORTED = re.compile(r"^import time: +\d+ \| +\d+ \| *(\S+)$", re.MULTILINE)
MODULES = [
    module.name
    for module in pkgutil.walk_packages(usermgr.__path__, "usermgr.")
    if module.name != "usermgr.__main__"
]

# What modules may not do while they are imported: settings, connections and engines are made by the
# command that needs them. The audit hook sees files that are opened for writing and sockets.
_IMPORT_ALL = """
import sys

def refuse(event, arguments):
    writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    if writes or event in ("sqlite3.connect", "socket.connect", "os.mkdir"):
        print(f"{name}: {event} {arguments}", file=sys.stderr)
        raise SystemExit(3)

import importlib
sys.addaudithook(refuse)
for name in sys.argv[1:]:
    importlib.import_module(name)
made = [
    name
    for module_name, module in list(sys.modules.items())
    if module_name.startswith("usermgr")
    for name, value in vars(module).items()
    if type(value).__name__ in ("Engine", "Connection", "Database", "Settings", "Console")
]
print(",".join(made), end="")
"""


def test_short_commands_are_really_run():
    _, done = _run(["--version"])

    assert done.stdout == f"usermgr {usermgr.__version__}\n"


@pytest.mark.parametrize("argv", SHORT_COMMANDS, ids=" ".join)
def test_help_imports_no_database_and_no_other_heavy_library(argv: list[str]):
    imported, done = _run(argv)

    assert done.returncode == 0
    assert done.stdout
    assert imported & NEVER_FOR_HELP == set()


@pytest.mark.parametrize("line", LINES_TO_COMPLETE)
def test_completing_commands_and_options_imports_no_database(line: str):
    words = line.split(" ")
    # The script that Typer gives to bash hands the words over line by line.
    completion = {
        "_USERMGR_COMPLETE": "complete_bash",
        "COMP_WORDS": "\n".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }

    imported, done = _run([], completion)

    assert done.returncode == 0
    completed = done.stdout.split()
    assert completed
    assert all(word.startswith(words[-1]) for word in completed)
    assert imported & NEVER_FOR_HELP == set()


def test_showing_a_user_imports_the_database_and_little_else(cli: Command, database_url: str):
    cli("role", "create", "editor")
    cli("user", "create", "--name", "Ada", "--email", "ada@example.org", "--role", "editor")

    imported, done = _run(
        ["user", "show", "ada@example.org"], {"USERMGR_DATABASE_URL": database_url}
    )

    assert done.returncode == 0
    assert "ada@example.org" in done.stdout
    assert "sqlalchemy" in imported
    assert imported & NEVER_FOR_SHOW == set()


def test_sqlite_needs_no_postgresql_driver(migrated_sqlite_url: str):
    imported, done = _run(["role", "list"], {"USERMGR_DATABASE_URL": migrated_sqlite_url})

    assert done.returncode == 0
    assert imported & {"psycopg2", "psycopg"} == set()


def test_importing_creates_nothing(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-B", "-c", _IMPORT_ALL, *MODULES],
        capture_output=True,
        text=True,
        env=process_environment(),
        cwd=tmp_path,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


def _run(
    argv: list[str], env: Mapping[str, str] | None = None
) -> tuple[set[str], subprocess.CompletedProcess[str]]:
    """The modules that a run imported, and the run itself."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "usermgr", *argv],
        capture_output=True,
        text=True,
        env={**process_environment(), **(env or {})},
        check=False,
    )
    return set(IMPORTED.findall(done.stderr)), done
