"""Claims: what users are granted; a user holds any number of them."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, and_

from usermgr.db.engine import Operation
from usermgr.db.errors import CLAIM_UNIQUE
from usermgr.db.images import counts
from usermgr.db.models import claims, user_claims
from usermgr.records import UNSET, Claim, Unset
from usermgr.services.labels import Labels, given

CLAIMS = Labels(
    noun="claim",
    table=claims,
    holders=and_(user_claims.c.claim_id == claims.c.id, counts()),
    unique=CLAIM_UNIQUE,
    build=lambda row: Claim(row.id, row.description, row.active, row.protected, row.users),
    ended=and_(user_claims.c.claim_id == claims.c.id, ~counts()),
)


def create_claim(op: Operation, name: str, *, if_not_exists: bool = False) -> tuple[Claim, bool]:
    """The claim and whether it was made now. Raises Conflict when the name is taken."""
    return CLAIMS.create(op, name, if_not_exists=if_not_exists)


def find_claim(connection: Connection, reference: str) -> Claim:
    """The claim that the name or id means. Raises NotFound."""
    return CLAIMS.find(connection, reference)


def list_claims(connection: Connection) -> list[Claim]:
    """Every claim, by id."""
    return CLAIMS.list(connection)


def update_claim(
    op: Operation,
    reference: str,
    *,
    name: str | Unset = UNSET,
    active: bool | Unset = UNSET,
    protected: bool | Unset = UNSET,
) -> Claim:
    """Rename, enable, disable or protect a claim, in one change.

    Raises NotFound, Conflict when the name is taken, and Forbidden when a protected one is to be
    disabled. A disabled claim stays granted and listed; applications treat it as not granted.
    """
    values = {"description": name, "active": active, "protected": protected}
    return CLAIMS.update(op, reference, given(values))


def protect_claims(
    op: Operation, references: Sequence[str], *, protected: bool = True
) -> Sequence[Claim]:
    """Protect claims, or take the protection away: all, each once, or none. Raises NotFound."""
    return CLAIMS.protect(op, references, protected=protected)


def delete_claim(op: Operation, reference: str) -> Claim:
    """Delete a claim.

    Raises NotFound, Forbidden when it is protected, and Conflict with the number of users that
    hold it.
    """
    return CLAIMS.delete(op, reference)
