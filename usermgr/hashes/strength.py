"""How a hash compares with OWASP's minimum, and with the parameters that are in force.

Source of the minimum: OWASP Password Storage Cheat Sheet. It names argon2id, scrypt, bcrypt and
PBKDF2; everything else is measured with the same yardstick: a round of SHA-crypt is one of PBKDF2
with its digest, and what has no rounds, or the rounds of an MD5, is below.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from usermgr.hash_limits import LEAST_MEMORY, LEAST_WORK, Argon2Costs
from usermgr.hashes.caps import UNRECOGNISED
from usermgr.hashes.forms import hash_problem
from usermgr.hashes.reading import Hash, read
from usermgr.hashes.recipes import Recipe, power_of_two

_LEAST_ROUNDS: Final = {"sha1": 1_300_000, "sha256": 600_000, "sha512": 210_000}
_LEAST_EXPONENT: Final = 10
_LEAST_SCRYPT: Final = 2**13 * 8 * 10
"""N times r times p: of OWASP's equal choices from N=2^17, p=1 to N=2^13, p=10."""


class Strength(enum.Enum):
    """How strong a stored password is."""

    CURRENT = "current"
    WEAKER = "weaker"
    WRAPPED = "wrapped"
    LEGACY = "legacy"
    TOO_COSTLY = "too costly"
    UNRECOGNISED = "unrecognised"
    UNUSABLE = "unusable"


@dataclass(frozen=True, slots=True)
class Assessment:
    """What a stored password is: the name of its format, its parameters as text, its strength.

    The parameters are "none" where there are none.
    """

    format: str
    parameters: str
    strength: Strength


def assess(stored: str, current: Argon2Costs) -> Assessment:
    """What a stored password is, against the parameters in force."""
    if stored.startswith("!"):
        return Assessment("none", "none", Strength.UNUSABLE)
    problem = hash_problem(stored)
    found = None if problem == UNRECOGNISED else read(stored)
    if found is None:
        return Assessment("unrecognised", "none", Strength.UNRECOGNISED)
    name, parameters = describe(found)
    return Assessment(name, parameters or "none", _strength(found, problem, current))


def _strength(found: Hash, problem: str | None, current: Argon2Costs) -> Strength:
    if problem is not None:
        return Strength.TOO_COSTLY
    if found.around is not None:
        return Strength.WRAPPED
    if _is_below_minimum(found.recipe):
        return Strength.LEGACY
    return Strength.CURRENT if is_current(found.recipe, current) else Strength.WEAKER


def is_current(recipe: Recipe, current: Argon2Costs) -> bool:
    """Neither less memory nor less work than the parameters in force; more is fine."""
    if (recipe.algorithm, recipe.parameters.get("y")) != ("argon2", "id"):
        return False
    memory, passes = recipe.number("m"), recipe.number("t")
    enough = memory >= current.memory and memory * passes >= current.memory * current.passes
    return enough and recipe.number("v") == 19


def _is_below_minimum(recipe: Recipe) -> bool:
    """Whether it is weaker than the weakest that OWASP allows."""
    number = recipe.number
    match recipe.algorithm:
        case "argon2":
            return number("m") < LEAST_MEMORY or number("m") * number("t") < LEAST_WORK
        case "bcrypt" | "bcrypt-sha256":
            return number("c") < _LEAST_EXPONENT
        case "scrypt":
            return number("n") * number("r") * number("p") < _LEAST_SCRYPT
        case "firebase-scrypt":
            return power_of_two(number("m")) * number("r") < _LEAST_SCRYPT
        case "pbkdf2" | "sha-crypt":
            return number("i") < _LEAST_ROUNDS.get(recipe.parameters["d"], _LEAST_ROUNDS["sha1"])
        case _:
            return True


def describe(found: Hash) -> tuple[str, str]:
    """The name of the format and the parameters; neither says anything of salt or digest."""
    name, parameters = _name(found.recipe), _parameters(found.recipe)
    if found.around is None:
        return name, parameters
    return f"argon2id({name})", ", ".join(filter(None, [_parameters(found.around), parameters]))


def _name(recipe: Recipe) -> str:
    values = recipe.parameters
    match recipe.algorithm:
        case "argon2":
            return f"argon2{values['y']}"
        case "pbkdf2":
            return f"pbkdf2-{values['d']}"
        case "sha-crypt":
            return f"{values['d']}-crypt"
        case "digest":
            return f"salted-{values['d']}" if recipe.salt else values["d"]
        case _:
            return recipe.algorithm


_SHOWN: Final = ("i", "c", "n", "m", "t", "r", "p")


def _parameters(recipe: Recipe) -> str:
    values = recipe.parameters
    return ",".join(f"{name}={int(values[name])}" for name in _SHOWN if name in values)
