"""How a digest was made of a password, in one form for every origin: algorithm, parameters, salt.

The text of a recipe stands inside wrapped hashes (see ``passwords.wrap_hash``), and so must not
change its meaning between releases.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

WRAPPED: Final = "$usermgr-wrap$"
"""What the text of a wrapped hash begins with; the recipe follows, then an argon2id PHC string."""


class Costs(NamedTuple):
    """What deriving a digest takes: rounds, bcrypt's exponent, bytes of memory, passes, threads."""

    rounds: int = 0
    exponent: int = 0
    memory: int = 0
    passes: int = 0
    lanes: int = 0


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a digest was made. Parameters are named as in PHC strings where those have a name.

    - digest: d (a name that hashlib knows), of the password and the salt behind it
    - pbkdf2: d, i (rounds), l (bytes of the digest)
    - sha-crypt: d, i; md5-crypt; des-crypt; phpass: c (rounds are 2 to its power)
    - bcrypt, bcrypt-sha256: v (2a, 2b, 2y), c (rounds are 2 to its power)
    - scrypt: n, r, p, l; firebase-scrypt: r, m (N is 2 to its power), sk, ss (base64)
    - argon2: y (id, i, d), v, m (KiB), t, p, l
    """

    algorithm: str
    parameters: Mapping[str, str] = field(repr=False)
    salt: bytes = field(repr=False)

    def number(self, name: str) -> int:
        """A parameter as a number. Raises ValueError for one that is none."""
        return int(self.parameters[name])

    def text(self) -> str:
        """The recipe as text of PHC's kind, without a dollar in front."""
        parts = [f"{name}={value}" for name, value in self.parameters.items()]
        return f"{self.algorithm}${','.join([*parts, f's={encode(self.salt)}'])}"

    @classmethod
    def parse(cls, text: str) -> Recipe:
        """The recipe of a text. Raises ValueError for what is none."""
        algorithm, _, rest = text.partition("$")
        pairs = [part.partition("=") for part in rest.split(",")]
        values = {name: value for name, _, value in pairs}
        if algorithm not in _PARAMETERS or (*values,) != (*_PARAMETERS[algorithm], "s"):
            raise ValueError("no recipe")
        salt = decode(values.pop("s"))
        for name, value in values.items():
            if not re.fullmatch(_VALUES.get(name, "[0-9]{1,10}"), value):
                raise ValueError("no parameter of a recipe")
        if int(values.get("l", 0)) > LENGTH_MAX:
            raise ValueError("too long a digest")
        return cls(algorithm, values, salt)

    def costs(self) -> Costs:
        """What deriving its digest takes. Raises ValueError for costs that make no sense."""
        number = self.number
        match self.algorithm:
            case "pbkdf2" | "sha-crypt":
                return round_costs(number("i"))
            case "phpass":
                return round_costs(power_of_two(number("c")))
            case "bcrypt" | "bcrypt-sha256":
                return bcrypt_costs(number("c"))
            case "argon2":
                return argon2_costs(number("m"), number("t"), number("p"))
            case "scrypt":
                return scrypt_costs(number("n"), number("r"), number("p"))
            case "firebase-scrypt":
                return scrypt_costs(power_of_two(number("m")), number("r"), 1)
            case _:
                return Costs()


_PARAMETERS: Final = {
    "digest": ("d",),
    "pbkdf2": ("d", "i", "l"),
    "sha-crypt": ("d", "i"),
    "md5-crypt": (),
    "des-crypt": (),
    "phpass": ("c",),
    "bcrypt": ("v", "c"),
    "bcrypt-sha256": ("v", "c"),
    "scrypt": ("n", "r", "p", "l"),
    "firebase-scrypt": ("r", "m", "sk", "ss"),
    "argon2": ("y", "v", "m", "t", "p", "l"),
}


_VALUES: Final = {
    "d": "md5|sha1|sha224|sha256|sha384|sha512",
    "v": "16|19|2[aby]",
    "y": "id|i|d",
    "sk": "[A-Za-z0-9+/._-]{1,172}",
    "ss": "[A-Za-z0-9+/._-]{0,172}",
}
LENGTH_MAX: Final = 128
"""Bytes of a digest: making it takes the longer, the longer it is."""


def round_costs(rounds: int) -> Costs:
    """Raises ValueError for no rounds at all, as the others do for costs that make no sense."""
    _refuse_below(1, rounds)
    return Costs(rounds=rounds)


def bcrypt_costs(exponent: int) -> Costs:
    """bcrypt knows no exponent below 4."""
    _refuse_below(4, exponent)
    return Costs(exponent=exponent)


def argon2_costs(memory: int, passes: int, lanes: int) -> Costs:
    """``memory`` is in KiB."""
    _refuse_below(1, memory, passes, lanes)
    return Costs(memory=memory * 1024, passes=passes, lanes=lanes)


def scrypt_costs(number: int, block: int, lanes: int) -> Costs:
    """RFC 7914: all lanes have a block each, and use the large memory one after the other."""
    _refuse_below(2, number)
    _refuse_below(1, block, lanes)
    return Costs(memory=128 * block * max(number, lanes), passes=lanes, lanes=1)


def _refuse_below(least: int, *values: int) -> None:
    if min(values) < least:
        raise ValueError("costs that make no sense")


def power_of_two(exponent: int) -> int:
    """2 to that power, or a number that is above every limit as well."""
    return 1 << min(exponent, 64)


def numbers(text: str) -> list[int]:
    """The numbers in a text, in their order."""
    return [int(number) for number in re.findall(r"\d+", text)]


def encode(data: bytes) -> str:
    """Base64 as PHC strings have it: without padding."""
    return base64.b64encode(data).decode().rstrip("=")


_VARIANTS: Final = str.maketrans("-_.", "+/+")


def decode(text: str) -> bytes:
    """The bytes of base64 in its alphabets: the usual one, that of URLs, and passlib's with a dot.

    Raises ValueError for what is none.
    """
    plain = text.rstrip("=").translate(_VARIANTS)
    return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
