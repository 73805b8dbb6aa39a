"""Database URLs: the one form the program knows, and what of them may be shown."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from usermgr.errors import InvalidInput
from usermgr.names import visible

MASK: Final = "***"
_SQLITE_ENDINGS: Final = ("wal", "shm", "journal")
_HOST = r"^.*?://(?:\[[^\]]*\]|[^:@/?#\[]*)"
_PORT = r"[0-9]{0,5}(?:[,/?#]|$)"
_COMPLETE = re.compile(r"[^:]*://[^@/?#]*@[^@?]*(?:\?[^=@]+=.*)?$")
_SECRET = re.compile(r"(?i)(?:pass|pwd|secret|scram)[^=]*=")


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
        return _checked_sqlite_url(text, source)
    # What is no URL may be a password, or hold one where nobody would look for it.
    known = separator and re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme)
    told = f' "{scheme}://..."' if known else ""
    raise InvalidInput(
        f"the database URL{told} ({source}) is not understood",
        hint="write postgresql://user@host:port/database or sqlite:///path/to/file.db",
    )


def _checked_sqlite_url(url: str, source: str) -> str:
    rest = url.removeprefix("sqlite://")
    path, question_mark, _ = rest.removeprefix("/").partition("?")
    told = visible(mask_url(url.partition("?")[0]), 200)
    if not path or path == ":memory:":
        raise InvalidInput(
            f'the database URL "{told}" ({source}) names no file',
            hint="write sqlite:///path/to/file.db; a database in memory ends with the command",
        )
    if question_mark or not rest.startswith("/") or "\0" in path:
        raise InvalidInput(
            f'the database URL "{told}" ({source}) is not a SQLite file',
            hint="write sqlite:///relative/file.db or sqlite:////absolute/file.db",
        )
    return url


def _checked_postgresql_url(url: str, source: str) -> str:
    if not url.isprintable() or "\0" in unquote(url):
        raise InvalidInput(
            f"the database URL ({source}) contains a character that is not printable",
            hint="write it on one line, and percent-encode special characters other than %00",
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
    """The URL with everything that may be a password, wherever it stands, replaced by ``***``."""
    address, question_mark, options = url.partition("?")
    if not _COMPLETE.match(url):
        # The "?" may be a part of a password that reaches to an "@" of the options.
        address, question_mark, options = _mask_options(url), "", ""
    address = re.sub(r"(://[^:@/?#]*):(?!\*\*\*@).*@", rf"\1:{MASK}@", address)
    # What stands at the place of the port and is none is a password whose "@host" is missing.
    address = re.sub(rf"({_HOST}):(?!{_PORT}|\*\*\*(?:@|$)).+", rf"\1:{MASK}", address)
    return _mask_options(address + question_mark + options)


def _mask_options(text: str) -> str:
    """The URL with the values of secret options masked, before a "?" as well: people forget it."""
    return "&".join(map(_masked_option, text.split("&")))


def _masked_option(option: str) -> str:
    """The ``key=value``; a key may be percent-encoded, and a value may hold further pairs."""
    if _SECRET.search(unquote(option)):
        return f"{option.partition('=')[0]}={MASK}"
    return option


def url_has_password(url: str) -> bool:
    """Whether the URL itself holds a password."""
    return mask_url(url) != url


def describe_database(url: str, libpq: Mapping[str, str] | None = None) -> str:
    """The database in short, without user and password, for messages: host, port and name.

    ``libpq`` holds connection keywords that stand in for what the URL leaves out.
    """
    if url.startswith("sqlite:"):
        return url
    parts = urlsplit(url)
    in_url = {"host": parts.hostname, "port": parts.port, "dbname": unquote(parts.path[1:])}
    given = {
        "host": os.environ.get("PGHOST", ""),
        "port": os.environ.get("PGPORT", ""),
        "dbname": os.environ.get("PGDATABASE", ""),
        **(libpq or {}),
        **{keyword: str(value) for keyword, value in in_url.items() if value},
        **dict(parse_qsl(parts.query)),
    }
    # Who takes PGDATABASE or PGHOST for the place of a whole URL has written a password there.
    host, port, name = (mask_url(given[keyword]) for keyword in ("host", "port", "dbname"))
    host = host or "local socket"
    if host.startswith("/"):
        return visible(f"postgresql:///{name}?host={host}", 200)
    port = f":{port}" if port else ""
    return visible(f"postgresql://{host}{port}/{name}", 200)


def sqlite_path(url: str) -> Path:
    """The file of a ``sqlite:///`` URL."""
    return Path(url.removeprefix("sqlite:///"))


def database_files(url: str) -> dict[str, Path]:
    """The files of a SQLite database by what they are, whether they exist or not; else none."""
    if not url.startswith("sqlite:"):
        return {}
    path = sqlite_path(url)
    beside = {f"a file of the database ({end})": f"{path}-{end}" for end in _SQLITE_ENDINGS}
    return {"the database": path, **{what: Path(name) for what, name in beside.items()}}
