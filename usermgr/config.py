"""Settings: flag > environment > ``.env`` > default. ``settings_table`` knows every variable.

``load_settings`` is pure: it takes the flags and the environment it shall look at, so that tests
and the HTTP face build settings by hand.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from usermgr.errors import InvalidInput
from usermgr.hash_limits import DEFAULT_COSTS, Argon2Costs
from usermgr.setting_values import parse_setting
from usermgr.settings_table import DEFAULT_DATABASE_URL, SETTINGS, Setting
from usermgr.urls import mask_url

if TYPE_CHECKING:
    from usermgr.blocklist import Blocklist

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
    password_blocklist: str | None = None
    argon2_memory: int = DEFAULT_COSTS.memory
    argon2_passes: int = DEFAULT_COSTS.passes
    argon2_lanes: int = DEFAULT_COSTS.lanes
    http_body_max: int = 1024 * 1024
    http_client_timeout: float = 30.0
    http_requests: int = 100
    http_rate: int = 200
    http_hashes_waiting: int = 32
    http_require_match: int = 0
    http_cors_origins: tuple[str, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    libpq: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def is_embedded_default(self) -> bool:
        """Whether nobody chose a database, so that the embedded one is used and initialised."""
        return self.sources.get("database_url", "default") == "default"

    @property
    def hash_costs(self) -> Argon2Costs:
        """The parameters of new password hashes."""
        return Argon2Costs(self.argon2_memory, self.argon2_passes, self.argon2_lanes)

    @property
    def blocklist(self) -> Blocklist | None:
        """The passwords that nobody may use; the file is read when it is needed."""
        if self.password_blocklist is None:
            return None
        from usermgr.blocklist import Blocklist

        return Blocklist(Path(self.password_blocklist), min_length=self.password_min_length)


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
        values[setting.name] = parse_setting(setting.name, text, source)
        sources[setting.name] = source
    libpq = {
        keyword: dotenv[variable]
        for variable, keyword in LIBPQ_VARIABLES.items()
        if dotenv.get(variable) and not environ.get(variable)
    }
    settings = replace(Settings(), **values, sources=sources, libpq=libpq)
    _require_safe_hashes(settings)
    return settings


def _require_safe_hashes(settings: Settings) -> None:
    if problem := settings.hash_costs.problem():
        names = ("argon2_memory", "argon2_passes", "argon2_lanes")
        sources = dict.fromkeys(settings.sources[name] for name in names)
        raise InvalidInput(
            f"the password hash {problem} ({', '.join(sources)})",
            hint=f"unset them: the defaults are {DEFAULT_COSTS}",
        )


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


def render_settings(settings: Settings) -> list[tuple[str, str | None, str, str]]:
    """Every setting as (name, value with passwords masked, source, meaning)."""
    rows = []
    for setting in SETTINGS:
        value = getattr(settings, setting.name)
        text = None if value in (None, ()) else _text(value)
        if setting.name == "database_url" and text is not None:
            text = mask_url(text)
        rows.append(
            (setting.name, text, settings.sources.get(setting.name, "default"), setting.meaning)
        )
    return rows


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(value)
    return f"{value:g}" if isinstance(value, float) else str(value)
