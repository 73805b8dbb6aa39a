"""Database URLs: the one form the program knows, and what of them may be shown."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from usermgr.errors import InvalidInput

MASK: Final = "***"


def normalise_database_url(text: str, *, source: str = "database URL") -> str:
    """The URL in the one form the rest of the program knows.

    ``postgres://`` and ``postgresql://`` become ``postgresql+psycopg2://``: SQLAlchemy 2.1 would
    choose psycopg 3 for the second and refuses the first. Raises InvalidInput for anything else
    than PostgreSQL and a SQLite file; the message never holds a password.
    """
    scheme, separator, rest = text.partition("://")
    if scheme in ("postgres", "postgresql", "postgresql+psycopg2") and separator:
        return _checked_postgresql_url("postgresql+psycopg2://" + rest, source)
    if scheme == "sqlite" and separator:
        path = rest[1:].partition("?")[0]
        if not path or path == ":memory:":
            raise InvalidInput(
                f'the database URL "{text}" ({source}) names no file',
                hint="write sqlite:///path/to/file.db; a database in memory ends with the command",
            )
        if "?" in rest or not rest.startswith("/"):
            raise InvalidInput(
                f'the database URL "{text}" ({source}) is not a SQLite file',
                hint="write sqlite:///relative/file.db or sqlite:////absolute/file.db",
            )
        return text
    # What is no URL may be a password, or hold one where nobody would look for it.
    told = f' "{mask_url(text)}"' if separator or re.fullmatch(r"[\w./-]+", text) else ""
    raise InvalidInput(
        f"the database URL{told} ({source}) is not understood",
        hint="write postgresql://user@host:port/database or sqlite:///path/to/file.db",
    )


def _checked_postgresql_url(url: str, source: str) -> str:
    if not url.isprintable():
        raise InvalidInput(
            f"the database URL ({source}) contains a character that is not printable",
            hint="write it on one line, and percent-encode special characters",
        )
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise InvalidInput(
            f'the database URL "{mask_url(url)}" ({source}) has a host or port that is not valid',
            hint="write postgresql://user@host:port/database; "
            "percent-encode special characters in the password (@ is %40, / is %2F)",
        ) from error
    if parts.fragment:
        raise InvalidInput(
            f'the database URL ({source}) contains "#", which ends a URL',
            hint='percent-encode it in the password: "#" is %23',
        )
    if not _is_unambiguous(parts.netloc, url):
        raise InvalidInput(
            f'the database URL "{mask_url(url)}" ({source}) can be read in two ways',
            hint="percent-encode special characters in user, password and options "
            "(@ is %40, / is %2F, ? is %3F)",
        )
    return url


def _is_unambiguous(authority: str, url: str) -> bool:
    """Whether all readers take the same part of the URL for the password.

    SQLAlchemy ends a password at the first ``@``, wherever it stands, RFC 3986 at the last one
    before ``/`` or ``?``; with two readings, a part of the password is shown as host or database.
    """
    first = re.match(r"[^:/]*(?::[^@]*)?@", url.partition("://")[2])
    return (first[0] if first else "") == authority[: authority.rfind("@") + 1]


def mask_url(url: str) -> str:
    """The URL with its password, wherever it stands, replaced by ``***``."""
    url = re.sub(r"(?i)([?&](?:password|sslpassword|passfile)=)[^&#]*", rf"\1{MASK}", url)
    return re.sub(r"(://[^:@/?#]*):(?!\*\*\*@).*@", rf"\1:{MASK}@", url)


def url_has_password(url: str) -> bool:
    """Whether the URL itself holds a password."""
    return mask_url(url) != url


def describe_database(url: str) -> str:
    """The database in short, without user and password, for messages: host, port and name."""
    if url.startswith("sqlite:"):
        return url
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    host = parts.hostname or query.get("host") or os.environ.get("PGHOST") or "local socket"
    name = unquote(parts.path[1:]) or query.get("dbname") or os.environ.get("PGDATABASE") or ""
    port = f":{parts.port}" if parts.port else ""
    if host.startswith("/"):
        return f"postgresql:///{name}?host={host}"
    return f"postgresql://{host}{port}/{name}"


def sqlite_path(url: str) -> Path:
    """The file of a ``sqlite:///`` URL."""
    return Path(url.removeprefix("sqlite:///"))
