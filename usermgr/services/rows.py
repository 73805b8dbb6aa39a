"""Rows of a file -> users that may be stored: checked and brought into canonical form, by columns.

A column is looked at as a whole first, which costs a few passes in C; only when something is
unusual in it, its values are looked at one by one. A row with a bad value becomes a ``Problem`` and
leaves all columns.
"""

from __future__ import annotations

import difflib
import functools
import itertools
import re
import shlex
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, Final

from usermgr import hashes, passwords
from usermgr.blocklist import Blocklist
from usermgr.emails import canonical_email, canonical_plain_emails
from usermgr.errors import InvalidInput
from usermgr.formats.readers import Chunk, Problem
from usermgr.formats.writers import split_list
from usermgr.hash_limits import DEFAULT_COSTS, Argon2Costs
from usermgr.names import MAX_ID, NAME_MAX_LENGTH, canonical_name, parse_id, require_text, visible

FIELDS: Final = (
    "name",
    "email",
    "role",
    "claims",
    "active",
    "password_hash",
    "password",
    "created_at",
)
"""What an import reads of a user; ``id`` as well where ids are to be kept."""


def row_fields(*, with_ids: bool) -> tuple[str, ...]:
    """What an import reads of a user, with ids or without."""
    return ("id", *FIELDS) if with_ids else FIELDS


@dataclass(frozen=True, slots=True)
class RowRules:
    """How rows are read.

    ``mapping`` is from field to column. ``may_lack`` holds which of name and role may be missing,
    because rows may stand for users that are stored already, or there is a default role for new
    ones. ``unescape`` takes back what ``--safe`` exports did.
    ``with_ids`` reads the field ``id`` too, and requires it. ``blocklist`` holds for plain
    passwords, which are hashed with ``costs``.
    """

    password_min_length: int
    blocklist: Blocklist | None = None
    costs: Argon2Costs = DEFAULT_COSTS
    mapping: Mapping[str, str] = field(default_factory=dict)
    ignored: frozenset[str] = frozenset()
    may_lack: frozenset[str] = frozenset()
    unescape: bool = False
    with_ids: bool = False

    @property
    def fields(self) -> tuple[str, ...]:
        """What is read of a user."""
        return row_fields(with_ids=self.with_ids)

    @property
    def needed(self) -> tuple[str, ...]:
        """The columns without which no row could be stored."""
        needed = ("id", "email") if self.with_ids else ("email",)
        return (*needed, *(name for name in ("name", "role") if name not in self.may_lack))


@dataclass(slots=True)
class Rows:
    """Users as columns of equal length, ready to be stored, and what was refused.

    ``numbers`` tell rows apart, ``lines`` are for people; see ``Chunk``.
    ``roles`` and the items of ``claims`` are names or ids, not resolved yet. None means "leave
    alone" where the user exists. ``secrets`` are plain passwords in NFC, ``hashes`` what is stored;
    a row has one of them or none. ``ids`` are None throughout unless they are to be kept.
    """

    numbers: Sequence[int]
    lines: Sequence[int]
    emails: Sequence[str]
    names: Sequence[str | None]
    roles: Sequence[str | None]
    claims: Sequence[tuple[str, ...] | None]
    active: Sequence[bool | None]
    created_at: Sequence[datetime | None]
    hashes: Sequence[str | None]
    secrets: Sequence[str | None]
    ids: Sequence[int | None]
    problems: list[Problem] = field(default_factory=list)

    def without(self, bad: Mapping[int, Problem]) -> Rows:
        """The rows but those at the positions of ``bad``, which join the problems."""
        if not bad:
            return self
        rows = self.at([p for p in range(len(self.lines)) if p not in bad])
        rows.problems += [bad[position] for position in sorted(bad)]
        return rows

    @classmethod
    def joined(cls, several: Sequence[Rows]) -> Rows:
        """The rows of all of them, in their order."""
        if len(several) == 1:
            return several[0]
        columns = zip(*(rows._columns() for rows in several), strict=True)
        problems = [problem for rows in several for problem in rows.problems]
        return cls._of(map(_chained, columns), problems)

    def at(self, positions: list[int]) -> Rows:
        """The rows at these positions, in their order, with the same problems."""
        picked = (_pick(column, positions) for column in self._columns())
        return self._of(picked, [*self.problems])

    @classmethod
    def _of(cls, columns: Iterable[Any], problems: list[Problem]) -> Rows:
        made: Callable[..., Rows] = cls
        return made(*columns, problems)

    def _columns(self) -> list[Sequence[Any]]:
        return [getattr(self, f.name) for f in fields(self) if f.name != "problems"]


