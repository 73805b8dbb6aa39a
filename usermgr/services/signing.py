"""Ed25519 signatures (RFC 8032) of seals, with keys in PEM files.

What is signed is the text ``usermgr seal <digest>``, so that a signature cannot be mistaken for
one of something else.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from usermgr.errors import InvalidInput
from usermgr.names import visible

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

Sign = Callable[[str], tuple[str, str]]
"""Takes a digest, gives the public key and the signature, both in base64."""

Check = Callable[[str, str | None], bool]
"""Whether the signature is one of the digest, by the key that is asked for."""

MAX_BYTES: Final = 64 * 1024

_MAKE_ONE: Final = "make one with: openssl genpkey -algorithm ed25519 -out FILE"
_PUBLISH: Final = "make it from the key with: openssl pkey -in KEY -pubout -out FILE"


def load_signer(path: Path) -> Sign:
    """Signs with the private key of a PEM file. Raises InvalidInput when it holds none."""
    key = _private_key(path)
    public_key = base64.b64encode(key.public_key().public_bytes_raw()).decode()

    def sign(digest: str) -> tuple[str, str]:
        return public_key, base64.b64encode(key.sign(_message(digest))).decode()

    return sign


def load_checker(path: Path) -> Check:
    """Checks by the public key of a PEM file. Raises InvalidInput when it holds none."""
    key = _public_key(path)

    def check(digest: str, signature: str | None) -> bool:
        from cryptography.exceptions import InvalidSignature

        try:
            key.verify(base64.b64decode(signature or "", validate=True), _message(digest))
        except (InvalidSignature, binascii.Error, ValueError):
            return False
        return True

    return check


def _message(digest: str) -> bytes:
    return f"usermgr seal {digest}".encode()


def _private_key(path: Path) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    pem = _read(path)
    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError as error:
        raise InvalidInput(
            f'the key in "{visible(str(path))}" is encrypted',
            hint="pass an unencrypted one, readable to nobody else",
        ) from error
    except Exception as error:  # the library has many errors for what is no key
        raise _no_key(path, "private", _MAKE_ONE) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise _no_key(path, "private", _MAKE_ONE)
    return key


def _public_key(path: Path) -> Ed25519PublicKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    pem = _read(path)
    try:
        key = load_pem_public_key(pem)
    except Exception as error:
        raise _no_key(path, "public", _PUBLISH) from error
    if not isinstance(key, Ed25519PublicKey):
        raise _no_key(path, "public", _PUBLISH)
    return key


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES)
    except OSError as error:
        raise InvalidInput(
            f'the key file "{visible(str(path))}" cannot be read: {error.strerror}',
            hint="check its name, and that it is a file you may read",
        ) from error


def _no_key(path: Path, kind: str, hint: str) -> InvalidInput:
    return InvalidInput(f'"{visible(str(path))}" holds no {kind} Ed25519 key in PEM', hint=hint)
