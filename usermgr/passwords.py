"""Passwords: generate, check, hash, verify, and the marker for "no usable password".

Hashes are argon2id with the parameters of the OWASP Password Storage Cheat Sheet (m=19456 KiB,
t=2, p=1). Passwords are NFC-normalised before hashing (NIST SP 800-63B-4, section 3.1.1.2), so that
one password typed on two keyboards stays one password; nothing is ever cut off.
"""

from __future__ import annotations

import re
import secrets
import unicodedata
from typing import TYPE_CHECKING, Final

from usermgr.errors import InvalidInput
from usermgr.hashes import is_too_costly

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


def check_password(password: str, *, min_length: int) -> str:
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
    return password


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


def hash_password(password: str) -> str:
    """An argon2id hash of the password, as a PHC string."""
    return _hasher().hash(unicodedata.normalize("NFC", password))


def verify_password(stored: str, password: str) -> bool:
    """Whether the password is the one that was stored.

    A stored value without a usable password never matches, and takes as long as one that has. Nor
    does a hash that is too costly.
    """
    from argon2.exceptions import InvalidHashError, VerificationError

    text = unicodedata.normalize("NFC", password)
    if not is_recognised(stored) or is_too_costly(stored):
        _hasher().hash(text)
        return False
    try:
        return _hasher().verify(stored, text)
    except (VerificationError, InvalidHashError):
        return False


def is_usable(stored: str) -> bool:
    """Whether the stored value is more than the unusable marker."""
    return not stored.startswith(UNUSABLE)


def is_recognised(stored: str) -> bool:
    """Whether the stored value is a hash in a format that this program verifies."""
    return stored.startswith(("$argon2id$", "$argon2i$", "$argon2d$"))


def _hasher() -> PasswordHasher:
    from argon2 import PasswordHasher

    return PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1)
