"""The two origins whose hashes are structures: Keycloak's JSON, and ASP.NET Identity's bytes."""

from __future__ import annotations

import base64
import json
from typing import Any, Final

from usermgr.hashes.recipes import LENGTH_MAX, Recipe, decode

_ASPNET_DIGESTS: Final = ("sha1", "sha256", "sha512")
_KEYCLOAK_DIGESTS: Final = {
    "pbkdf2": "sha1",
    "pbkdf2-sha256": "sha256",
    "pbkdf2-sha512": "sha512",
}
_ARGON2_VERSIONS: Final = {"1.0": "16", "1.3": "19"}


def read_keycloak(text: str) -> tuple[Recipe, bytes]:
    """The recipe and the digest of a password credential of Keycloak.

    It is an object with ``credentialData`` and ``secretData``, as in Keycloak's exports, where both
    are JSON inside a string. Raises ValueError for what is none.
    """
    try:
        credential = json.loads(text)
        data, secret = _object(credential["credentialData"]), _object(credential["secretData"])
        salt, digest = decode(secret["salt"]), decode(secret["value"])
        algorithm, rounds = data["algorithm"], int(data["hashIterations"])
        if (
            not 0 < len(digest) <= LENGTH_MAX
            or rounds < 1
            or credential.get("type", "password") != "password"
        ):
            raise ValueError("no password")
        if algorithm == "argon2":
            return Recipe("argon2", _argon2(data, rounds, digest), salt), digest
        values = {"d": _KEYCLOAK_DIGESTS[algorithm], "i": str(rounds), "l": str(len(digest))}
        return Recipe("pbkdf2", values, salt), digest
    except _OTHER_SHAPES as error:
        raise ValueError("no credential of Keycloak") from error


_OTHER_SHAPES: Final = (LookupError, TypeError, AttributeError, OverflowError, RecursionError)


def _object(value: Any) -> dict[str, Any]:
    found = json.loads(value) if isinstance(value, str) else value
    if not isinstance(found, dict):
        raise TypeError("no object")
    return found


def _argon2(data: dict[str, Any], passes: int, digest: bytes) -> dict[str, str]:
    more = {name: values[0] for name, values in data["additionalParameters"].items()}
    kind, memory, lanes = more["type"], int(more["memory"]), int(more["parallelism"])
    if kind not in ("id", "i", "d") or min(memory, lanes) < 1:
        raise ValueError("no argon2")
    return {
        "y": kind,
        "v": _ARGON2_VERSIONS[more["version"]],
        "m": str(memory),
        "t": str(passes),
        "p": str(lanes),
        "l": str(len(digest)),
    }


def read_aspnet(text: str) -> tuple[Recipe, bytes]:
    """The recipe and the digest of an ASP.NET Identity hash, version 2 or 3.

    Source: dotnet/aspnetcore, src/Identity/Extensions.Core/src/PasswordHasher.cs. Raises ValueError
    for what is none.
    """
    data = base64.b64decode(text, validate=True)
    if data[0] == 0:
        digest_name, rounds, salt, digest = "sha1", 1000, data[1:17], data[17:]
    else:
        kind, rounds, length = (int.from_bytes(data[at : at + 4], "big") for at in (1, 5, 9))
        digest_name, salt, digest = (
            _ASPNET_DIGESTS[kind],
            data[13 : 13 + length],
            data[13 + length :],
        )
    if len(salt) < 16 or not 16 <= len(digest) <= LENGTH_MAX or not rounds:
        raise ValueError("no hash of ASP.NET Identity")
    return Recipe(
        "pbkdf2", {"d": digest_name, "i": str(rounds), "l": str(len(digest))}, salt
    ), digest
