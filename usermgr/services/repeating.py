"""Requests that may come again: what they were answered, in the transaction of the change itself.

Either both are stored or none, so a request that is repeated because its answer was lost changes
nothing a second time. The answer may hold personal data, or a password that is shown once: it is
encrypted (AES-256-GCM) by a key that is made of the token's secret, which is stored nowhere.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from sqlalchemy import Connection, delete, insert, select, text

from usermgr.db.engine import Operation
from usermgr.db.models import changes, idempotency_keys
from usermgr.errors import Conflict, InvalidInput

KEPT: Final = timedelta(days=1)
_NONCE: Final = 12
_KEPT_IN = idempotency_keys.c


@dataclass(frozen=True, slots=True)
class Repeatable:
    """A request with the key that its client gave it; a repetition has the same fingerprint."""

    token_id: int
    key: str
    fingerprint: str
    secret: str = field(repr=False)


def find_answer(op: Operation, request: Repeatable) -> bytes | None:
    """What the request was answered before, None if it was not.

    Nobody else gets as far as here with the same key until the transaction ends. Raises Conflict
    while another one is there, or when the token was rotated since, and InvalidInput when the key
    was used for another request.
    """
    _lock(op.connection, request)
    row = op.connection.execute(
        select(_KEPT_IN.fingerprint, _KEPT_IN.answer).where(
            _KEPT_IN.token_id == request.token_id,
            _KEPT_IN.key == request.key,
            _KEPT_IN.created_at > op.started_at - KEPT,
        )
    ).first()
    if row is None:
        return None
    if row.fingerprint != request.fingerprint:
        raise InvalidInput(
            "the Idempotency-Key was used for another request",
            hint="give each request a key of its own",
        )
    return _decrypt(request, row.answer)


def keep_answer(op: Operation, request: Repeatable, answer: bytes) -> None:
    """Keep for a day what the request is answered, and forget what is older."""
    connection = op.connection
    old = _KEPT_IN.created_at <= op.started_at - KEPT
    connection.execute(delete(idempotency_keys).where(old))
    connection.execute(
        insert(idempotency_keys).values(
            token_id=request.token_id,
            key=request.key,
            fingerprint=request.fingerprint,
            operation_id=op.id if op.counts else None,
            created_at=op.started_at,
            answer=_encrypt(request, answer),
        )
    )


def forget_answers(connection: Connection, user_id: int) -> None:
    """Forget what was answered about a user."""
    made = select(changes.c.operation_id).where(
        changes.c.entity == "user", changes.c.entity_id == user_id
    )
    connection.execute(delete(idempotency_keys).where(_KEPT_IN.operation_id.in_(made)))


def running(request: Repeatable) -> Conflict:
    """The error of a request whose like is being worked on."""
    return Conflict(
        f'a request with the Idempotency-Key "{request.key}" is being worked on', hint="try again"
    )


def _lock(connection: Connection, request: Repeatable) -> None:
    # On SQLite whoever writes is alone.
    if connection.dialect.name != "postgresql":
        return
    lock = text("SELECT pg_try_advisory_xact_lock(hashtextextended(:what, 0))")
    what = f"usermgr idempotency {request.token_id} {request.key}"
    if not connection.execute(lock, {"what": what}).scalar():
        raise running(request)


def _encrypt(request: Repeatable, answer: bytes) -> str:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = secrets.token_bytes(_NONCE)
    sealed = AESGCM(_key(request)).encrypt(nonce, answer, _place(request))
    return base64.b64encode(nonce + sealed).decode()


def _decrypt(request: Repeatable, stored: str) -> bytes:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    sealed = base64.b64decode(stored)
    try:
        return AESGCM(_key(request)).decrypt(sealed[:_NONCE], sealed[_NONCE:], _place(request))
    except InvalidTag as error:
        raise Conflict(
            "the request was answered before the token was rotated, and cannot be answered again",
            hint="look at what was changed, and use another Idempotency-Key",
        ) from error


def _key(request: Repeatable) -> bytes:
    return hashlib.sha256(f"usermgr idempotency\0{request.secret}".encode()).digest()


def _place(request: Repeatable) -> bytes:
    """Binds what is encrypted to its row."""
    return f"{request.token_id}\0{request.key}\0{request.fingerprint}".encode()
