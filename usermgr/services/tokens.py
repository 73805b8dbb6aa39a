"""Tokens of the HTTP API: create, find, list, rotate, revoke, and who bears one."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final, cast

from sqlalchemy import Connection, Row, insert, or_, select, update

from usermgr.db.engine import Operation
from usermgr.db.errors import TOKEN_UNIQUE, violation
from usermgr.db.models import tokens, users
from usermgr.errors import Conflict, InvalidInput, NotFound
from usermgr.formats.writers import plain
from usermgr.names import MAX_ID, canonical_label, parse_id, require_text, visible
from usermgr.records import SCOPES, NewToken, Scope, Token
from usermgr.services.lookup import find_user
from usermgr.services.token_text import Presented, generate_secret, secret_digest, token_text

ENTITY: Final = "token"
USE_IS_KEPT_FOR: Final = timedelta(hours=1)
"""How exact ``last_used_at`` is."""

_SHOWN: Final = [column for column in tokens.c if column.name != "digest"]


@dataclass(frozen=True, slots=True)
class Bearer:
    """Who bears a token that is valid at the moment."""

    token: Token

    @property
    def actor(self) -> str:
        """How the history calls whoever uses the token; by ids, because it never forgets."""
        token = f"token {self.token.id} {self.token.name}"
        return token if self.token.user_id is None else f"user {self.token.user_id} ({token})"


def read_scopes(text: str) -> tuple[Scope, ...]:
    """The scopes of a comma-separated list, in order. ``read`` is every one for reading, ``all``
    every one. Raises InvalidInput for another word, and for none."""
    wanted: set[str] = set()
    for word in filter(None, (part.strip() for part in text.split(","))):
        if word not in (*SCOPES, "read", "all"):
            raise InvalidInput(
                f'no scope "{visible(word)}"', hint="the scopes are all, read, " + ", ".join(SCOPES)
            )
        wanted.update(s for s in SCOPES if word in (s, "all") or s.endswith(f":{word}"))
    return ordered_scopes(wanted)


def ordered_scopes(wanted: Iterable[str]) -> tuple[Scope, ...]:
    """The scopes, each once, in the order in which they are told. Raises InvalidInput for none."""
    chosen = set(wanted)
    if not chosen:
        raise InvalidInput("no scope was named", hint="the scopes are " + ", ".join(SCOPES))
    return tuple(scope for scope in SCOPES if scope in chosen)


def create_token(op: Operation, new: NewToken) -> tuple[Token, str]:
    """A new token, and its text, which nothing can tell again.

    Raises Conflict when a token in force has the name, NotFound for the user, and InvalidInput for
    an end that is not to come.
    """
    _require_future(op, new.expires_at)
    name, secret = canonical_label(new.name, "token name"), generate_secret()
    user_id = None if new.user is None else find_user(op.connection, new.user).id
    values = {
        "name": name,
        "scopes": " ".join(ordered_scopes(new.scopes)),
        "user_id": user_id,
        "created_at": op.started_at,
        "expires_at": new.expires_at,
        "digest": secret_digest(secret),
    }
    with violation(TOKEN_UNIQUE, lambda: _taken(name)):
        row = op.connection.execute(insert(tokens).values(values).returning(*_SHOWN)).one()
    token = _token(row)
    op.record(ENTITY, token.id, token.name, "create", after=_image(token))
    return token, token_text(token.id, secret)


def find_token(connection: Connection, reference: str) -> Token:
    """The token of the id; or of the name, the one in force before those that were revoked.

    Raises NotFound.
    """
    return _token(_find(connection, reference))


def list_tokens(connection: Connection) -> list[Token]:
    """Every token, by id; those that were revoked or have expired, too."""
    return [_token(row) for row in connection.execute(select(*_SHOWN).order_by(tokens.c.id))]


def rotate_token(op: Operation, reference: str, *, expires_at: datetime) -> tuple[Token, str]:
    """Give a token another secret and another end; the former secret is worth nothing from now on.

    Returns the token and its new text. Raises NotFound, Conflict for a token that was revoked, and
    InvalidInput for an end that is not to come.
    """
    _require_future(op, expires_at)
    before = _token(_find(op.connection, reference, lock=True))
    if before.revoked_at is not None:
        raise Conflict(
            f'the token "{before.name}" was revoked',
            hint="make a new one with: usermgr token create",
        )
    secret = generate_secret()
    values = {"digest": secret_digest(secret), "expires_at": expires_at}
    return _change(op, before, "rotate", values), token_text(before.id, secret)


def revoke_token(op: Operation, reference: str) -> Token:
    """Take a token's power away for good; one that was revoked already stays as it is.

    Raises NotFound.
    """
    before = _token(_find(op.connection, reference, lock=True))
    if before.revoked_at is not None:
        return before
    return _change(op, before, "revoke", {"revoked_at": op.started_at})


def find_bearer(connection: Connection, presented: Presented, now: datetime) -> Bearer | None:
    """Who bears the token, in one statement; None where it is not valid.

    It is not when the secret is another, when it was revoked or has expired, and when the user it
    acts for is disabled or deleted.
    """
    if presented.id > MAX_ID:
        return None
    statement = select(*_SHOWN, tokens.c.digest, users.c.active)
    statement = statement.join_from(tokens, users, users.c.id == tokens.c.user_id, isouter=True)
    row = connection.execute(statement.where(tokens.c.id == presented.id)).first()
    if row is None or not hmac.compare_digest(row.digest, secret_digest(presented.secret)):
        return None
    if row.revoked_at is not None or row.expires_at <= now:
        return None
    if row.user_id is not None and not row.active:
        return None
    return Bearer(_token(row[: len(_SHOWN)]))


def note_use(connection: Connection, token_id: int, now: datetime) -> None:
    """Keep when the token was used, unless something is kept that is nearly as new."""
    used = tokens.c.last_used_at
    old = or_(used.is_(None), used < now - USE_IS_KEPT_FOR)
    hour = now.replace(minute=0, second=0, microsecond=0)
    connection.execute(update(tokens).where(tokens.c.id == token_id, old).values(last_used_at=hour))


def use_is_old(token: Token, now: datetime) -> bool:
    """Whether ``note_use`` would keep that the token is used now."""
    return token.last_used_at is None or token.last_used_at < now - USE_IS_KEPT_FOR


def _find(connection: Connection, reference: str, *, lock: bool = False) -> Row[Any]:
    number = parse_id(reference.strip())
    statement = select(*_SHOWN)
    if number is None:
        name = require_text(reference.strip(), "token")
        in_force_first = tokens.c.revoked_at.is_not(None)
        statement = statement.where(tokens.c.name == name)
        statement = statement.order_by(in_force_first, tokens.c.id.desc()).limit(1)
    else:
        statement = statement.where(tokens.c.id == min(number, MAX_ID))
    row = connection.execute(statement.with_for_update() if lock else statement).first()
    if row is None:
        raise NotFound(
            f'no token "{visible(reference)}"',
            hint="usermgr token list shows them, usermgr token create makes one",
        )
    return row


def _change(op: Operation, before: Token, action: str, values: dict[str, Any]) -> Token:
    changed = update(tokens).where(tokens.c.id == before.id).values(values)
    after = _token(op.connection.execute(changed.returning(*_SHOWN)).one())
    images = {"before": _image(before), "after": _image(after)}
    op.record(ENTITY, before.id, before.name, action, **images)
    return after


def _token(row: Any) -> Token:
    values = dict(zip((column.name for column in _SHOWN), row, strict=True))
    scopes = cast(tuple[Scope, ...], tuple(values.pop("scopes").split()))
    return Token(**values, scopes=scopes)


def _image(token: Token) -> dict[str, Any]:
    """The token as the history keeps it, which is not told of its use."""
    shown: dict[str, Any] = plain(asdict(token))
    return {key: value for key, value in shown.items() if key != "last_used_at"}


def _require_future(op: Operation, expires_at: datetime) -> None:
    if expires_at <= op.started_at:
        raise InvalidInput("the token would have expired already", hint="give a later time")


def _taken(name: str) -> Conflict:
    return Conflict(
        f'a token "{name}" is in force already',
        hint=f'usermgr token rotate "{name}" gives it another secret, revoke ends it',
    )
