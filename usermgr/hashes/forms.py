"""Which password hashes are recognised, and which of them cost too much to be verified.

Recognised is what may be stored: an import keeps it as it is.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Sequence
from typing import Final

from usermgr.hashes import caps
from usermgr.hashes.recipes import WRAPPED

_N: Final = "[0-9]{1,10}"
_ENCODED: Final = "[A-Za-z0-9+/._-]"
_ENCODED_MAX: Final = 171
"""Letters of base64 for up to 128 bytes, which is the most that a salt or a digest has here.

In the two structures, Keycloak's and ASP.NET's, the digest is measured when it is read.
"""

_B64: Final = rf"{_ENCODED}{{1,{_ENCODED_MAX}}}={{0,2}}"
_SALT: Final = rf"(?:{_B64})?"
_PLAIN: Final = "[A-Za-z0-9+/]"
_HEX: Final = "[0-9A-Fa-f]"
_CRYPT: Final = "[./A-Za-z0-9]"
_BCRYPT: Final = rf"\$2[aby]\$([0-9]{{2}})\${_CRYPT}{{53}}"
_SHA: Final = "sha(?:1|224|256|384|512)"
_LDAP_CRYPT: Final = r"(?i:\{CRYPT\})"

FORMATS: Final = {
    # The name of a format -> what its hashes look like; the group holds the cost parameters.
    "argon2": r"(?:argon2|(?i:\{ARGON2\}))?"
    rf"\$argon2(?:id|i|d)\$(?:v={_N}\$)?(m={_N},t={_N},p={_N})\${_B64}\${_B64}",
    "bcrypt": rf"(?:bcrypt\$|{_LDAP_CRYPT})?{_BCRYPT}",
    "bcrypt-sha256": rf"bcrypt_sha256\${_BCRYPT}",
    "sha256-crypt": rf"{_LDAP_CRYPT}?\$5\$(rounds={_N}\$|){_CRYPT}{{1,16}}\${_CRYPT}{{43}}",
    "sha512-crypt": rf"{_LDAP_CRYPT}?\$6\$(rounds={_N}\$|){_CRYPT}{{1,16}}\${_CRYPT}{{86}}",
    "pbkdf2": rf"\$pbkdf2(?:-{_SHA})?\$((?:i=)?{_N})(?:,l={_N})?\${_SALT}\${_B64}",
    "django-pbkdf2": rf"pbkdf2_{_SHA}\$({_N})\${_B64}\${_B64}",
    "werkzeug-pbkdf2": rf"pbkdf2:{_SHA}:({_N})\${_B64}\${_HEX}{{20,256}}",
    "ldap-pbkdf2": rf"(?i:\{{PBKDF2(?:-{_SHA})?\}})({_N})\${_B64}\${_B64}",
    "scrypt": rf"\$scrypt\$(ln={_N},r={_N},p={_N})\${_SALT}\${_B64}",
    "werkzeug-scrypt": rf"scrypt:({_N}:{_N}:{_N})\${_B64}\${_HEX}{{20,256}}",
    "django-scrypt": rf"scrypt\$({_N}\${_B64}\${_N}\${_N})\${_B64}",
    "firebase-scrypt": rf"\$firebase-scrypt\$(r={_N},m={_N}|m={_N},r={_N}),sk={_B64},ss={_SALT}"
    rf"\${_B64}\${_B64}",
    # Without a salt, hexadecimal digits are understood too; without a scheme they are not.
    "ldap": r"()(?:"
    rf"(?i:\{{SSHA\}}){_ENCODED}{{28,112}}={{0,2}}"
    rf"|(?i:\{{SSHA256\}}){_ENCODED}{{44,128}}={{0,2}}"
    rf"|(?i:\{{SSHA512\}}){_ENCODED}{{87,172}}={{0,2}}"
    rf"|(?i:\{{SMD5\}}){_ENCODED}{{23,106}}={{0,2}}"
    rf"|(?i:\{{MD5\}})(?:{_ENCODED}{{22}}={{0,2}}|{_HEX}{{32}})"
    rf"|(?i:\{{SHA\}})(?:{_ENCODED}{{27}}=?|{_HEX}{{40}})"
    rf"|(?i:\{{SHA256\}})(?:{_ENCODED}{{43}}=?|{_HEX}{{64}})"
    rf"|(?i:\{{SHA512\}})(?:{_ENCODED}{{86}}={{0,2}}|{_HEX}{{128}}))",
    # Of the operating system's formats those of which the costs are known: DES and MD5 have none.
    "crypt": rf"()(?:{_LDAP_CRYPT}{_CRYPT}{{13}}"
    rf"|{_LDAP_CRYPT}?\$1\${_CRYPT}{{0,8}}\${_CRYPT}{{22}})",
    "phpass": rf"\$[PH]\$({_CRYPT}){_CRYPT}{{30}}",
    # Version 2 has 49 bytes, the first of them 0; version 3 has 1, a number from 0 to 2, and at
    # least 45 bytes.
    "aspnet": rf"((?:A[A-P]{_PLAIN}{{64}}==|AQAAAA[AEI]{_PLAIN}{{53,245}}={{0,2}}))",
    "keycloak": r"(\{[ -~]{20,2000}\})",
    "wrapped": rf"{re.escape(WRAPPED)}([a-z0-9-]{{1,20}}\$[A-Za-z0-9+/=,._-]{{1,600}}"
    rf"\$argon2id\$v=19\$m={_N},t={_N},p={_N})\${_B64}\${_B64}",
    "none": "(!)[ -~]{0,200}",
}
_LINE: Final = "^(?:" + "|".join(FORMATS.values()) + ")$"


def find_problems(hashes: Sequence[str]) -> dict[int, str]:
    """What is wrong with which of the hashes, by position; the words never hold the hash."""
    if _is_plain(hashes):
        return {}
    problems = ((position, hash_problem(stored)) for position, stored in enumerate(hashes))
    return {position: problem for position, problem in problems if problem}


def _is_plain(hashes: Sequence[str]) -> bool:
    """Whether all are of the first one's format, and none is wrong; looks at all at once."""
    first = _lines().fullmatch(hashes[0]) if hashes else None
    if first is None or first.lastindex is None:
        return False
    name = _name(first)
    costs_end = first.end(first.lastindex)
    if name in _SALT_AND_DIGEST and _are_alike(hashes, hashes[0][:costs_end] + "$"):
        return caps.problem(name, first[first.lastindex]) is None
    text = "\n".join(hashes)
    found: list[str] = re.findall(f"^{FORMATS[name]}$", text, re.MULTILINE)
    if not len(found) == len(hashes) == text.count("\n") + 1:
        return False
    return not any(caps.problem(name, asked) for asked in set(found))


