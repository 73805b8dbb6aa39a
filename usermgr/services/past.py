"""Users as of a moment in the past, from the images of the history."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection

from usermgr.db.images import HASH_ONLY
from usermgr.db.models import read_instant
from usermgr.errors import NotFound
from usermgr.formats.writers import plain
from usermgr.names import visible
from usermgr.records import Change, User
from usermgr.services.erasing import ACTION as ERASE
from usermgr.services.history import ERASED, user_history
from usermgr.services.lookup import find_stored

_BEGINNINGS: Final = ("create", "restore")


def find_user_at(connection: Connection, reference: str, at: datetime) -> User:
    """The user as of then, with the claims whose time had not run out then.

    What the history does not tell is taken to have been as it was at the next thing that it tells.
    An e-mail means who had it then, else who had it at another time. Raises NotFound when there was
    no such user at that time, or what the history told of it is erased.
    """
    history = user_history(connection, reference)
    by_id: dict[int, list[Change]] = {change.entity_id: [] for change in history}
    for change in history:
        by_id[change.entity_id].append(change)
    if not by_id:
        by_id[find_stored(connection, reference).user.id] = []
    found, erased = [], None
    for user_id, changes in by_id.items():
        told = [change for change in changes if change.action not in HASH_ONLY]
        try:
            if image := _image_at(connection, user_id, told, at):
                found.append(_user_of(image, at))
        except _NotKnown:
            erased = user_id
    if not found and erased is not None:
        raise NotFound(
            f"the user {erased} was erased: nothing tells any more how it was at {plain(at)}",
            hint=f"usermgr user history {erased} tells what is left",
        )
    if not found:
        raise NotFound(
            f'there was no user "{visible(reference)}" at {plain(at)}',
            hint=f"usermgr user history {visible(reference)} tells of all times",
        )
    named = [user for user in found if user.email == reference.strip().lower()]
    return (named or found)[0]


class _NotKnown(Exception):
    """The images of that time are erased."""


def _image_at(
    connection: Connection, user_id: int, changes: list[Change], at: datetime
) -> dict[str, Any] | None:
    """The image as of then; None when the user was not there. Raises _NotKnown."""
    last = next((change for change in reversed(changes) if change.at <= at), None)
    if last is not None and last.action != ERASE:
        if last.after is not None or last.action == "delete":
            return last.after
        if last.changed == ERASED:
            raise _NotKnown
    following = next((change for change in changes if change.at > at), None)
    if following is None:
        image = _present(connection, user_id)
    elif following.action in _BEGINNINGS:
        return None
    elif following.action == ERASE or following.changed == ERASED:
        raise _NotKnown
    else:
        image = following.before
    return image if image and read_instant(image["created_at"]) <= at else None


def _present(connection: Connection, user_id: int) -> dict[str, Any] | None:
    try:
        return find_stored(connection, str(user_id)).image
    except NotFound:
        return None


def _user_of(image: dict[str, Any], at: datetime) -> User:
    held = image["claims"]
    if "grants" in image:  # Images of former revisions have names only.
        held = [
            grant["claim"]
            for grant in image["grants"]
            if grant["expires_at"] is None or read_instant(grant["expires_at"]) > at
        ]
    return User(
        id=image["id"],
        name=image["name"],
        email=image["email"],
        role_id=image["role_id"],
        role=image["role"],
        claims=tuple(sorted(held)),
        active=image["active"],
        has_password=image["has_password"],
        version=image["version"],
        created_at=read_instant(image["created_at"]),
        updated_at=image["updated_at"] and read_instant(image["updated_at"]),
    )
