"""Which password hashes are recognised, and which of them cost too much to be verified.

Recognised is what may be stored: an import keeps it as it is. Whoever can store a hash could stop a
machine with it, so there are caps on what verifying may take.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Sequence
from typing import Final

_N: Final = "[0-9]{1,10}"
_ENCODED: Final = "[A-Za-z0-9+/._-]"
_ENCODED_MAX: Final = 172
"""Salts and digests have up to 128 bytes: making a digest takes the longer, the longer it is."""

_B64: Final = rf"{_ENCODED}{{1,{_ENCODED_MAX}}}={{0,2}}"
_CRYPT: Final = "[./A-Za-z0-9]"
_FORMATS: Final = {
    # The name of a format -> what its hashes look like; the group holds the cost parameters.
    "argon2": rf"(?:argon2)?\$argon2(?:id|i|d)\$(?:v={_N}\$)?(m={_N},t={_N},p={_N})\${_B64}"
    rf"\${_B64}",
    "bcrypt": rf"(?:bcrypt\$|\{{CRYPT\}})?\$2[aby]\$([0-9]{{2}})\${_CRYPT}{{53}}",
    "sha-crypt": rf"(?:\{{CRYPT\}})?\$[56]\$(rounds={_N}\$|){_CRYPT}{{1,16}}\${_CRYPT}{{43,86}}",
    "pbkdf2": r"(?:\$pbkdf2(?:-sha[0-9]+)?\$|pbkdf2_sha[0-9]+\$|pbkdf2:sha[0-9]+:)"
    rf"({_N})\${_B64}\${_B64}",
    "scrypt": rf"\$scrypt\$(ln={_N},r={_N},p={_N})\${_B64}\${_B64}",
    "werkzeug-scrypt": rf"scrypt:({_N}:{_N}:{_N})\${_B64}\${_B64}",
    "django-scrypt": rf"scrypt\$({_N}\${_B64}\${_N}\${_N})\${_B64}",
    "ldap": rf"\{{(SSHA|SHA|SSHA256|SSHA512|SHA256|SHA512|SMD5|MD5)\}}{_B64}",
    # Of the operating system's formats those of which the costs are known: DES and MD5 have none.
    "ldap-crypt": rf"\{{(CRYPT)\}}(?:{_CRYPT}{{13}}|\$1\${_CRYPT}{{0,8}}\${_CRYPT}{{22}})",
    "ldap-pbkdf2": rf"\{{PBKDF2(?:-SHA[0-9]+)?\}}({_N})\${_B64}\${_B64}",
    "phpass": rf"\$[PH]\$({_CRYPT}){_CRYPT}{{30}}",
    "none": "(!)[ -~]{0,200}",
}
_LINE: Final = "^(?:" + "|".join(_FORMATS.values()) + ")$"

MEMORY_MAX: Final = 256 * 1024 * 1024
WORK_MAX: Final = 1024 * 1024 * 1024
"""Bytes of memory, and bytes times passes: about a second."""

LANES_MAX: Final = 64
BCRYPT_MAX: Final = 15
ROUNDS_MAX: Final = 5_000_000
_PHPASS_DIGITS: Final = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


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
    name = list(_FORMATS)[first.lastindex - 1]
    costs_end = first.end(first.lastindex)
    if name in _SALT_AND_DIGEST and _are_alike(hashes, hashes[0][:costs_end] + "$"):
        return _cost_problem(first.groups("")) is None
    text = "\n".join(hashes)
    found: list[str] = re.findall(f"^{_FORMATS[name]}$", text, re.MULTILINE)
    if not len(found) == len(hashes) == text.count("\n") + 1:
        return False
    costs = dict.fromkeys(_FORMATS, "")
    return not any(_cost_problem((*(costs | {name: cost}).values(),)) for cost in set(found))


_ENCODED_BYTES: Final = bytes(c for c in range(128) if re.fullmatch(_ENCODED, chr(c)))
_SALT_AND_DIGEST: Final = ("argon2", "pbkdf2", "scrypt", "werkzeug-scrypt", "ldap-pbkdf2")
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
    if match is None:
        return "the password hash is in no format that is recognised"
    return _cost_problem(match.groups(""))


def is_too_costly(stored: str) -> bool:
    """Whether it is a hash that would take too much memory or time to verify."""
    match = _lines().fullmatch(stored)
    return match is not None and _cost_problem(match.groups("")) is not None


@functools.cache
def _lines() -> re.Pattern[str]:
    return re.compile(_LINE, re.MULTILINE)


@functools.lru_cache(maxsize=1024)
def _cost_problem(groups: tuple[str, ...]) -> str | None:
    """What is wrong with the costs; the groups are those of ``_FORMATS``, all but one empty."""
    costs = dict(zip(_FORMATS, groups, strict=True))
    rounds = _numbers(costs["pbkdf2"] or costs["ldap-pbkdf2"] or costs["sha-crypt"])
    if costs["phpass"]:
        rounds = [2 ** _PHPASS_DIGITS.index(costs["phpass"])]
    if rounds and rounds[0] > ROUNDS_MAX:
        return f"the {rounds[0]} rounds of the password hash are more than {ROUNDS_MAX}"
    if costs["bcrypt"] and int(costs["bcrypt"]) > BCRYPT_MAX:
        return f"the bcrypt cost {int(costs['bcrypt'])} of the password hash is above {BCRYPT_MAX}"
    memory, passes, lanes = _memory_costs(costs)
    if memory > MEMORY_MAX:
        return "the password hash needs more than 256 MiB of memory"
    if memory * passes > WORK_MAX or lanes > LANES_MAX:
        return "the password hash takes too many passes or threads"
    return None


def _memory_costs(costs: dict[str, str]) -> tuple[int, int, int]:
    """Bytes of memory, passes over it, and threads, of argon2 and the forms of scrypt."""
    if costs["argon2"]:
        memory, passes, lanes = _numbers(costs["argon2"])
        return memory * 1024, passes, lanes
    if costs["scrypt"]:
        exponent, block, lanes = _numbers(costs["scrypt"])
        return _scrypt_costs(2 ** min(exponent, 64), block, lanes)
    if costs["werkzeug-scrypt"]:
        return _scrypt_costs(*_numbers(costs["werkzeug-scrypt"]))
    if costs["django-scrypt"]:
        parts = costs["django-scrypt"].split("$")  # the salt stands among the numbers
        return _scrypt_costs(int(parts[0]), int(parts[2]), int(parts[3]))
    return 0, 0, 0


def _scrypt_costs(number: int, block: int, lanes: int) -> tuple[int, int, int]:
    """RFC 7914: all lanes have a block each, and use the large memory one after the other."""
    return 128 * block * max(number, lanes), lanes, 1


def _numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]
