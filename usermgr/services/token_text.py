"""The text of a token: ``usermgr_``, the token's id, a secret of 256 bits, and a checksum.

People and scanners of leaked secrets recognise the prefix, and a text with a typing error is known
by its checksum (CRC32) without asking the database. Only SHA-256 of the secret is stored: guessing
256 random bits needs no slow hash to be hopeless.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import zlib
from typing import Final, NamedTuple

PREFIX: Final = "usermgr_"
_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SECRET_DIGITS: Final = 43
"""Digits of base62 that 256 bits take."""

_CHECK_DIGITS: Final = 6
_FORM: Final = re.compile(
    rf"({PREFIX}(\d{{1,19}})_([0-9A-Za-z]{{{_SECRET_DIGITS}}}))([0-9A-Za-z]+)"
)


class Presented(NamedTuple):
    """What a token's text says: which token it is, and the secret that shall prove it."""

    id: int
    secret: str


def generate_secret() -> str:
    """A new secret."""
    return _base62(secrets.randbits(256), _SECRET_DIGITS)


def token_text(token_id: int, secret: str) -> str:
    """The text that is shown once."""
    body = f"{PREFIX}{token_id}_{secret}"
    return body + _checksum(body)


def read_token(text: str) -> Presented | None:
    """What the text says, or None where it is no token, or one with a typing error."""
    found = _FORM.fullmatch(text) if text.isascii() else None
    if found is None or _checksum(found[1]) != found[4]:
        return None
    return Presented(int(found[2]), found[3])


def secret_digest(secret: str) -> str:
    """SHA-256 of the secret in hexadecimal digits, as it is stored."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), _CHECK_DIGITS)


def _base62(number: int, digits: int) -> str:
    written = ""
    for _ in range(digits):
        number, digit = divmod(number, 62)
        written = _DIGITS[digit] + written
    return written