_ENCODED_BYTES: Final = bytes(c for c in range(128) if re.fullmatch(_ENCODED, chr(c)))
_SALT_AND_DIGEST: Final = ("argon2", "pbkdf2", "django-pbkdf2", "ldap-pbkdf2", "scrypt")
"""The formats whose costs are followed by these two."""


def _are_alike(hashes: Sequence[str], beginning: str) -> bool:
    """Whether all have that beginning, and then nothing but a salt and a digest without padding.

    The expressions would say the same of them, in three times the time.
    """
    text = "\n".join(hashes) + "\n"
    longest = len(beginning) + _ENCODED_MAX
    if not text.isascii() or max(map(len, hashes)) > longest or "$$" in text or "$\n" in text:
        return False
    if not all(map(str.startswith, hashes, itertools.repeat(beginning))):
        return False
    between = (beginning + "$\n").encode().translate(None, _ENCODED_BYTES)
    return text.encode().translate(None, _ENCODED_BYTES) == between * len(hashes)


def hash_problem(stored: str) -> str | None:
    """What is wrong with a hash, without showing it; None when it may be stored."""
    match = _lines().fullmatch(stored)
    if match is None or match.lastindex is None:
        return caps.UNRECOGNISED
    return caps.problem(_name(match), match[match.lastindex])


def is_too_costly(stored: str) -> bool:
    """Whether it is a hash that would take too much memory or time to verify."""
    return hash_problem(stored) not in (None, caps.UNRECOGNISED)


def format_of(stored: str) -> str | None:
    """The name of the hash's format in ``FORMATS``; None for what is recognised as none."""
    match = _lines().fullmatch(stored)
    return None if match is None else _name(match)


def _name(match: re.Match[str]) -> str:
    return _NAMES[(match.lastindex or 0) - 1]


_NAMES: Final = list(FORMATS)


@functools.cache
def _lines() -> re.Pattern[str]:
    return re.compile(_LINE, re.MULTILINE)
