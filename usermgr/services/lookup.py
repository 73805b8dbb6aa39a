"""Finding and listing users: one statement a page, in a fixed order, paged by key."""

from __future__ import annotations

import base64
import binascii
import functools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    func,
    literal,
    or_,
    select,
    tuple_,
)

from usermgr.db.images import counts
from usermgr.db.models import Instant, claims, roles, user_claims, users
from usermgr.db.sql import (
    by_code_point,
    escape_like,
    fold,
    in_ids,
    instant,
    instant_text,
    json_list,
    json_record,
)
from usermgr.errors import InvalidInput
from usermgr.formats.writers import plain
from usermgr.names import MAX_ID, require_text, visible
from usermgr.passwords import UNUSABLE
from usermgr.records import User, UserFilter, UserPage, UserSort
from usermgr.services.references import no_such_user, resolve_claims, resolve_role, user_condition

_SORT_KEYS: dict[UserSort, ColumnElement[Any]] = {
    "id": users.c.id,
    "email": users.c.email,
    "name": by_code_point(users.c.name),
    "created_at": instant(users.c.created_at),
}
_FIELDS = tuple(field.name for field in fields(User))
BATCH = 2_000
SEARCH_MAX_LENGTH = 1_000
"""Characters; SQLite refuses patterns of more than 50,000 bytes."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A user, and the image that the history keeps of it (see ``db.images``)."""

    user: User
    image: dict[str, Any]


def find_stored(connection: Connection, reference: str) -> Stored:
    """The user that the id or e-mail means, with its image. Raises NotFound."""
    grants = select(
        json_list(
            json_record(
                "claim_id",
                claims.c.id,
                "claim",
                claims.c.description,
                "reason",
                user_claims.c.reason,
                "expires_at",
                instant_text(user_claims.c.expires_at),
            )
        )
    ).join_from(user_claims, claims)
    held = grants.where(user_claims.c.user_id == users.c.id).scalar_subquery().label("grants")
    statement = _select().add_columns(held).where(user_condition(reference))
    row = connection.execute(statement).first()
    if row is None:
        raise no_such_user(reference)
    *columns, granted = row
    user = _user(columns)
    return Stored(user, user_image(user, granted or ()))


