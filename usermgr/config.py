"""Settings: flag > environment > ``.env`` > default; the one place that knows every variable.

``load_settings`` is pure: it takes the flags and the environment it shall look at, so that tests
and the HTTP face build settings by hand.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from usermgr.errors import InvalidInput
from usermgr.urls import mask_url, normalise_database_url

DEFAULT_DATABASE_URL: Final = "sqlite:///usermgr.db"
OUTPUT_FORMATS: Final = ("table", "tsv", "csv", "json", "jsonl", "yaml")

LIBPQ_VARIABLES: Final = {
    "PGHOST": "host",
    "PGHOSTADDR": "hostaddr",
    "PGPORT": "port",
    "PGDATABASE": "dbname",
    "PGUSER": "user",
    "PGPASSWORD": "password",
    "PGPASSFILE": "passfile",
    "PGSERVICE": "service",
    "PGSSLMODE": "sslmode",
    "PGSSLROOTCERT": "sslrootcert",
    "PGSSLCERT": "sslcert",
    "PGSSLKEY": "sslkey",
    "PGCHANNELBINDING": "channel_binding",
    "PGGSSENCMODE": "gssencmode",
    "PGTARGETSESSIONATTRS": "target_session_attrs",
}
"""libpq's environment variables that may also stand in ``.env``, with their connection keywords.

Source: PostgreSQL documentation, "libpq: Environment Variables".
"""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its field, its variables in order of precedence, its default and meaning."""

    name: str
    variables: tuple[str, ...]
    default: str | None
    meaning: str
    flag: str | None = None


