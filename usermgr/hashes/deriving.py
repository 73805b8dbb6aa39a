"""A recipe and a password -> the digest that the recipe makes of it."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Any, Final

from usermgr.errors import InvalidInput
from usermgr.hashes.caps import PHPASS_DIGITS
from usermgr.hashes.reading import Hash
from usermgr.hashes.recipes import Recipe, decode

_SEEN: Final = {"bcrypt": 72, "des-crypt": 8}
"""How many bytes of a password these look at; what stands behind would count for nothing."""


def matches(stored: Hash, password: bytes) -> bool:
    """Whether the hash is of that password; compared in constant time.

    A hash whose parameters make no sense, or ask for memory that is not there, is of none.
    Raises InvalidInput for a password of which the hash would look at a part only.
    """
    try:
        digest = derive(stored.recipe, password)
        if stored.around is not None:
            digest = derive(stored.around, digest)
    except (ValueError, OverflowError, TypeError, MemoryError):
        return False
    return hmac.compare_digest(digest, stored.digest)


def derive(recipe: Recipe, password: bytes) -> bytes:
    """The digest; digests that are written in an alphabet of their own are that text.

    Raises InvalidInput for a password of which the algorithm would look at a part only, and
    ValueError or OverflowError for parameters that make no sense.
    """
    seen = _SEEN.get(recipe.algorithm)
    if seen is not None and len(password) > seen:
        raise InvalidInput(
            f"the password has {len(password)} bytes, and its stored hash is of a kind that looks "
            f"at {seen} only",
            hint="store a new one with: usermgr user set-password",
        )
    return _ALGORITHMS[recipe.algorithm](recipe, password)


def _digest(recipe: Recipe, password: bytes) -> bytes:
    return hashlib.new(
        recipe.parameters["d"], password + recipe.salt, usedforsecurity=False
    ).digest()


def _pbkdf2(recipe: Recipe, password: bytes) -> bytes:
    rounds, length = recipe.number("i"), recipe.number("l")
    return hashlib.pbkdf2_hmac(recipe.parameters["d"], password, recipe.salt, rounds, length)


def _scrypt(recipe: Recipe, password: bytes) -> bytes:
    number, block, lanes, length = (recipe.number(name) for name in "nrpl")
    return _raw_scrypt(password, recipe.salt, number, block, lanes, length)


def _raw_scrypt(
    password: bytes, salt: bytes, number: int, block: int, lanes: int, length: int
) -> bytes:
    # OpenSSL counts its own blocks as well, and refuses whatever needs more than it is told.
    memory = 128 * block * (number + lanes + 3) + 1024 * 1024
    return hashlib.scrypt(
        password, salt=salt, n=number, r=block, p=lanes, dklen=length, maxmem=memory
    )


def _firebase_scrypt(recipe: Recipe, password: bytes) -> bytes:
    """Source: firebase/scrypt, README.md: the derived key encrypts the project's signer key."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    salt = recipe.salt + decode(recipe.parameters["ss"])
    key = _raw_scrypt(password, salt, 2 ** recipe.number("m"), recipe.number("r"), 1, 32)
    encryptor = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()
    return encryptor.update(decode(recipe.parameters["sk"])) + encryptor.finalize()


def _argon2(recipe: Recipe, password: bytes) -> bytes:
    from argon2.exceptions import HashingError
    from argon2.low_level import Type, hash_secret_raw

    kinds = {"id": Type.ID, "i": Type.I, "d": Type.D}
    number = recipe.number
    try:
        return hash_secret_raw(
            password,
            recipe.salt,
            time_cost=number("t"),
            memory_cost=number("m"),
            parallelism=number("p"),
            hash_len=number("l"),
            type=kinds[recipe.parameters["y"]],
            version=number("v"),
        )
    except HashingError as error:
        raise ValueError("parameters that argon2 refuses") from error


def _bcrypt(recipe: Recipe, password: bytes) -> bytes:
    import bcrypt

    # 2a, 2b and 2y are one algorithm since its faults of 2011 are mended, and this is its name.
    setting = f"$2b${recipe.number('c'):02}$".encode() + _without_padding_bits(recipe.salt)
    return bcrypt.hashpw(password, setting)[-31:]


_BCRYPT_DIGITS: Final = b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def _without_padding_bits(salt: bytes) -> bytes:
    """A salt of bcrypt, of whose 22nd letter 2 bits count: some programs set the other 4 as well.

    Raises ValueError for what is no salt.
    """
    if len(salt) != 22:
        raise ValueError("no salt of bcrypt")
    return salt[:21] + _BCRYPT_DIGITS[_BCRYPT_DIGITS.index(salt[21]) & 0b110000 :][:1]


def _bcrypt_sha256(recipe: Recipe, password: bytes) -> bytes:
    """As Django's BCryptSHA256PasswordHasher has it."""
    return _bcrypt(recipe, hashlib.sha256(password).hexdigest().encode())


def _sha_crypt(recipe: Recipe, password: bytes) -> bytes:
    from passlib.hash import sha256_crypt, sha512_crypt

    kind = sha256_crypt if recipe.parameters["d"] == "sha256" else sha512_crypt
    return _last(kind.using(salt=recipe.salt.decode(), rounds=recipe.number("i")), password)


def _md5_crypt(recipe: Recipe, password: bytes) -> bytes:
    from passlib.hash import md5_crypt

    return _last(md5_crypt.using(salt=recipe.salt.decode()), password)


def _des_crypt(recipe: Recipe, password: bytes) -> bytes:
    from passlib.hash import des_crypt

    made: str = des_crypt.using(salt=recipe.salt.decode()).hash(password)
    return made[2:].encode()


def _last(kind: Any, password: bytes) -> bytes:
    made: str = kind.hash(password)
    return made.rpartition("$")[2].encode()


def _phpass(recipe: Recipe, password: bytes) -> bytes:
    """Source: Openwall, Portable PHP password hashing framework, PasswordHash.php."""
    made = hashlib.md5(recipe.salt + password, usedforsecurity=False).digest()
    for _ in range(2 ** recipe.number("c")):
        made = hashlib.md5(made + password, usedforsecurity=False).digest()
    # Three bytes become four letters, the lowest bits first.
    groups = (int.from_bytes(made[at : at + 3], "little") for at in range(0, 16, 3))
    letters = (group >> shift & 63 for group in groups for shift in (0, 6, 12, 18))
    return "".join(PHPASS_DIGITS[letter] for letter in letters)[:22].encode()


_ALGORITHMS: Final[dict[str, Callable[[Recipe, bytes], bytes]]] = {
    "digest": _digest,
    "pbkdf2": _pbkdf2,
    "scrypt": _scrypt,
    "firebase-scrypt": _firebase_scrypt,
    "argon2": _argon2,
    "bcrypt": _bcrypt,
    "bcrypt-sha256": _bcrypt_sha256,
    "sha-crypt": _sha_crypt,
    "md5-crypt": _md5_crypt,
    "des-crypt": _des_crypt,
    "phpass": _phpass,
}