def _chained(parts: Iterable[Sequence[Any]]) -> Any:
    return list(itertools.chain.from_iterable(parts))


def _pick(column: Sequence[Any], positions: list[int]) -> Any:
    return list(map(column.__getitem__, positions))


def prepare(chunks: Iterable[Chunk], rules: RowRules) -> Iterator[Rows]:
    """The users of the chunks. Raises InvalidInput for columns that are unknown or missing.

    Missing is a column that none of the first rows has. Objects further down may lack it.
    """
    required = True
    for chunk in chunks:
        columns = _known_columns(chunk.columns, rules, required=required)
        required = required and not columns
        yield _Checker(chunk, columns, rules).rows(chunk.problems)


_REJECT_COLUMNS: Final = frozenset(("line", "reason"))
"""What a reject file has in addition is passed over, so that it can be fed again."""


def _known_columns(
    found: Mapping[str, Sequence[Any]], rules: RowRules, *, required: bool
) -> dict[str, Sequence[Any]]:
    renamed = {column: name for name, column in rules.mapping.items()}
    required = required and bool(found)
    if required:
        _require_named(found, renamed, "--map")
    known = {*rules.fields, *renamed, *rules.ignored, *_REJECT_COLUMNS}
    if not known.issuperset(found):
        raise _unknown_columns(found, [name for name in found if name not in known], rules)
    if required and not _REJECT_COLUMNS.issubset(found):
        # A reject file has none of the columns that were passed over.
        _require_named(found, rules.ignored, "--ignore-column")
    columns = {c: v for c, v in found.items() if c in rules.fields and c not in rules.ignored}
    columns = {c: v for c, v in columns.items() if c not in rules.mapping}
    columns |= {renamed[column]: found[column] for column in renamed if column in found}
    lacking = next((name for name in rules.needed if name not in columns), None)
    if required and lacking is not None:
        raise InvalidInput(
            f'there is no column "{lacking}"',
            hint=f"name it with --map {lacking}=COLUMN; the columns are {_listed(found)}",
        )
    return columns


def _require_named(found: Iterable[str], named: Iterable[str], option: str) -> None:
    missing = sorted(set(named).difference(found))
    if missing:
        raise InvalidInput(
            f'there is no column "{visible(missing[0])}", which {option} names',
            hint=f"the columns are {_listed(found)}",
        )


def _listed(names: Iterable[str]) -> str:
    shown = list(map(visible, names))
    more = len(shown) - LISTED
    return ", ".join(shown[:LISTED]) + (f" and {more} more" if more > 0 else "")


def _unknown_columns(found: Mapping[str, Any], unknown: list[str], rules: RowRules) -> InvalidInput:
    quoted = _listed(f'"{name}"' for name in unknown)
    what = "unknown column" if len(unknown) == 1 else "unknown columns"
    return InvalidInput(f"{what} {quoted}", hint=_advice(list(found), unknown, rules))


def _advice(found: list[str], unknown: list[str], rules: RowRules) -> str:
    first = found[0]
    if len(found) == 1:
        # Of several characters that may part cells the rarest in names comes first.
        for character, words in _SEPARATORS.items():
            if character in first:
                return f"it seems to be separated by {words}"
    if "id" in unknown:
        return "keep the ids in an empty database with --with-ids, or pass --ignore-column id"
    missing = [name for name in rules.fields if name not in found and name not in rules.mapping]
    similar = {name: meant for name in unknown if (meant := _field_meant(name, missing))}
    if similar:
        options = " ".join(
            f"--map {shlex.quote(f'{name}={visible(column)}')}" for column, name in similar.items()
        )
        return f"did you mean {_listed(dict.fromkeys(similar.values()))}? pass {options}"
    return (
        f"the fields are {', '.join(rules.fields)}; read it with --map FIELD=COLUMN, "
        "or pass over it with --ignore-column"
    )


def _field_meant(column: str, fields: Sequence[str]) -> str | None:
    """The field that is spelt nearly like the column."""
    plain = re.sub(r"[\W_]+", "_", column.casefold()).strip("_")
    return next(iter(difflib.get_close_matches(plain, fields, 1, 0.75)), None)


LISTED: Final = 10
"""How many names of columns a message lists."""

_SEPARATORS: Final = {
    "\t": "tabs: pass --format tsv",
    "|": "|: pass --format csv --delimiter '|'",
    ";": "semicolons: pass --format csv",
    ",": "commas: pass --format csv",
}