SETTINGS: Final = (
    Setting(
        "database_url",
        ("USERMGR_DATABASE_URL", "DATABASE_URL"),
        DEFAULT_DATABASE_URL,
        "the database: postgresql://user@host:port/name, or sqlite:///path/to/file.db; "
        "without a URL, libpq's own variables (PGHOST, PGPORT, PGDATABASE, PGUSER, PGSERVICE) "
        "choose PostgreSQL",
        "--database-url",
    ),
    Setting(
        "db_schema",
        ("USERMGR_DB_SCHEMA",),
        None,
        "the PostgreSQL schema that holds the tables; unset means the connection's search path",
    ),
    Setting(
        "output",
        ("USERMGR_OUTPUT",),
        None,
        "output format: " + ", ".join(OUTPUT_FORMATS) + "; unset means table on a terminal, "
        "tsv into a pipe",
        "--output",
    ),
    Setting(
        "actor",
        ("USERMGR_ACTOR",),
        None,
        "who is recorded in the history; unset means the CI job or the operating-system user",
    ),
    Setting(
        "connect_timeout",
        ("USERMGR_CONNECT_TIMEOUT",),
        "10",
        "seconds to wait for a connection to PostgreSQL; 0 means no limit",
    ),
    Setting(
        "statement_timeout",
        ("USERMGR_STATEMENT_TIMEOUT",),
        "60",
        "seconds that one statement may take on PostgreSQL; 0 means no limit",
    ),
    Setting(
        "lock_timeout",
        ("USERMGR_LOCK_TIMEOUT",),
        "10",
        "seconds to wait for a lock that another command holds; 0 means no limit",
    ),
    Setting(
        "password_min_length",
        ("USERMGR_PASSWORD_MIN_LENGTH",),
        "15",
        "characters that a password must have at least (8 or more)",
    ),
    Setting(
        "retention_days",
        ("USERMGR_RETENTION_DAYS",),
        "30",
        "days for which deleted users and replaced password hashes can be brought back",
    ),
    Setting(
        "confirm_above",
        ("USERMGR_CONFIRM_ABOVE",),
        "100",
        "users that a bulk verb or an import may change without asking; 0 means that it asks for "
        "every one",
    ),
)


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one run. Times are seconds, and 0 is no limit.

    ``sources`` maps a name to where it came from. ``libpq`` holds connection keywords
    that ``.env`` gave by libpq's variable names.
    """

    database_url: str = field(default=DEFAULT_DATABASE_URL, repr=False)
    db_schema: str | None = None
    output: str | None = None
    actor: str | None = None
    connect_timeout: float = 10.0
    statement_timeout: float = 60.0
    lock_timeout: float = 10.0
    password_min_length: int = 15
    retention_days: int = 30
    confirm_above: int = 100
    sources: Mapping[str, str] = field(default_factory=dict)
    libpq: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def is_embedded_default(self) -> bool:
        """Whether nobody chose a database, so that the embedded one is used and initialised."""
        return self.sources.get("database_url", "default") == "default"


def load_settings(
    *,
    flags: Mapping[str, str | None] | None = None,
    environ: Mapping[str, str] | None = None,
    env_file: Path | None = None,
) -> Settings:
    """The settings of this run: flag > environment > ``.env`` > default.

    ``env_file`` must exist when it is given, and may be a pipe; without it ``.env`` in the working
    directory is read if it is there. An empty value counts as not set. Raises InvalidInput for a
    value that is not acceptable, naming the value and where it came from.
    """
    flags = flags or {}
    environ = os.environ if environ is None else environ
    dotenv = _read_env_file(env_file)
    dotenv_name = str(env_file or ".env")
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for setting in SETTINGS:
        text, source = _find(setting, flags, environ, dotenv, dotenv_name)
        values[setting.name] = _parse(setting.name, text, source)
        sources[setting.name] = source
    libpq = {
        keyword: dotenv[variable]
        for variable, keyword in LIBPQ_VARIABLES.items()
        if dotenv.get(variable) and not environ.get(variable)
    }
    return replace(Settings(), **values, sources=sources, libpq=libpq)


def _read_env_file(env_file: Path | None) -> dict[str, str]:
    path = env_file or Path(".env")
    if env_file is None and not path.is_file():
        return {}
    from dotenv.parser import parse_stream

    try:
        with path.open(encoding="utf-8-sig") as file:
            bindings = list(parse_stream(file))
    except FileNotFoundError as error:
        raise InvalidInput(
            f'the environment file "{path}" does not exist',
            hint="copy .env.example to that place, or leave --env-file out",
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InvalidInput(f'the environment file "{path}" cannot be read: {reason}') from error
    for binding in bindings:
        if binding.error or "\0" in binding.original.string:
            raise InvalidInput(
                f'line {binding.original.line} of the environment file "{path}" is not understood',
                hint="write NAME=value; put a value with spaces or quotes inside it into quotes",
            )
    return {b.key: b.value for b in bindings if b.key is not None and b.value is not None}


def _find(
    setting: Setting,
    flags: Mapping[str, str | None],
    environ: Mapping[str, str],
    dotenv: Mapping[str, str],
    dotenv_name: str,
) -> tuple[str | None, str]:
    flag = flags.get(setting.name)
    if flag is not None:
        return flag, f"flag {setting.flag}"
    for variable in setting.variables:
        if environ.get(variable):
            return environ[variable], f"environment {variable}"
    for variable in setting.variables:
        if dotenv.get(variable):
            return dotenv[variable], f"{dotenv_name} {variable}"
    if setting.name == "database_url":
        # Whoever sets up libpq means PostgreSQL; a SQLite file would be a surprise.
        for variable in ("PGSERVICE", "PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGUSER"):
            for values, source in ((environ, "environment"), (dotenv, dotenv_name)):
                if values.get(variable):
                    return "postgresql://", f"{source} {variable}"
    return setting.default, "default"


def _parse(name: str, text: str | None, source: str) -> Any:
    if name == "database_url":
        return normalise_database_url(text or "", source=source)
    if name == "output":
        return _parse_output(text, source)
    if name == "password_min_length":
        return _parse_min_length(text or "", source)
    if name in ("confirm_above", "retention_days"):
        return _parse_number(text or "", source)
    if name.endswith("_timeout"):
        return _parse_seconds(text or "", source)
    if name == "db_schema":
        return _parse_schema(text, source)
    if text is not None and not text.isprintable():
        raise InvalidInput(
            f'"{ascii(text)[1:-1]}" ({source}) contains a character that is not printable'
        )
    return text


def _parse_output(text: str | None, source: str) -> str | None:
    if text is not None and text not in OUTPUT_FORMATS:
        raise InvalidInput(
            f'unknown output format "{text}" ({source})',
            hint="the formats are " + ", ".join(OUTPUT_FORMATS),
        )
    return text


def _parse_schema(text: str | None, source: str) -> str | None:
    if text is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_$-]{0,62}", text):
        raise InvalidInput(
            f'"{ascii(text)[1:-1]}" ({source}) is not a schema name usermgr works with',
            hint="use letters, digits, _, $ and -, at most 63, beginning with a letter",
        )
    if text is not None and (text.startswith("pg_") or text == "information_schema"):
        raise InvalidInput(
            f'the schema "{text}" ({source}) is one of PostgreSQL\'s own',
            hint='use another name; those that begin with "pg_" are reserved',
        )
    return text


def _parse_seconds(text: str, source: str) -> float:
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,3})?", text):
        raise InvalidInput(
            f'"{text}" ({source}) is not a number of seconds', hint="write a number such as 10"
        )
    return float(text)


def _parse_min_length(text: str, source: str) -> int:
    if not re.fullmatch(r"[0-9]{1,4}", text) or not 8 <= int(text) <= 1024:
        raise InvalidInput(
            f'"{text}" ({source}) is not a password length',
            hint="write a whole number from 8 to 1024",
        )
    return int(text)


def _parse_number(text: str, source: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise InvalidInput(
            f'"{text}" ({source}) is not a whole number', hint="write a number such as 100"
        )
    return int(text)


def render_settings(settings: Settings) -> list[tuple[str, str | None, str, str]]:
    """Every setting as (name, value with passwords masked, source, meaning)."""
    rows = []
    for setting in SETTINGS:
        value = getattr(settings, setting.name)
        text = None if value is None else _text(value)
        if setting.name == "database_url" and text is not None:
            text = mask_url(text)
        rows.append(
            (setting.name, text, settings.sources.get(setting.name, "default"), setting.meaning)
        )
    return rows


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
