"""Passwords: generate, check, hash, verify, and the marker for "no usable password".

New hashes are argon2id, unless set otherwise with the parameters of the OWASP Password Storage
Cheat Sheet (m=19456 KiB, t=2, p=1); ``hashes`` knows those of others. Passwords are NFC-normalised
before hashing (NIST SP 800-63B-4, section 3.1.1.2), so that one password typed on two keyboards
stays one password; nothing is ever cut off.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import unicodedata
from typing import TYPE_CHECKING, Final

from usermgr.blocklist import Blocklist
from usermgr.errors import InvalidInput
from usermgr.hash_limits import DEFAULT_COSTS, Argon2Costs
from usermgr.hashes import hash_problem
from usermgr.hashes.deriving import derive, matches
from usermgr.hashes.reading import Hash, read
from usermgr.hashes.recipes import WRAPPED, Recipe
from usermgr.hashes.strength import is_current

if TYPE_CHECKING:
    from argon2 import PasswordHasher

UNUSABLE: Final = "!"
"""The stored marker of a user who has no usable password; no hash format starts with it."""

MAX_LENGTH: Final = 1024
GENERATED_LENGTH: Final = 24

ALPHABET: Final = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
"""Letters and digits without those that look alike (0 O 1 l I o): 24 of them carry 139 bits."""


def generate_password() -> str:
    """A random password of 24 characters from the unambiguous alphabet."""
    return "".join(secrets.choice(ALPHABET) for _ in range(GENERATED_LENGTH))


def check_password(password: str, *, min_length: int, blocklist: Blocklist | None = None) -> str:
    """The password in NFC, or InvalidInput; the message never contains the password.

    A sequence that is repeated counts once: whoever knows it knows the password.
    """
    try:
        password.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidInput("the password is not UTF-8 text") from error
    password = unicodedata.normalize("NFC", password)
    if "\x00" in password:
        raise InvalidInput("the password contains a NUL character")
    if len(password) < min_length:
        raise InvalidInput(
            f"the password has {len(password)} characters, {min_length} are required",
            hint="use a longer passphrase",
        )
    if len(password) > MAX_LENGTH:
        raise InvalidInput(
            f"the password has {len(password)} characters, at most {MAX_LENGTH} are allowed"
        )
    if (period := _period(password.casefold())) < min_length:
        raise InvalidInput(
            "the password repeats "
            + ("one character" if period == 1 else f"a sequence of {period} characters"),
            hint="use a longer passphrase",
        )
    if blocklist is not None and blocklist.holds(password):
        raise InvalidInput(BLOCKED, hint="use other words")
    return password


BLOCKED: Final = "the password is on the blocklist"


def refuse_own(password: str, name: str, email: str) -> None:
    """Raise InvalidInput for a password that is made of the user's own name and e-mail only.

    Source: NIST SP 800-63B-4, section 3.1.1.2 ("context-specific words, such as the name of the
    service, the username, and derivatives thereof").
    """
    own = [unicodedata.normalize("NFC", text).casefold() for text in (name.strip(), email.strip())]
    words = {word for text in own for word in re.split(r"[\W_]+", text)}
    rest = whole = unicodedata.normalize("NFC", password).casefold()
    for part in sorted({*own, *words} - {""}, key=len, reverse=True):
        rest = rest.replace(part, " ")
    if rest != whole and not any(character.isalnum() for character in rest):
        raise InvalidInput(
            "the password is made of the user's own name or e-mail", hint="use other words"
        )


def _period(text: str) -> int:
    """The length of the shortest sequence that fills the text at least twice, or of the text."""
    for length in range(1, len(text) // 2 + 1):
        if text[length:] == text[:-length]:
            return length
    return len(text)


def hash_password(password: str, costs: Argon2Costs = DEFAULT_COSTS) -> str:
    """An argon2id hash of the password, as a PHC string."""
    return _hasher(costs).hash(unicodedata.normalize("NFC", password))


def verify_password(stored: str, password: str, costs: Argon2Costs = DEFAULT_COSTS) -> bool:
    """Whether the password is the one that was stored.

    A refusal takes at least as long as one by an argon2id hash of the parameters ``costs``: where
    nothing can match (the unusable marker, plain text, a hash that is too costly) that time is
    spent, and after a hash with less than these parameters, or of another format, as well. So a
    quick refusal does not tell who has which hash; a slow one tells that somebody has another.

    Raises InvalidInput for a password of which the stored hash would look at a part only.
    """
    found = read(stored) if hash_problem(stored) is None else None
    candidates = _candidates(password)
    if found is None or not candidates:
        spend(password, costs)
        return False
    matched = _matches(found, candidates)
    if not matched and not is_current(found.around or found.recipe, costs):
        spend(password, costs)
    return matched


def spend(password: str = "", costs: Argon2Costs = DEFAULT_COSTS) -> None:
    """Take the time that refusing the password takes with an argon2id hash of these parameters."""
    names = {"m": costs.memory, "t": costs.passes, "p": costs.lanes, "l": 32}
    parameters = {"y": "id", "v": "19", **{name: str(value) for name, value in names.items()}}
    for candidate in _candidates(password) or [b""]:
        derive(Recipe("argon2", parameters, bytes(16)), candidate)


def wrap_hash(stored: str, costs: Argon2Costs = DEFAULT_COSTS) -> str | None:
    """The hash inside argon2id: ``$usermgr-wrap$<recipe>$argon2id$...``, without a password.

    argon2id is applied to the digest. Of the hash itself the recipe stays, from which a password
    makes that digest again. None for what cannot be wrapped, or could not be read afterwards.
    """
    found = read(stored)
    if found is None or found.around is not None:
        return None
    made = f"{WRAPPED}{found.recipe.text()}{_hasher(costs).hash(found.digest)}"
    again = read(made) if hash_problem(made) is None else None
    return made if again is not None and again.recipe == found.recipe else None


def _candidates(password: str) -> list[bytes]:
    """The texts that the person may have meant, as bytes: in NFC, and as it was given.

    This program makes its hashes of NFC. Others make them of whatever bytes a keyboard gave:
    whoever typed a decomposed letter there and types it here again is to be let in. Both are one
    text by Unicode's canonical equivalence, so nobody else gets in. None for what is too long.
    """
    forms = dict.fromkeys((unicodedata.normalize("NFC", password), password))
    try:
        return [form.encode() for form in forms if len(form) <= MAX_LENGTH]
    except UnicodeEncodeError:
        return []


def _matches(found: Hash, candidates: list[bytes]) -> bool:
    first, *others = candidates
    if matches(found, first):
        return True
    for other in others:
        with contextlib.suppress(InvalidInput):  # What counts is whether NFC fits.
            if matches(found, other):
                return True
    return False


def is_usable(stored: str) -> bool:
    """Whether the stored value is more than the unusable marker."""
    return not stored.startswith(UNUSABLE)


def _hasher(costs: Argon2Costs) -> PasswordHasher:
    from argon2 import PasswordHasher

    return PasswordHasher(time_cost=costs.passes, memory_cost=costs.memory, parallelism=costs.lanes)