class _Checker:
    """Checks one chunk; ``bad`` collects the first problem of each row, by position."""

    def __init__(self, chunk: Chunk, columns: Mapping[str, Sequence[Any]], rules: RowRules) -> None:
        self._numbers, self._lines = chunk.numbers, chunk.lines
        self._columns, self._rules = columns, rules
        self._bad: dict[int, Problem] = {}

    def rows(self, problems: list[Problem]) -> Rows:
        """The rows of the chunk without the bad ones, which join the problems that are known."""
        emails, names = self._emails(), self._names()
        rows = Rows(
            self._numbers,
            self._lines,
            emails,
            names,
            self._roles(),
            self._claims(),
            self._each("active", _parse_active),
            self._each("created_at", _parse_created_at),
            self._hashes(),
            self._secrets(names, emails),
            self._ids(),
            list(problems),
        )
        if "password" in self._columns and "password_hash" in self._columns:
            self._require_one_password(rows)
        return rows.without(self._bad)

    def _require_one_password(self, rows: Rows) -> None:
        for position, (stored, secret) in enumerate(zip(rows.hashes, rows.secrets, strict=True)):
            if stored is not None and secret is not None:
                reason = "it has a password and a password_hash: leave one of them out"
                self._refuse(position, "two_passwords", reason)

    def _refuse(self, position: int, code: str, reason: str) -> None:
        if position not in self._bad:
            number, line = self._numbers[position], self._lines[position]
            self._bad[position] = Problem(number, line, code, reason)

    def _texts(self, name: str) -> Sequence[str]:
        """The column as text; what is missing or empty is ``""``."""
        values = self._columns.get(name)
        if values is None:
            return [""] * len(self._lines)
        if set(map(type, values)) <= {str}:
            texts = values
        else:
            texts = [self._text(position, name, value) for position, value in enumerate(values)]
        if self._rules.unescape:
            texts = [unescape_formula(text) for text in texts]
        return texts

    def _text(self, position: int, name: str, value: Any) -> str:
        if value is None or isinstance(value, str):
            return value or ""
        if name == "role" and type(value) is int:
            return str(value)
        self._refuse(position, f"invalid_{name}", f"the {name} is no text")
        return ""

    def _emails(self) -> Sequence[str]:
        texts = self._texts("email")
        return canonical_plain_emails(texts) or [
            self._parsed(position, "email", text, _require_email) or ""
            for position, text in enumerate(texts)
        ]

    def _names(self) -> Sequence[str | None]:
        texts = self._texts("name")
        joined = " ".join(texts)
        if (
            joined.isprintable()
            and all(texts)
            and max(map(len, texts), default=0) <= NAME_MAX_LENGTH
            and unicodedata.is_normalized("NFC", joined)
            and list(map(str.strip, texts)) == list(texts)
        ):
            return texts
        return [
            self._parsed(position, "name", text, lambda text: canonical_name(text, "user name"))
            if text.strip()
            else self._lacking(position, "name")
            for position, text in enumerate(texts)
        ]

    def _roles(self) -> Sequence[str | None]:
        texts = self._texts("role")
        known = {text: text.strip() or None for text in set(texts)}
        roles = [known[text] for text in texts]
        if None in known.values() and "role" not in self._rules.may_lack:
            for position, role in enumerate(roles):
                if role is None:
                    self._lacking(position, "role")
        return roles

    def _lacking(self, position: int, name: str) -> str | None:
        if name not in self._rules.may_lack:
            self._refuse(position, f"missing_{name}", f"the {name} is missing")
        return None

    def _claims(self) -> Sequence[tuple[str, ...] | None]:
        values = self._columns.get("claims")
        if values is None:
            return [None] * len(self._lines)
        if set(map(type, values)) == {str}:
            undo = unescape_formula if self._rules.unescape else str
            known = {text: _split_claims(undo(text)) for text in set(values)}
            return [known[text] for text in values]
        return [self._parsed(p, "claims", value, _parse_claims) for p, value in enumerate(values)]

    def _each(self, name: str, parse: Callable[[Any], Any]) -> Sequence[Any]:
        """A column whose values are looked at one by one; few of them differ."""
        values = self._columns.get(name)
        if values is None:
            return [None] * len(self._lines)
        if set(map(type, values)) == {str}:
            try:
                known = {text: parse(text) for text in set(values)}
                return [known[text] for text in values]
            except InvalidInput:
                pass
        return [self._parsed(p, name, value, parse) for p, value in enumerate(values)]

    def _parsed(self, position: int, name: str, value: Any, parse: Callable[[Any], Any]) -> Any:
        try:
            return parse(value)
        except InvalidInput as error:
            told = error.hint is not None and name != "password"
            reason = f"{error.message} ({error.hint})" if told else error.message
            if isinstance(value, str) and name != "password":
                reason = undecoded(name, value) or reason
            self._refuse(position, f"invalid_{name}", reason)
            return None

    def _hashes(self) -> Sequence[str | None]:
        if "password_hash" not in self._columns:
            return [None] * len(self._lines)
        texts = self._texts("password_hash")
        given = list(filter(None, texts))
        problems = hashes.find_problems(given) if given else {}
        if len(given) == len(texts) and not problems:
            return texts
        found = []
        for position, text in enumerate(texts):
            problem = hashes.hash_problem(text) if text and problems else None
            if problem:
                self._refuse(position, "invalid_password_hash", problem)
            found.append(text or None)
        return found

    def _ids(self) -> Sequence[int | None]:
        nothing = [None] * len(self._lines)
        if not self._rules.with_ids:
            return nothing
        return [
            self._parsed(position, "id", value, _parse_user_id)
            for position, value in enumerate(self._columns.get("id", nothing))
        ]

    def _secrets(self, names: Sequence[str | None], emails: Sequence[str]) -> Sequence[str | None]:
        if "password" not in self._columns:
            return [None] * len(self._lines)

        def check(text: str) -> str | None:
            minimum = self._rules.password_min_length
            return passwords.check_password(text, min_length=minimum) if text else None

        secrets = [
            self._parsed(position, "password", text, check)
            for position, text in enumerate(self._texts("password"))
        ]
        blocklist = self._rules.blocklist
        blocked = blocklist.find(filter(None, secrets)) if blocklist else ()
        for position, secret in enumerate(secrets):
            if secret is not None and secret in blocked:
                self._refuse(position, "blocked_password", passwords.BLOCKED)
            elif secret is not None:
                own = functools.partial(
                    passwords.refuse_own, name=names[position] or "", email=emails[position]
                )
                self._parsed(position, "password", secret, own)
        return secrets


