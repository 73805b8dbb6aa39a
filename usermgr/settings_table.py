"""The settings: the variables that give them, in order of precedence, defaults and meaning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from usermgr.hash_limits import DEFAULT_COSTS
from usermgr.setting_values import OUTPUT_FORMATS

DEFAULT_DATABASE_URL: Final = "sqlite:///usermgr.db"


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
        "users that one command may change without asking; 0 means that it asks for every one",
    ),
    Setting(
        "password_blocklist",
        ("USERMGR_PASSWORD_BLOCKLIST",),
        None,
        "a file of passwords that nobody may use, one a line, in any case; unset means none",
    ),
    Setting(
        "argon2_memory",
        ("USERMGR_ARGON2_MEMORY",),
        str(DEFAULT_COSTS.memory),
        "KiB of memory for a new password hash; see docs/passwords.md",
    ),
    Setting(
        "argon2_passes",
        ("USERMGR_ARGON2_PASSES",),
        str(DEFAULT_COSTS.passes),
        "passes over that memory",
    ),
    Setting(
        "argon2_lanes",
        ("USERMGR_ARGON2_LANES",),
        str(DEFAULT_COSTS.lanes),
        "threads that one password hash is made with",
    ),
    Setting(
        "http_body_max",
        ("USERMGR_HTTP_BODY_MAX",),
        "1048576",
        "bytes that the body of a request to usermgr serve may have; imports may have more",
    ),
    Setting(
        "http_client_timeout",
        ("USERMGR_HTTP_CLIENT_TIMEOUT",),
        "30",
        "seconds that a client may take to send a request, or to take a part of the answer; "
        "0 means no limit",
    ),
    Setting(
        "http_requests",
        ("USERMGR_HTTP_REQUESTS",),
        "100",
        "requests that one process of usermgr serve works on at once; more are answered with 503",
    ),
    Setting(
        "http_rate",
        ("USERMGR_HTTP_RATE",),
        "200",
        "requests a second that each token may make of one process; more are answered with 429; "
        "0 means no limit",
    ),
    Setting(
        "http_hashes_waiting",
        ("USERMGR_HTTP_HASHES_WAITING",),
        "32",
        "requests that may wait until a core is free to hash a password; more are answered "
        "with 503",
    ),
    Setting(
        "http_require_match",
        ("USERMGR_HTTP_REQUIRE_MATCH",),
        "0",
        "1: PUT, PATCH and DELETE must say by If-Match which version they mean, or are answered "
        "with 428",
    ),
    Setting(
        "http_cors_origins",
        ("USERMGR_HTTP_CORS_ORIGINS",),
        None,
        "origins whose pages may call usermgr serve, with commas between; unset means none",
    ),
)
