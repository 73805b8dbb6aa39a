"""The text of a setting -> its value; what is not acceptable is named with where it came from."""

from __future__ import annotations

import re
from typing import Any, Final

from usermgr.errors import InvalidInput
from usermgr.urls import normalise_database_url

OUTPUT_FORMATS: Final = ("table", "tsv", "csv", "json", "jsonl", "yaml")


def parse_setting(name: str, text: str | None, source: str) -> Any:
    """The value of a setting. Raises InvalidInput."""
    if name == "database_url":
        return normalise_database_url(text or "", source=source)
    if name == "output":
        return _parse_output(text, source)
    if name in _NUMBERS:
        return _parse_number(name, text or "", source)
    if name.endswith("_timeout"):
        return _parse_seconds(text or "", source)
    if name == "db_schema":
        return _parse_schema(text, source)
    if name == "http_cors_origins":
        return _parse_origins(text, source)
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


def _parse_origins(text: str | None, source: str) -> tuple[str, ...]:
    origins = tuple(part.strip() for part in (text or "").split(",") if part.strip())
    for origin in origins:
        # RFC 6454, section 6.2: a scheme, a host in lower case, and a port where it is unusual.
        if not re.fullmatch(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?", origin):
            raise InvalidInput(
                f'"{ascii(origin)[1:-1]}" ({source}) is not an origin',
                hint="write https://host or http://host:port, without a path; there is no *",
            )
    return origins


def _parse_seconds(text: str, source: str) -> float:
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,3})?", text):
        raise InvalidInput(
            f'"{text}" ({source}) is not a number of seconds', hint="write a number such as 10"
        )
    return float(text)


_NUMBERS: Final = {
    # The least, the most, and what it is called.
    "password_min_length": (8, 1024, "a password length"),
    "retention_days": (0, 36_500, "a number of days"),
    "confirm_above": (0, 999_999_999, "a number of users"),
    "argon2_memory": (1, 262_144, "a memory size in KiB"),
    "argon2_passes": (1, 1000, "a number of passes"),
    "argon2_lanes": (1, 64, "a number of lanes"),
    "http_body_max": (1024, 268_435_456, "a number of bytes"),
    "http_requests": (1, 100_000, "a number of requests"),
    "http_rate": (0, 1_000_000, "a number of requests"),
    "http_require_match": (0, 1, "0 or 1"),
    "http_hashes_waiting": (0, 10_000, "a number of requests"),
}


def _parse_number(name: str, text: str, source: str) -> int:
    least, most, what = _NUMBERS[name]
    if not re.fullmatch(r"[0-9]{1,9}", text) or not least <= int(text) <= most:
        raise InvalidInput(
            f'"{text}" ({source}) is not {what}',
            hint=f"write a whole number from {least} to {most}",
        )
    return int(text)