_BYTE = re.compile("[\udc80-\udcff]")


def undecoded(name: str, text: str) -> str | None:
    """What to say of a text with a byte in it that is no UTF-8, if it has one."""
    byte = _BYTE.search(text)
    if byte is None:
        return None
    shown = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return (
        f'the {name} "{visible(shown)}" has the byte 0x{ord(byte[0]) - 0xDC00:02X}, which is no '
        "UTF-8 (name the encoding of the file with --encoding)"
    )


def _require_email(text: str) -> str:
    if not text.strip():
        raise InvalidInput("the e-mail is missing")
    return canonical_email(text)


_ACTIVE: Final = {
    **dict.fromkeys(("true", "t", "yes", "y", "1"), True),
    **dict.fromkeys(("false", "f", "no", "n", "0"), False),
}


def _parse_active(value: Any) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    text = value.strip() if isinstance(value, str) else str(value)
    if not text:
        return None
    active = _ACTIVE.get(text.lower())
    if active is None:
        raise InvalidInput(f'active is "{visible(text)}"', hint="write true or false")
    return active


def _parse_created_at(value: Any) -> datetime | None:
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        instant = datetime.fromisoformat(value.strip())
        return (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError, AttributeError, TypeError) as error:
        raise InvalidInput(
            f'created_at is "{visible(str(value))}"', hint="write an RFC 3339 time"
        ) from error


def _parse_user_id(value: Any) -> int:
    if value is None or value == "":
        raise InvalidInput("the id is missing")
    text = value.strip() if isinstance(value, str) else str(value)
    number = parse_id(text)
    if number is None or not 0 < number <= MAX_ID:
        raise InvalidInput(f'the id is "{visible(text)}"', hint=f"ids are 1 to {MAX_ID}")
    return number


def _split_claims(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, map(str.strip, split_list(text)))))


def _parse_claims(value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    if isinstance(value, str):
        return _split_claims(value)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(dict.fromkeys(require_text(item.strip(), "claim") for item in value))
    raise InvalidInput("claims is no list of names")


def unescape_formula(text: str) -> str:
    """The text without the apostrophe that ``--safe`` puts before what a spreadsheet would run."""
    return text[1:] if text[:1] == "'" and text[1:2] in FORMULA_STARTS else text


FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", "'")
"""Characters that make a formula of a cell (CWE-1236), and the apostrophe that guards them."""
