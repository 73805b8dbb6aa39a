"""The text of a hash -> how its digest was made, and the digest."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from usermgr.hashes.caps import phpass_exponent
from usermgr.hashes.foreign import read_aspnet, read_keycloak
from usermgr.hashes.forms import format_of
from usermgr.hashes.recipes import WRAPPED, Recipe, decode, power_of_two


@dataclass(frozen=True, slots=True)
class Hash:
    """A hash that can be verified.

    ``around`` is the recipe of the argon2id that wraps it, if one does: ``digest`` is then that of
    the digest which ``recipe`` makes.
    """

    recipe: Recipe
    digest: bytes = field(repr=False)
    around: Recipe | None = None


def read(stored: str) -> Hash | None:
    """What the text of a hash says; None for one that no password can match."""
    form = format_of(stored)
    if form not in _READERS:
        return None
    try:
        return _READERS[form](stored)
    except ValueError:
        return None


_ARGON2: Final = re.compile(
    r"\$argon2(id|i|d)\$(?:v=([0-9]+)\$)?m=([0-9]+),t=([0-9]+),p=([0-9]+)\$([^$]+)\$([^$]+)$"
)
_SCHEME: Final = re.compile(r"\{([^}]*)\}")
_LDAP_DIGESTS: Final = {"MD5": "md5", "SHA": "sha1", "SHA256": "sha256", "SHA512": "sha512"}
_SIZES: Final = {"md5": 16, "sha1": 20, "sha256": 32, "sha512": 64}


def _read_argon2(stored: str) -> Hash:
    kind, version, memory, passes, lanes, salt, digest = _groups(_ARGON2, stored)
    made = decode(digest)
    # Version 16 was written without its number.
    costs = {"y": kind, "v": version or "16", "m": memory, "t": passes, "p": lanes}
    return Hash(Recipe("argon2", costs | {"l": str(len(made))}, decode(salt)), made)


def _read_bcrypt(stored: str) -> Hash:
    version, cost, rest = stored.split("$")[-3:]
    algorithm = "bcrypt-sha256" if stored.startswith("bcrypt_sha256$") else "bcrypt"
    costs = {"v": version, "c": cost}
    return Hash(Recipe(algorithm, costs, rest[:22].encode()), rest[22:].encode())


def _read_sha_crypt(stored: str) -> Hash:
    parts = _without_scheme(stored).split("$")[1:]
    rounds = parts.pop(1).removeprefix("rounds=") if len(parts) == 4 else "5000"
    kind, salt, digest = parts
    costs = {"d": "sha256" if kind == "5" else "sha512", "i": rounds}
    return Hash(Recipe("sha-crypt", costs, salt.encode()), digest.encode())


def _read_crypt(stored: str) -> Hash:
    text = _without_scheme(stored)
    if text.startswith("$1$"):
        salt, digest = text.split("$")[2:]
        return Hash(Recipe("md5-crypt", {}, salt.encode()), digest.encode())
    return Hash(Recipe("des-crypt", {}, text[:2].encode()), text[2:].encode())


def _read_pbkdf2(stored: str) -> Hash:
    """PHC, and passlib: the digest's name with a hyphen or none, which means SHA-1."""
    name, costs, salt, digest = stored.split("$")[1:]
    rounds, _, length = costs.removeprefix("i=").partition(",l=")
    made = decode(digest)
    if length and int(length) != len(made):
        raise ValueError("another length")
    return _pbkdf2(name.partition("-")[2] or "sha1", rounds, decode(salt), made)


def _read_django_pbkdf2(stored: str) -> Hash:
    name, rounds, salt, digest = stored.split("$")
    return _pbkdf2(name.partition("_")[2], rounds, salt.encode(), decode(digest))


def _read_werkzeug_pbkdf2(stored: str) -> Hash:
    method, salt, digest = stored.split("$")
    _, name, rounds = method.split(":")
    return _pbkdf2(name, rounds, salt.encode(), bytes.fromhex(digest))


def _read_ldap_pbkdf2(stored: str) -> Hash:
    scheme = _groups(_SCHEME, stored)[0]
    rounds, salt, digest = _without_scheme(stored).split("$")
    name = scheme.lower().partition("-")[2] or "sha1"
    return _pbkdf2(name, rounds, decode(salt), decode(digest))


