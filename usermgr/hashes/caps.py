"""What verifying a hash may cost: whoever can store one could stop a machine with it.

The limits hold when a hash is stored, and again before it is verified.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Final

from usermgr.hash_limits import LANES_MAX, MEMORY_MAX, WORK_MAX
from usermgr.hashes.foreign import read_aspnet, read_keycloak
from usermgr.hashes.recipes import (
    Costs,
    Recipe,
    argon2_costs,
    bcrypt_costs,
    numbers,
    power_of_two,
    round_costs,
    scrypt_costs,
)

EXPONENT_MAX: Final = 15
ROUNDS_MAX: Final = 5_000_000
UNRECOGNISED: Final = "the password hash is in no format that is recognised"
PHPASS_DIGITS: Final = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def phpass_exponent(letter: str) -> int:
    """The power of 2 that phpass writes as one letter."""
    return PHPASS_DIGITS.index(letter)


@functools.lru_cache(maxsize=1024)
def problem(form: str, asked: str) -> str | None:
    """What is wrong with the costs that a hash asks for.

    ``asked`` is the part of the hash that ``forms`` marks in its format.
    """
    try:
        if form == "wrapped":
            recipe, _, outer = asked.rpartition("$argon2id$v=19$")
            return excess(Recipe.parse(recipe).costs()) or excess(_argon2(outer))
        return excess(_COSTS[form](asked)) if form in _COSTS else None
    except ValueError:
        return UNRECOGNISED


def excess(costs: Costs) -> str | None:
    """Which limit the costs exceed."""
    if costs.rounds > ROUNDS_MAX:
        return f"the {_short(costs.rounds)} rounds of the password hash are more than {ROUNDS_MAX}"
    if costs.exponent > EXPONENT_MAX:
        return f"the bcrypt cost {costs.exponent} of the password hash is above {EXPONENT_MAX}"
    if costs.memory > MEMORY_MAX:
        return "the password hash needs more than 256 MiB of memory"
    if costs.memory * costs.passes > WORK_MAX or costs.lanes > LANES_MAX:
        return "the password hash takes too many passes or threads"
    return None


def _short(number: int) -> str:
    digits = str(number)
    return digits if len(digits) <= 12 else f"{digits[0]}e{len(digits) - 1}"


def _rounds(asked: str) -> Costs:
    return round_costs(numbers(asked)[0])


def _sha_crypt(asked: str) -> Costs:
    return _rounds(asked) if asked else Costs()


def _exponent(asked: str) -> Costs:
    return bcrypt_costs(int(asked))


def _argon2(asked: str) -> Costs:
    return argon2_costs(*numbers(asked))


def _scrypt(asked: str) -> Costs:
    exponent, block, lanes = numbers(asked)
    return scrypt_costs(power_of_two(exponent), block, lanes)


def _werkzeug_scrypt(asked: str) -> Costs:
    return scrypt_costs(*numbers(asked))


def _django_scrypt(asked: str) -> Costs:
    number, _salt, block, lanes = asked.split("$")  # the salt stands among the numbers
    return scrypt_costs(int(number), int(block), int(lanes))


def _firebase(asked: str) -> Costs:
    values = dict(part.split("=") for part in asked.split(","))
    return scrypt_costs(power_of_two(int(values["m"])), int(values["r"]), 1)


_COSTS: Final[dict[str, Callable[[str], Costs]]] = {
    "argon2": _argon2,
    "bcrypt": _exponent,
    "bcrypt-sha256": _exponent,
    "sha256-crypt": _sha_crypt,
    "sha512-crypt": _sha_crypt,
    "pbkdf2": _rounds,
    "django-pbkdf2": _rounds,
    "werkzeug-pbkdf2": _rounds,
    "ldap-pbkdf2": _rounds,
    "aspnet": lambda asked: read_aspnet(asked)[0].costs(),
    "keycloak": lambda asked: read_keycloak(asked)[0].costs(),
    "scrypt": _scrypt,
    "werkzeug-scrypt": _werkzeug_scrypt,
    "django-scrypt": _django_scrypt,
    "firebase-scrypt": _firebase,
    "phpass": lambda asked: round_costs(2 ** phpass_exponent(asked)),
}
