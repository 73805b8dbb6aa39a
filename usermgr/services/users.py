"""Users, one at a time: create, update, grant, revoke, set a password, delete."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, delete, insert, literal, select, update

from usermgr import passwords
from usermgr.db.engine import Operation
from usermgr.db.errors import EMAIL_UNIQUE, GRANT_CLAIM, USER_ROLE, referred_to, violation
from usermgr.db.models import (
    claims,
    recycled_grants,
    recycled_passwords,
    recycled_users,
    roles,
    user_claims,
    users,
)
from usermgr.db.sql import in_ids, insert_new, unlogged
from usermgr.emails import canonical_email
from usermgr.errors import Conflict, InvalidInput, NotFound
from usermgr.names import canonical_name
from usermgr.records import UNSET, NewUser, User, UserChanges
from usermgr.services.guards import holders_kept
from usermgr.services.lookup import Stored, find_stored, find_user, user_image
from usermgr.services.references import (
    Label,
    no_such,
    no_such_user,
    resolve_claims,
    resolve_role,
    resolve_role_and_claims,
    user_condition,
)

BATCH: Final = 1_000
"""Grants in one statement; databases limit the number of its parameters."""


def create_user(op: Operation, new: NewUser, *, given: str | None = None) -> User:
    """Create a user. Raises Conflict when the e-mail is taken, NotFound for a role or claim.

    ``given`` is the password itself where a person chose it. Raises InvalidInput when it is made of
    the user's own name or e-mail.
    """
    name, email = canonical_name(new.name, "user name"), canonical_email(new.email)
    if given is not None:
        passwords.refuse_own(given, name, email)
    role, granted = resolve_role_and_claims(op.connection, new.role, new.claims)
    password = _unlogged_password(op.connection, new.password_hash)
    with (
        violation(EMAIL_UNIQUE, lambda: _email_taken(email)),
        violation(USER_ROLE, lambda: no_such(roles, new.role)),
    ):
        user_id = op.connection.execute(
            insert(users)
            .values(
                name=name,
                email=email,
                password=password,
                role_id=role.id,
                active=new.active,
                created_at=op.started_at,
                created_in=op.id,
            )
            .returning(users.c.id)
        ).scalar_one()
    _insert_grants(op, user_id, granted)
    user = User(
        id=user_id,
        name=name,
        email=email,
        role_id=role.id,
        role=role.description,
        claims=tuple(sorted(claim.description for claim in granted)),
        active=new.active,
        has_password=passwords.is_usable(new.password_hash or passwords.UNUSABLE),
        version=1,
        created_at=op.started_at,
        updated_at=None,
    )
    grants = [
        {"claim_id": claim.id, "claim": claim.description, "reason": None, "expires_at": None}
        for claim in granted
    ]
    op.record("user", user_id, email, "create", after=user_image(user, grants))
    return user


def ensure_user(op: Operation, new: NewUser, *, given: str | None = None) -> tuple[User, bool]:
    """The user with that e-mail, and whether it was created now; an existing one stays as it is.

    What is raised is what ``create_user`` raises, but for the e-mail.
    """
    try:
        with op.savepoint():
            return create_user(op, new, given=given), True
    except Conflict:
        return find_user(op.connection, canonical_email(new.email)), False


def update_user(op: Operation, reference: str, wanted: UserChanges) -> User:
    """Change what is not UNSET; a change to what is there already changes nothing.

    Raises NotFound for the user or the role, Conflict when the e-mail is taken, and Forbidden when
    a protected role or claim would lose its last active user.
    """
    values = _canonical_values(op.connection, wanted)
    before = lock_user(op.connection, reference)
    with _kept(op, values, [before.user.id]):
        return _update_user(op, before, values, wanted)


def update_users(op: Operation, references: Sequence[str], wanted: UserChanges) -> list[User]:
    """The same for several users, each once, in the order given: all or none."""
    values = _canonical_values(op.connection, wanted)
    ids = _lock_users(op.connection, references)
    with _kept(op, values, ids):
        return [
            _update_user(op, find_stored(op.connection, str(user_id)), values, wanted)
            for user_id in ids
        ]


def _update_user(
    op: Operation, before: Stored, values: dict[str, Any], wanted: UserChanges
) -> User:
    user = before.user
    values = {key: value for key, value in values.items() if getattr(user, key) != value}
    if not values:
        return user
    email = values.get("email", user.email)
    with (
        violation(EMAIL_UNIQUE, lambda: _email_taken(email)),
        violation(USER_ROLE, lambda: no_such(roles, str(wanted.role))),
    ):
        update_row(op, user.id, values)
    return record_change(op, before, "update")


def set_password(
    op: Operation, reference: str, password_hash: str | None, *, given: str | None = None
) -> User:
    """Store another password hash; None leaves the user without a usable password.

    ``given`` is the password itself where a person chose it. Raises NotFound for the user, and
    InvalidInput when it is made of the user's own name or e-mail.
    """
    before = lock_user(op.connection, reference)
    user = before.user
    if given is not None:
        passwords.refuse_own(given, user.name, user.email)
    if password_hash is None and not user.has_password:
        return user
    _keep_password(op, user.id)
    update_row(op, user.id, {"password": _unlogged_password(op.connection, password_hash)})
    return record_change(op, before, "set-password")


def revoke_claims(op: Operation, reference: str, claim_references: Sequence[str]) -> User:
    """Revoke claims; those the user does not hold are no error.

    Raises NotFound, and Forbidden when a protected claim would lose its last active holder.
    """
    unwanted = resolve_claims(op.connection, claim_references)
    before = lock_user(op.connection, reference)
    with holders_kept(op, users.c.id == before.user.id):
        revoked = op.connection.execute(
            delete(user_claims).where(
                user_claims.c.user_id == before.user.id,
                in_ids(user_claims.c.claim_id, (claim.id for claim in unwanted)),
            )
        )
    if not revoked.rowcount:
        return before.user
    update_row(op, before.user.id, {})
    return record_change(op, before, "revoke")


def distinct_users(connection: Connection, references: Sequence[str]) -> list[str]:
    """The ids of the users that are named, each once, in the order given. Raises NotFound."""
    ids = []
    for reference in references:
        found = connection.execute(select(users.c.id).where(user_condition(reference))).scalar()
        if found is None:
            raise no_such_user(reference)
        ids.append(str(found))
    return list(dict.fromkeys(ids))


def delete_user(op: Operation, reference: str) -> User:
    """Delete a user with their grants.

    Raises NotFound, Conflict when a table of the application refers to the user, and Forbidden
    when a protected role or claim would lose its last active user.
    """
    before = lock_user(op.connection, reference)
    with holders_kept(op, users.c.id == before.user.id):
        return _delete_user(op, before)


def delete_users(op: Operation, references: Sequence[str]) -> list[User]:
    """The same for several users, each once, in the order given: all or none."""
    ids = _lock_users(op.connection, references)
    with holders_kept(op, in_ids(users.c.id, ids)):
        return [_delete_user(op, find_stored(op.connection, str(user_id))) for user_id in ids]


def _delete_user(op: Operation, before: Stored) -> User:
    user = before.user
    _recycle(op, user.id)
    with referred_to(f'the user "{user.email}"'):
        op.connection.execute(delete(user_claims).where(user_claims.c.user_id == user.id))
        created_in = op.connection.execute(
            delete(users).where(users.c.id == user.id).returning(users.c.created_in)
        ).scalar_one()
    # With the row goes the only sign of which operation created users together.
    last = {**before.image, "created_in": created_in}
    op.record("user", user.id, user.email, "delete", before=last)
    return user


def _canonical_values(connection: Connection, wanted: UserChanges) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if wanted.name is not UNSET:
        values["name"] = canonical_name(wanted.name, "user name")
    if wanted.email is not UNSET:
        values["email"] = canonical_email(wanted.email)
    if wanted.role is not UNSET:
        values["role_id"] = resolve_role(connection, wanted.role).id
    if wanted.active is not UNSET:
        values["active"] = wanted.active
    if not values:
        raise InvalidInput("nothing to change", hint="give at least one of the options")
    return values


def lock_user(connection: Connection, reference: str) -> Stored:
    """The user that nobody else changes until the transaction ends. Raises NotFound."""
    # The lock is a statement of its own: a statement that waited for a lock would still see the
    # grants as they were when it began.
    locked = select(users.c.id).where(user_condition(reference)).with_for_update()
    user_id = connection.execute(locked).scalar()
    if user_id is None:
        raise no_such_user(reference)
    return find_stored(connection, str(user_id))


def _lock_users(connection: Connection, references: Sequence[str]) -> list[int]:
    """The ids of the users that are named, each once, in the order given.

    They are locked in one order, so that two commands do not wait for each other in a circle.
    """
    ids = [int(user_id) for user_id in distinct_users(connection, references)]
    locked = select(users.c.id).where(in_ids(users.c.id, ids)).order_by(users.c.id)
    present = set(connection.execute(locked.with_for_update()).scalars())
    for user_id in ids:
        if user_id not in present:
            raise no_such_user(str(user_id))
    return ids


def _kept(
    op: Operation, values: dict[str, Any], user_ids: Sequence[int]
) -> contextlib.AbstractContextManager[None]:
    """The guard, where the new values can take a user from those who count."""
    if "role_id" in values or values.get("active") is False:
        return holders_kept(op, in_ids(users.c.id, user_ids))
    return contextlib.nullcontext()


def update_row(op: Operation, user_id: int, values: dict[str, Any]) -> None:
    """Set columns of the user, and count the version up."""
    op.connection.execute(
        update(users)
        .where(users.c.id == user_id)
        .values(**values, version=users.c.version + 1, updated_at=op.started_at)
    )


def record_change(op: Operation, before: Stored, action: str) -> User:
    """Under the e-mail that the user had: so the changes name each that a user ever had."""
    user = before.user
    after = find_stored(op.connection, str(user.id))
    op.record("user", user.id, user.email, action, before=before.image, after=after.image)
    return after.user


def _keep_password(op: Operation, user_id: int) -> None:
    """Put the hash that is about to be replaced into the recycle bin."""
    op.recycled = True
    replaced = select(literal(op.id), users.c.id, users.c.password).where(users.c.id == user_id)
    columns = ["operation_id", "user_id", "password"]
    op.connection.execute(insert(recycled_passwords).from_select(columns, replaced))


def _unlogged_password(connection: Connection, password_hash: str | None) -> Any:
    """What is stored for the hash, or for none."""
    if password_hash is None:
        return passwords.UNUSABLE
    return unlogged(connection, password_hash=password_hash)["password_hash"]


def _recycle(op: Operation, user_id: int) -> None:
    """Put the user with the grants into the recycle bin."""
    op.recycled = True
    kept = [c.name for c in users.c]
    row = select(literal(op.id), *users.c).where(users.c.id == user_id)
    op.connection.execute(insert(recycled_users).from_select(["operation_id", *kept], row))
    kept = [c.name for c in user_claims.c]
    rows = select(literal(op.id), *user_claims.c).where(user_claims.c.user_id == user_id)
    op.connection.execute(insert(recycled_grants).from_select(["operation_id", *kept], rows))


def _insert_grants(op: Operation, user_id: int, granted: Sequence[Label]) -> int:
    """Grant what the user does not hold yet; returns how many that were."""
    rows = [{"user_id": user_id, "claim_id": claim.id} for claim in granted]
    new = insert_new(op.connection, user_claims)
    with violation(GRANT_CLAIM, lambda: claims_gone(granted)):
        return sum(
            op.connection.execute(new.values(rows[start : start + BATCH])).rowcount
            for start in range(0, len(rows), BATCH)
        )


def claims_gone(granted: Sequence[Label]) -> NotFound:
    """The error of claims that were deleted since they were resolved."""
    if len(granted) == 1:
        return no_such(claims, granted[0].description)
    names = ", ".join(f'"{claim.description}"' for claim in granted)
    return NotFound(
        f"one of the claims {names} was deleted meanwhile",
        hint="usermgr claim list shows those that are there",
    )


def _email_taken(email: str) -> Conflict:
    return Conflict(
        f'the e-mail "{email}" is taken',
        hint=f"look at the user with: usermgr user show {email}",
    )
