"""Why a user holds a claim, or does not: when, by whom, in which operation, until when."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from usermgr.db.models import claims, read_instant
from usermgr.records import Change, Explanation
from usermgr.services.erasing import ACTION as ERASE
from usermgr.services.history import user_history
from usermgr.services.lookup import find_stored
from usermgr.services.references import resolve_claims


def explain_grant(connection: Connection, reference: str, claim: str, now: datetime) -> Explanation:
    """Whether and why the user holds the claim at the moment ``now``. Raises NotFound."""
    label = resolve_claims(connection, [claim])[0]
    stored = find_stored(connection, reference)
    active = connection.execute(select(claims.c.active).where(claims.c.id == label.id)).scalar_one()
    grant = _grant_of(stored.image, label.id)
    history = user_history(connection, str(stored.user.id))
    change = _last_change(history, label.id, granted=grant is not None)
    expires_at = grant["expires_at"] and read_instant(grant["expires_at"]) if grant else None
    doubts = []
    erasure = next((told for told in reversed(history) if told.action == ERASE), None)
    if grant is None and change is None and erasure is not None:
        change = erasure
        doubts.append("it is not granted, and what was before the user was erased is not known")
    elif grant is None:
        doubts.append("it is not granted" + (", but was once" if change else ""))
    elif expires_at is not None and expires_at <= now:
        doubts.append("the grant has expired")
    if not stored.user.active:
        doubts.append("the user is inactive")
    if not active:
        doubts.append("the claim is inactive")
    return Explanation(
        user=stored.user.email,
        claim=label.description,
        granted=grant is not None,
        counts=not doubts,
        because="; ".join(doubts) or "it is granted",
        at=change.at if change else None,
        actor=change.actor if change else None,
        command=change.command if change else None,
        operation_id=change.operation_id if change else None,
        reason=grant["reason"] if grant else None,
        expires_at=expires_at,
        user_active=stored.user.active,
        claim_active=active,
    )


def _last_change(history: list[Change], claim_id: int, *, granted: bool) -> Change | None:
    """The change that granted the claim as it is now granted, or took it away when it is not.

    Who grants it again, for another reason or until another time, is who granted it.
    """
    for change in reversed(history):
        before, after = _terms(change.before, claim_id), _terms(change.after, claim_id)
        told_by_operation = change.before is None and change.after is None
        if granted and change.action in ("create", "restore") and told_by_operation:
            return change  # Created with many others: it has held it from the beginning.
        if before != after and (after is not None) == granted:
            return change
    return None


def _terms(image: dict[str, Any] | None, claim_id: int) -> tuple[Any, Any] | None:
    grant = _grant_of(image, claim_id)
    return (grant["reason"], grant["expires_at"]) if grant else None


def _grant_of(image: dict[str, Any] | None, claim_id: int) -> dict[str, Any] | None:
    return next((g for g in (image or {}).get("grants", ()) if g["claim_id"] == claim_id), None)