def user_image(user: User, grants: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The image of a user who holds the grants, each with claim_id, claim, reason, expires_at."""
    shown: dict[str, Any] = plain(asdict(user))
    return {**shown, "grants": sorted(grants, key=lambda grant: grant["claim_id"])}


def find_user(connection: Connection, reference: str) -> User:
    """The user that the id or e-mail means, with role and claims. Raises NotFound."""
    row = connection.execute(_select().where(user_condition(reference))).first()
    if row is None:
        raise no_such_user(reference)
    return _user(row)


def list_users(
    connection: Connection,
    wanted: UserFilter,
    *,
    sort: UserSort = "id",
    descending: bool = False,
    limit: int = 100,
    after: str | None = None,
    count: bool = True,
) -> UserPage:
    """One page of the users that match, and how many match in all, unless nobody wants to know.

    ``after`` is the ``next_cursor`` of the page before, of a list with the same order. Raises
    InvalidInput for another cursor, NotFound for a role or claim that does not exist.
    """
    conditions = user_conditions(connection, wanted)
    statement = _ordered(_select().where(*conditions), sort, descending)
    if after is not None:
        statement = statement.where(_behind(after, sort, descending))
    rows = connection.execute(statement.limit(limit + 1)).all()
    page = tuple(_user(row) for row in rows[:limit])
    cut = len(rows) > limit
    total: int | None = len(page)
    if not count:
        total = None
    elif cut or after is not None:
        matching = select(func.count()).select_from(users).where(*conditions)
        total = connection.execute(matching).scalar_one()
    return UserPage(page, total, _cursor(page[-1], sort) if cut else None)


def iterate_users(
    connection: Connection, wanted: UserFilter, *, sort: UserSort = "id", descending: bool = False
) -> Iterator[User]:
    """Every user that matches, streamed: memory does not grow with their number."""
    statement = _ordered(
        _select().where(*user_conditions(connection, wanted)), sort, descending
    ).execution_options(yield_per=BATCH)
    for row in connection.execute(statement):
        yield _user(row)


@functools.cache
def _select() -> Select[Any]:
    """Users as they are shown. Making the statement takes longer than sending it does, so that a
    server makes it once."""
    held = (
        select(json_list(claims.c.description))
        .join(user_claims, user_claims.c.claim_id == claims.c.id)
        .where(user_claims.c.user_id == users.c.id, counts())
        .scalar_subquery()
    )
    return select(
        users.c.id,
        users.c.name,
        users.c.email,
        users.c.role_id,
        roles.c.description.label("role"),
        held.label("claims"),
        users.c.active,
        (func.substr(users.c.password, 1, 1) != UNUSABLE).label("has_password"),
        users.c.version,
        users.c.created_at,
        users.c.updated_at,
    ).join(roles, roles.c.id == users.c.role_id)


def _user(row: Sequence[Any]) -> User:
    values = dict(zip(_FIELDS, row, strict=True))
    return User(**{**values, "claims": tuple(sorted(values["claims"] or ()))})


def user_conditions(connection: Connection, wanted: UserFilter) -> list[ColumnElement[bool]]:
    """The filter as conditions on ``users``. Raises NotFound for an unknown role or claim."""
    conditions: list[ColumnElement[bool]] = []
    if wanted.role is not None:
        conditions.append(users.c.role_id == resolve_role(connection, wanted.role).id)
    if wanted.claims:
        conditions += _holds([claim.id for claim in resolve_claims(connection, wanted.claims)])
    if wanted.active is not None:
        conditions.append(users.c.active.is_(wanted.active))
    if wanted.search is not None:
        conditions.append(_contains(wanted.search))
    if wanted.created_since is not None:
        conditions.append(instant(users.c.created_at) >= wanted.created_since)
    return conditions


def _holds(claim_ids: Sequence[int]) -> Iterator[ColumnElement[bool]]:
    """The user holds every one of the claims."""
    # A database can begin with the users of one claim; the others are one condition, because
    # databases limit how many there may be.
    first, *others = claim_ids
    held = and_(user_claims.c.user_id == users.c.id, counts())
    yield select(literal(1)).where(held, user_claims.c.claim_id == first).exists()
    if others:
        number = select(func.count()).where(held, in_ids(user_claims.c.claim_id, others))
        yield number.scalar_subquery() == len(others)


def _contains(search: str) -> ColumnElement[bool]:
    if len(search) > SEARCH_MAX_LENGTH:
        raise InvalidInput(
            f"the search text has {len(search)} characters",
            hint=f"at most {SEARCH_MAX_LENGTH} are allowed",
        )
    pattern = f"%{escape_like(require_text(search, 'search text'))}%"
    # E-mails are stored as Python lowers them, which is not in every letter as databases do.
    return or_(
        _one_sigma(fold(users.c.name)).like(_one_sigma(fold(pattern)), escape="\\"),
        _one_sigma(users.c.email).like(_one_sigma(literal(pattern.lower())), escape="\\"),
    )


def _one_sigma(lowered: ColumnElement[str]) -> ColumnElement[str]:
    """The text with the sigma that ends a word written as every other: both are one capital."""
    return func.replace(lowered, "ς", "σ")


def _ordered(statement: Select[Any], sort: UserSort, descending: bool) -> Select[Any]:
    keys = [_SORT_KEYS[sort]] if sort == "id" else [_SORT_KEYS[sort], users.c.id]
    return statement.order_by(*(key.desc() if descending else key for key in keys))


def _cursor(user: User, sort: UserSort) -> str:
    value = getattr(user, sort)
    key = value.isoformat() if isinstance(value, datetime) else value
    text = json.dumps([sort, key, user.id], ensure_ascii=False, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _behind(cursor: str, sort: UserSort, descending: bool) -> ColumnElement[bool]:
    key, user_id = _read_cursor(cursor, sort)
    column = _SORT_KEYS[sort]
    if sort == "id":
        return column < user_id if descending else column > user_id
    bound = literal(key, Instant() if sort == "created_at" else None)
    row, last = tuple_(column, users.c.id), tuple_(bound, literal(user_id))
    return and_(row < last if descending else row > last)


def _read_cursor(cursor: str, sort: UserSort) -> tuple[Any, int]:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        made_for, key, user_id = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        key = _sort_value(made_for, key)
        user_id = _sort_value("id", user_id)
    except (ValueError, TypeError, OverflowError, binascii.Error) as error:
        raise InvalidInput(
            f'"{visible(cursor)}" is not a cursor',
            hint="take it from the note below the page before",
        ) from error
    if made_for != sort:
        raise InvalidInput(
            f'the cursor "{visible(cursor)}" belongs to a list sorted by {visible(str(made_for))}',
            hint=f"pass --sort {visible(str(made_for))}, or begin again without --after",
        )
    return key, user_id


def _sort_value(sort: UserSort, value: Any) -> Any:
    """The value as the sort's column holds it. Raises ValueError or TypeError for any other."""
    if sort == "created_at":
        return datetime.fromisoformat(value).astimezone(UTC)
    if sort == "id":
        if type(value) is int and abs(value) <= MAX_ID:
            return value
    elif sort in _SORT_KEYS and isinstance(value, str):
        # As it is stored: adopted tables and other programs hold texts that are not canonical.
        value.encode()
        if "\0" not in value:
            return value
    raise ValueError(value)