def _pbkdf2(name: str, rounds: str, salt: bytes, digest: bytes) -> Hash:
    costs = {"d": name, "i": rounds, "l": str(len(digest))}
    return Hash(Recipe("pbkdf2", costs, salt), digest)


def _read_scrypt(stored: str) -> Hash:
    costs, salt, digest = stored.split("$")[2:]
    exponent, block, lanes = re.findall("[0-9]+", costs)
    return _scrypt(str(power_of_two(int(exponent))), block, lanes, decode(salt), decode(digest))


def _read_werkzeug_scrypt(stored: str) -> Hash:
    method, salt, digest = stored.split("$")
    _, number, block, lanes = method.split(":")
    return _scrypt(number, block, lanes, salt.encode(), bytes.fromhex(digest))


def _read_django_scrypt(stored: str) -> Hash:
    _, number, salt, block, lanes, digest = stored.split("$")
    return _scrypt(number, block, lanes, salt.encode(), decode(digest))


def _scrypt(number: str, block: str, lanes: str, salt: bytes, digest: bytes) -> Hash:
    costs = {"n": number, "r": block, "p": lanes, "l": str(len(digest))}
    return Hash(Recipe("scrypt", costs, salt), digest)


def _read_firebase(stored: str) -> Hash:
    costs, salt, digest = stored.split("$")[2:]
    given = dict(part.split("=", 1) for part in costs.split(","))
    values = {name: given[name].rstrip("=") for name in ("r", "m", "sk", "ss")}
    return Hash(Recipe("firebase-scrypt", values, decode(salt)), decode(digest))


def _read_ldap(stored: str) -> Hash:
    scheme = _groups(_SCHEME, stored)[0].upper()
    text = _without_scheme(stored)
    salted = scheme[0] == "S" and scheme[1:] in _LDAP_DIGESTS
    name = _LDAP_DIGESTS[scheme[1:] if salted else scheme]
    size = _SIZES[name]
    data = bytes.fromhex(text) if not salted and len(text) == 2 * size else decode(text)
    if len(data) < size or (not salted and len(data) != size):
        raise ValueError("another length")
    return Hash(Recipe("digest", {"d": name}, data[size:]), data[:size])


def _read_phpass(stored: str) -> Hash:
    costs = {"c": str(phpass_exponent(stored[3]))}
    return Hash(Recipe("phpass", costs, stored[4:12].encode()), stored[12:].encode())


def _read_wrapped(stored: str) -> Hash:
    inner, mark, outer = stored.removeprefix(WRAPPED).partition("$argon2id$")
    around = _read_argon2(mark + outer)
    return Hash(Recipe.parse(inner), around.digest, around.recipe)


def _without_scheme(stored: str) -> str:
    return stored.partition("}")[2] if stored.startswith("{") else stored


def _groups(pattern: re.Pattern[str], stored: str) -> tuple[str, ...]:
    match = pattern.search(stored)
    if match is None:
        raise ValueError("another form")
    return match.groups("")


_READERS: Final[dict[str | None, Callable[[str], Hash]]] = {
    "argon2": _read_argon2,
    "bcrypt": _read_bcrypt,
    "bcrypt-sha256": _read_bcrypt,
    "sha256-crypt": _read_sha_crypt,
    "sha512-crypt": _read_sha_crypt,
    "crypt": _read_crypt,
    "pbkdf2": _read_pbkdf2,
    "django-pbkdf2": _read_django_pbkdf2,
    "werkzeug-pbkdf2": _read_werkzeug_pbkdf2,
    "ldap-pbkdf2": _read_ldap_pbkdf2,
    "scrypt": _read_scrypt,
    "werkzeug-scrypt": _read_werkzeug_scrypt,
    "django-scrypt": _read_django_scrypt,
    "firebase-scrypt": _read_firebase,
    "ldap": _read_ldap,
    "phpass": _read_phpass,
    "aspnet": lambda stored: Hash(*read_aspnet(stored)),
    "keycloak": lambda stored: Hash(*read_keycloak(stored)),
    "wrapped": _read_wrapped,
}
