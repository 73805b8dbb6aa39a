"""The canonical form of names, and which texts are refused before they reach a database."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from usermgr.errors import InvalidInput

NAME_MAX_LENGTH = 200
MAX_ID = 2**63 - 1


def visible(text: str, limit: int = 80) -> str:
    """The text for a message: control and format characters escaped, cut at ``limit``."""
    shown = "".join(
        c if c == " " or c.isprintable() else c.encode("unicode_escape").decode("ascii")
        for c in text[: limit + 1]
    )
    return shown[:limit] + "…" if len(shown) > limit else shown


def counted(number: int, noun: str) -> str:
    """The number with its noun, such as "1 user" or "2 users"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def require_text(text: str, what: str) -> str:
    """The text in NFC; refuses control characters and half surrogates (undecodable bytes).

    Every other Unicode character is accepted as it is: joiners and directional marks are part of
    real names.
    """
    for character in text:
        if unicodedata.category(character) in ("Cc", "Cs"):
            raise InvalidInput(
                f'the {what} "{visible(text)}" contains the control character '
                f"U+{ord(character):04X}",
                hint="names are text on one line, in UTF-8",
            )
    return unicodedata.normalize("NFC", text)


def canonical_name(text: str, what: str) -> str:
    """A name as it is stored: trimmed, NFC, 1 to 200 characters, no control characters."""
    name = require_text(text.strip(), what).strip()
    if not name:
        raise InvalidInput(f"the {what} is empty", hint="give at least one character")
    if len(name) > NAME_MAX_LENGTH:
        raise InvalidInput(
            f'the {what} "{visible(name, 20)}" has {len(name)} characters',
            hint=f"at most {NAME_MAX_LENGTH} are allowed",
        )
    return name


def lenient_name(text: str) -> str:
    """The canonical form of a name that is stored already, where no row may be lost."""
    return unicodedata.normalize("NFC", text.strip())


def canonical_label(text: str, what: str) -> str:
    """The name of a role or a claim: a canonical name that cannot be mistaken for an id."""
    name = canonical_name(text, what)
    if parse_id(name) is not None:
        raise InvalidInput(
            f'the {what} "{name}" consists of digits only',
            hint="commands would read it as an id; add a letter",
        )
    return name


def parse_id(text: str) -> int | None:
    """The id that the text stands for, or None when it is not written as one.

    Ids beyond the databases' 64 bits come back as MAX_ID + 1, which no row ever has: adopted tables
    may hold every number below, 0 as well. Databases cannot be asked for it.
    """
    if not (text.isascii() and text.isdigit()):
        return None
    number = int(text) if len(text) <= 19 else MAX_ID + 1
    return min(number, MAX_ID + 1)


def listed(lines: Iterable[str], number: int) -> str:
    """The end of a message: the first of a ``number`` of lines, indented, and how many more."""
    first = [f"\n  {line}" for line in lines]
    more = number - len(first)
    return "".join(first) + (f"\n  and {more} more" if more > 0 else "")
