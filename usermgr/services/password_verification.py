"""Verifying passwords, and replacing the hash of one that is right but weakly kept."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import Connection, select, update

from usermgr import passwords
from usermgr.db.engine import Operation
from usermgr.db.models import recycled_passwords, users
from usermgr.db.sql import unlogged
from usermgr.errors import Mismatch, NotFound
from usermgr.hash_limits import Argon2Costs
from usermgr.hashes import is_too_costly
from usermgr.hashes.strength import Strength, assess
from usermgr.records import Verification
from usermgr.services.references import no_such_user, user_condition


@dataclass(frozen=True, slots=True)
class StoredPassword:
    """What is stored for a user: the hash, a marker, or whatever another program put there."""

    user_id: int
    email: str
    hash: str = field(repr=False)


def find_stored(connection: Connection, reference: str) -> StoredPassword | None:
    """What is stored for the user; None for a user that does not exist.

    It is for ``verify``, which takes its time for nobody as well; so this raises no NotFound.
    """
    try:
        condition = user_condition(reference)
    except NotFound:
        return None
    row = connection.execute(
        select(users.c.id, users.c.email, users.c.password).where(condition)
    ).first()
    return None if row is None else StoredPassword(*row)


def verify(
    stored: StoredPassword | None, reference: str, password: str, costs: Argon2Costs
) -> tuple[Verification, bool]:
    """Check that the password is the user's, and tell whether its hash is weak.

    Weak is another format than argon2id, or one with less memory or work than ``costs``. Needs no
    connection, which would be idle meanwhile. Raises Mismatch, and NotFound after the same time;
    InvalidInput for a password of which the stored hash would look at a part only.
    """
    if stored is None:
        passwords.spend(password, costs)
        raise no_such_user(reference)
    if not passwords.verify_password(stored.hash, password, costs):
        raise _mismatch(stored.email, too_costly=is_too_costly(stored.hash))
    weak = assess(stored.hash, costs).strength is not Strength.CURRENT
    return Verification(stored.user_id, stored.email, verified=True), weak


def replace_hash(
    op: Operation, stored: StoredPassword, new_hash: str, action: str, costs: Argon2Costs
) -> bool:
    """Store another hash of the same password, unless what was stored has changed meanwhile.

    The change says formats and parameters and never a hash. What is shown of the user stays as it
    is, and so do version and ``updated_at``. The recycle bin, which keeps the old hash of a user
    who got another password and had it undone, keeps the new one from now on.
    """
    hashes = unlogged(op.connection, former_hash=stored.hash, password_hash=new_hash)
    changed = op.connection.execute(
        update(users)
        .where(users.c.id == stored.user_id, users.c.password == hashes["former_hash"])
        .values(password=hashes["password_hash"])
        .returning(users.c.email)
    ).scalar()
    if changed is None:
        return False
    op.connection.execute(
        update(recycled_passwords)
        .where(
            recycled_passwords.c.user_id == stored.user_id,
            recycled_passwords.c.password == hashes["former_hash"],
        )
        .values(password=hashes["password_hash"])
    )
    op.record(
        "user",
        stored.user_id,
        changed,
        action,
        before=_image(stored.hash, costs),
        after=_image(new_hash, costs),
    )
    return True


def _image(stored: str, costs: Argon2Costs) -> dict[str, str]:
    found = assess(stored, costs)
    return {"format": found.format, "parameters": found.parameters}


def _mismatch(email: str, *, too_costly: bool) -> Mismatch:
    if not too_costly:
        return Mismatch(f'the password of "{email}" does not match')
    return Mismatch(
        f'the password of "{email}" is not verified: its hash asks for too much memory or time',
        hint=f"store a new one with: usermgr user set-password {email}",
    )
