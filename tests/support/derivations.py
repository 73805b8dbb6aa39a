"""Which slow functions a verification calls: what it takes, without a clock."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import argon2.low_level
import bcrypt
import pytest


def note_derivations(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A list that gets the name and the costs of every slow function that is called from now on."""
    noted: list[str] = []

    def note(owner: Any, name: str, tell: Callable[..., str]) -> None:
        real = getattr(owner, name)

        def called(*args: Any, **more: Any) -> Any:
            noted.append(tell(*args, **more))
            return real(*args, **more)

        monkeypatch.setattr(owner, name, called)

    note(
        argon2.low_level,
        "hash_secret_raw",
        lambda *_, memory_cost, time_cost, parallelism, **__: (
            f"argon2 m={memory_cost},t={time_cost},p={parallelism}"
        ),
    )
    note(bcrypt, "hashpw", lambda _, setting: f"bcrypt c={setting.split(b'$')[2].decode()}")
    note(hashlib, "pbkdf2_hmac", lambda name, _, __, rounds, ___: f"pbkdf2 i={rounds}")
    return noted
