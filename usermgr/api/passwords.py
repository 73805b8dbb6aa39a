"""Passwords of requests. Hashing and verifying take a core for milliseconds, with no transaction
open; both happen here alone, so that they can be limited in one place."""

from __future__ import annotations

import contextlib
from math import ceil
from typing import NamedTuple

from usermgr.api.bodies import PasswordBody
from usermgr.api.calls import Call
from usermgr.api.problems import Problem
from usermgr.errors import InvalidInput, Mismatch, UserMgrError
from usermgr.hashes import hash_problem
from usermgr.passwords import UNUSABLE, check_password, generate_password, hash_password
from usermgr.records import Verification
from usermgr.services import password_verification


class Chosen(NamedTuple):
    """The hash to store (None: no usable password), and the text that was given or generated."""

    hash: str | None
    given: str | None
    generated: str | None

    @property
    def shown(self) -> dict[str, str]:
        """What is answered once, besides the user."""
        return {"generated_password": self.generated} if self.generated else {}


def choose(call: Call, body: PasswordBody) -> Chosen:
    """The password that the body means. Raises InvalidInput for one that is not acceptable, and for
    more than one choice."""
    settings = call.runtime.settings
    if sum((body.password is not None, body.password_hash is not None, body.no_password)) > 1:
        raise InvalidInput("give one of password, password_hash and no_password")
    if body.no_password or body.password_hash == UNUSABLE:
        return Chosen(None, None, None)
    if body.password_hash is not None:
        if problem := hash_problem(body.password_hash):
            raise InvalidInput(f"the password_hash is refused: {problem}")
        return Chosen(body.password_hash, None, None)
    if body.password is None:
        generated = generate_password()
        return Chosen(_hash(call, generated), None, generated)
    given = check_password(
        body.password, min_length=settings.password_min_length, blocklist=settings.blocklist
    )
    return Chosen(_hash(call, given), given, None)


def verify(call: Call, user_id: str, password: str) -> Verification:
    """Whether the password is the user's. Raises NotFound, after the same time, and the problem of
    too many wrong ones.

    A weak hash of a right password is replaced, if that is possible now.
    """
    logins, who = call.runtime.logins, (int(user_id), call.bearer.token.id)
    if wait := logins.seconds_to_wait(*who):
        headers = {"Retry-After": str(ceil(wait))}
        raise Problem(429, "too many wrong passwords of this user", headers=headers)
    with call.read() as connection:
        stored = password_verification.find_stored(connection, user_id)
    costs = call.runtime.settings.hash_costs
    try:
        verified, weak = password_verification.verify(stored, user_id, password, costs)
    except Mismatch:
        logins.note(*who, verified=False)
        if stored is None:
            raise
        return Verification(stored.user_id, stored.email, verified=False)
    logins.note(*who, verified=True)
    if weak and stored is not None:
        new_hash = _hash(call, password)
        # The password was right, whatever becomes of its hash.
        with (
            contextlib.suppress(UserMgrError),
            call.operation("user verify-password") as op,
        ):
            password_verification.replace_hash(op, stored, new_hash, "rehash", costs)
    return verified


def _hash(call: Call, password: str) -> str:
    return hash_password(password, call.runtime.settings.hash_costs)
