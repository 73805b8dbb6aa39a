"""Grants with a reason and an end, and the sweep of those whose time has run out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from usermgr.db import changing
from usermgr.db.engine import Operation
from usermgr.db.errors import GRANT_CLAIM, violation
from usermgr.db.models import read_instant, user_claims
from usermgr.db.sql import insert_or_update
from usermgr.names import canonical_name
from usermgr.records import UNSET, Grant, SweepReport, Unset, User
from usermgr.services.lookup import find_stored
from usermgr.services.references import resolve_claims
from usermgr.services.users import BATCH, claims_gone, lock_user, record_change, update_row


def grant_claims(
    op: Operation,
    reference: str,
    claim_references: Sequence[str],
    *,
    reason: str | Unset = UNSET,
    expires_at: datetime | Unset | None = UNSET,
) -> User:
    """Grant claims, for a reason and until an end if these are given; None takes the end away.

    Those the user holds already stay, with what is given for them now; a grant whose time has run
    out becomes a new one. Raises NotFound, and InvalidInput for a reason that is no line of text.
    """
    if reason is not UNSET:
        reason = canonical_name(reason, "reason")
    wanted = resolve_claims(op.connection, claim_references)
    before = lock_user(op.connection, reference)
    held = {grant["claim_id"]: grant for grant in before.image["grants"]}
    rows = []
    for claim in wanted:
        present = held.get(claim.id)
        if present is None or not _counts(present, op.started_at):
            present = {"reason": None, "expires_at": None}
            row = {"user_id": before.user.id, "claim_id": claim.id, **present}
        else:
            row = {"user_id": before.user.id, **_stored(present)}
            if (reason is UNSET or row["reason"] == reason) and (
                expires_at is UNSET or row["expires_at"] == expires_at
            ):
                continue
        row["reason"] = row["reason"] if reason is UNSET else reason
        row["expires_at"] = row["expires_at"] if expires_at is UNSET else expires_at
        rows.append(row)
    if not rows:
        return before.user
    stored = insert_or_update(op.connection, user_claims)
    with violation(GRANT_CLAIM, lambda: claims_gone(wanted)):
        for start in range(0, len(rows), BATCH):
            op.connection.execute(stored, rows[start : start + BATCH])
    update_row(op, before.user.id, {})
    return record_change(op, before, "grant")


def list_grants(connection: Connection, reference: str) -> list[Grant]:
    """What the user was granted, by the claims' ids; also what has ended. Raises NotFound."""
    held = find_stored(connection, reference).image["grants"]
    return [
        Grant(
            claim_id=grant["claim_id"],
            claim=grant["claim"],
            reason=grant["reason"],
            expires_at=grant["expires_at"] and read_instant(grant["expires_at"]),
        )
        for grant in held
    ]


def ending(connection: Connection, reference: str, claim_references: Sequence[str]) -> list[str]:
    """Of the claims, those that the user holds until an end, in words."""
    wanted = {claim.id for claim in resolve_claims(connection, claim_references)}
    return [
        f"{grant['claim']} until {grant['expires_at']}"
        for grant in find_stored(connection, reference).image["grants"]
        if grant["claim_id"] in wanted and grant["expires_at"]
    ]


def sweep_grants(op: Operation, *, dry_run: bool = False) -> SweepReport:
    """Remove the grants whose time has run out, however many there are."""
    selected = "usermgr_expired"
    users = removed = 0
    if changing.select_expired(op, selected):
        changing.lock(op, selected)
        with changing.recorded(op, selected, "sweep"):
            removed = changing.delete_expired(op, selected)
            users = changing.touch(op, selected)
    op.count("user.sweep", users)
    op.count("grant.delete", removed)
    return SweepReport(
        users=users,
        grants=removed,
        dry_run=dry_run,
        operation_id=op.id if users and not dry_run else None,
    )


def _counts(grant: dict[str, Any], now: datetime) -> bool:
    return grant["expires_at"] is None or read_instant(grant["expires_at"]) > now


def _stored(grant: dict[str, Any]) -> dict[str, Any]:
    """The grant of an image as columns."""
    expires_at = grant["expires_at"] and read_instant(grant["expires_at"])
    return {"claim_id": grant["claim_id"], "reason": grant["reason"], "expires_at": expires_at}
