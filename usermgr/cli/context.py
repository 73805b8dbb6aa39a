"""AppContext: everything of the outside world that a command uses, made when it is first used."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import typer

from usermgr.cli.output import Output
from usermgr.cli.prompts import Prompts
from usermgr.cli.views import view_of
from usermgr.config import Settings, load_settings
from usermgr.errors import Cancelled, InvalidInput
from usermgr.names import visible
from usermgr.setting_values import OUTPUT_FORMATS
from usermgr.urls import url_has_password

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from usermgr.db.engine import Database, Operation

_CI_JOBS = (
    ("GITHUB_RUN_ID", "github", "GITHUB_REPOSITORY"),
    ("CI_JOB_ID", "gitlab", "CI_PROJECT_PATH"),
    ("BUILD_TAG", "jenkins", "JOB_NAME"),
)


class AppContext:
    """One run of the program. ``flags`` holds the global options that were given."""

    def __init__(
        self, environ: Mapping[str, str], stdin: TextIO, stdout: TextIO, stderr: TextIO
    ) -> None:
        self.environ = environ
        self.stdin, self.stdout, self.stderr = stdin, stdout, stderr
        self.flags: dict[str, str] = {}
        self._settings: Settings | None = None
        self._settings_failed = False
        self._output: Output | None = None
        self._database: Database | None = None

    @property
    def settings(self) -> Settings:
        """The settings of this run. Raises InvalidInput for one that is not acceptable."""
        if self._settings is None:
            self._settings_failed = True  # a pipe in the place of .env can be read once
            env_file = self.flags.get("env_file")
            if env_file == "":
                raise InvalidInput(
                    "the name of --env-file is empty", hint="a variable of the shell may be unset"
                )
            self._settings = load_settings(
                flags=self.flags,
                environ=self.environ,
                env_file=None if env_file is None else Path(env_file),
            )
            self._settings_failed = False
        return self._settings

    @property
    def output(self) -> Output:
        """The writer, in the format that flag, environment or ``.env`` chose."""
        if self._output is None:
            self._output = Output(
                self.stdout,
                self.stderr,
                format_name=self.settings.output,
                wanted_fields=self.flags.get("fields"),
                quiet="quiet" in self.flags,
            )
        return self._output

    @property
    def prompts(self) -> Prompts:
        """Questions to the person, and passwords from them."""
        return Prompts(self.stdin, self.output.ask, assume_yes="yes" in self.flags)

    @property
    def raw_database(self) -> Database:
        """The database as it is, without looking at its schema: for schema and config commands."""
        if self._database is None:
            from usermgr.db.engine import Database

            self._database = Database(self.settings)
            if url_has_password(self.flags.get("database_url", "")):
                self.output.note(
                    "note: a password in --database-url is visible to everybody on this machine; "
                    "USERMGR_DATABASE_URL or PGPASSWORD are not"
                )
        return self._database

    @property
    def database(self) -> Database:
        """The database. The embedded default is created at first use, with a note."""
        database = self.raw_database
        if self.settings.is_embedded_default and not _has_content(database):
            from usermgr.db.schema import initialise_embedded

            if initialise_embedded(database):
                self.output.note(
                    f"note: created {database.description} in the working directory; "
                    "set USERMGR_DATABASE_URL to use another database"
                )
        return database

    @contextlib.contextmanager
    def read(self, *, shows: type[Any]) -> Iterator[Connection]:
        """A read-only transaction for a command that shows records of the type ``shows``."""
        self.output.check_fields(view_of(shows))
        with self.database.read() as connection:
            yield connection

    @contextlib.contextmanager
    def operation(
        self,
        ctx: typer.Context,
        *,
        shows: type[Any],
        optional: Sequence[str] = (),
        dry_run: bool = False,
    ) -> Iterator[Operation]:
        """The operation of the command that is running.

        ``shows`` is the type of the record it shows afterwards: a wrong field name is found before
        anything is changed.
        """
        self.output.check_fields(view_of(shows, optional=optional))
        with self.database.operation(_command(ctx), self.actor, dry_run=dry_run) as op:
            yield op

    @contextlib.contextmanager
    def operation_beside(self, ctx: typer.Context) -> Iterator[Operation]:
        """An operation beside what the command is for: it waits a second for locks, not more."""
        from usermgr.db.engine import Database

        wait = min(self.settings.lock_timeout or 1.0, 1.0)
        database = Database(replace(self.settings, lock_timeout=wait))
        with database.operation(_command(ctx), self.actor) as op:
            yield op

    @property
    def may_be_stored(self) -> bool:
        """Whether an operation of this run was committed, as far as anybody knows."""
        database = self._database
        return database is not None and (database.outcome_is_unknown or database.stored is not None)

    def interrupted(self) -> Cancelled:
        """The error of Ctrl-C: what was committed before it stays."""
        stored = self._database.stored if self._database is not None else None
        if stored is None:
            return Cancelled("interrupted; what was not committed is undone")
        return Cancelled(
            "interrupted after the change was stored",
            hint=f"look at it with: usermgr operation show {stored}",
        )

    @property
    def actor(self) -> str:
        """Who is recorded: the setting, the CI job, or the operating-system user.

        Their names may hold any bytes; what is no text is recorded in an escaped form.
        """
        return self.settings.actor or visible(self._job_or_user(), 200)

    def _job_or_user(self) -> str:
        for variable, service, project in _CI_JOBS:
            if self.environ.get(variable):
                where = self.environ.get(project, "")
                return f"{service}:{where}#{self.environ[variable]}"
        user = _system_user()
        behind = self.environ.get("SUDO_USER")
        return f"{behind} (as {user})" if behind and behind != user else user

    def error_format_is_json(self) -> bool:
        """Whether errors are printed as JSON; answers even when the settings cannot be read."""
        chosen = self.flags.get("output") or self.environ.get("USERMGR_OUTPUT", "")
        if chosen not in OUTPUT_FORMATS and not self._settings_failed:
            with contextlib.suppress(InvalidInput):
                chosen = self.settings.output or ""
        return chosen in ("json", "jsonl")


def _command(ctx: typer.Context) -> str:
    return ctx.command_path.partition(" ")[2]


def _system_user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        import os

        return f"uid {os.getuid()}"


def _has_content(database: Database) -> bool:
    from usermgr.urls import sqlite_path

    path = sqlite_path(database.url)
    return path.exists() and path.stat().st_size > 0


def app_of(ctx: typer.Context) -> AppContext:
    """The AppContext of a running command."""
    app: AppContext = ctx.obj
    return app
