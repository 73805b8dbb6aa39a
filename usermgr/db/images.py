"""Images of users, as the history keeps them, made by SQL for any number of users at once.

An image is the user as ``records.User`` shows it, and ``grants``: every grant with claim_id, claim,
reason and expires_at, those included that do not count any more. ``services.lookup.find_stored``
makes the same of one user; a test holds the two together.
"""

from __future__ import annotations

import json
from typing import Final

from sqlalchemy import ColumnElement, or_

from usermgr.db.models import user_claims
from usermgr.db.sql import current_instant

_NOW: Final = {
    "postgresql": "now()",
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f', 'now')",
}
_INSTANT: Final = {
    # SQLAlchemy takes a colon for the beginning of a parameter.
    "postgresql": r"""to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24\:MI\:SS.US"Z"')""",
    "sqlite": "replace({}, ' ', 'T') || 'Z'",
}
_SALT: Final = {
    "postgresql": "replace(CAST(gen_random_uuid() AS text), '-', '')",
    "sqlite": "lower(hex(randomblob(16)))",
}
_IMAGE: Final = {
    "postgresql": """
        jsonb_build_object('id', u.id, 'name', u.name, 'email', u.email, 'role_id', u.role_id,
            'role', r.description,
            'claims', (SELECT coalesce(jsonb_agg(c.description ORDER BY c.description COLLATE "C"),
                '[]') FROM user_claims g JOIN claims c ON c.id = g.claim_id
                WHERE g.user_id = u.id AND {live}),
            'active', u.active, 'has_password', left(u.password, 1) <> '!', 'version', u.version,
            'created_at', {created_at}, 'updated_at', {updated_at},
            'grants', (SELECT coalesce(jsonb_agg(jsonb_build_object('claim_id', c.id,
                'claim', c.description, 'reason', g.reason, 'expires_at', {expires_at})
                ORDER BY c.id), '[]') FROM user_claims g JOIN claims c ON c.id = g.claim_id
                WHERE g.user_id = u.id))
    """,
    "sqlite": """
        json_object('id', u.id, 'name', u.name, 'email', u.email, 'role_id', u.role_id,
            'role', r.description,
            'claims', json((SELECT json_group_array(held.description) FROM
                (SELECT c.description FROM user_claims g JOIN claims c ON c.id = g.claim_id
                WHERE g.user_id = u.id AND {live} ORDER BY c.description) held)),
            'active', json(iif(u.active, 'true', 'false')),
            'has_password', json(iif(substr(u.password, 1, 1) <> '!', 'true', 'false')),
            'version', u.version, 'created_at', {created_at}, 'updated_at', {updated_at},
            'grants', json((SELECT json_group_array(json(held.grant_)) FROM
                (SELECT json_object('claim_id', c.id, 'claim', c.description,
                'reason', g.reason, 'expires_at', {expires_at}) AS grant_
                FROM user_claims g JOIN claims c ON c.id = g.claim_id
                WHERE g.user_id = u.id ORDER BY c.id) held)))
    """,
}
_VALUE: Final = {
    "postgresql": {
        "text": "({image} ->> '{key}')",
        "truth": "CAST({image} ->> '{key}' AS boolean)",
        "instant": "CAST({image} ->> '{key}' AS timestamptz)",
        "has": "jsonb_exists({image}, '{key}')",
        "rows": "jsonb_array_elements({image} -> '{key}') AS e (value)",
        "item": "(e.value #>> '{{}}')",
    },
    "sqlite": {
        "text": "json_extract({image}, '$.{key}')",
        "truth": "json_extract({image}, '$.{key}')",
        "instant": "replace(replace(json_extract({image}, '$.{key}'), 'T', ' '), 'Z', '')",
        "has": "(json_type({image}, '$.{key}') IS NOT NULL)",
        "rows": "json_each({image}, '$.{key}') AS e",
        "item": "e.value",
    },
}


HASH_ONLY: Final = ("rehash", "strengthen")
"""Actions that concern the hash of a password only: what they keep is no image of the user."""

_BOOKKEEPING: Final = ("version", "updated_at", "created_in", "role", "claims")
"""Keys of an image that change by themselves, or say what other keys say by id."""


def counts() -> ColumnElement[bool]:
    """Whether a row of ``user_claims`` counts: its time has not run out."""
    expires_at = user_claims.c.expires_at
    return or_(expires_at.is_(None), expires_at > current_instant())


def counts_sql(dialect: str, alias: str) -> str:
    """The same in SQL, for the rows of ``alias``."""
    return f"({alias}.expires_at IS NULL OR {alias}.expires_at > {_NOW[dialect]})"


def image_sql(dialect: str) -> str:
    """The image of the user ``u``, whose role is ``r``."""
    instants = {
        name: _INSTANT[dialect].format(f"u.{name}") for name in ("created_at", "updated_at")
    }
    instants["expires_at"] = _INSTANT[dialect].format("g.expires_at")
    return _IMAGE[dialect].format(live=counts_sql(dialect, "g"), **instants)


def content_sql(dialect: str, image: str) -> str:
    """What two images of a user have in common when nothing that counts is different."""
    if dialect == "sqlite":
        return f"usermgr_content({image})"
    # A claim may have got another name meanwhile, as a role may.
    return f"""
        (({image} - CAST(ARRAY{list(_BOOKKEEPING)} AS text[])) || jsonb_build_object('grants',
            (SELECT jsonb_agg(e.value - 'claim' ORDER BY e.value -> 'claim_id')
            FROM jsonb_array_elements({image} -> 'grants') AS e (value))))
    """


def image_content(image: str | None) -> str | None:
    """The same for SQLite, as text."""
    if image is None:
        return None
    kept = {key: value for key, value in json.loads(image).items() if key not in _BOOKKEEPING}
    for grant in kept.get("grants", ()):
        grant.pop("claim", None)
    return json.dumps(kept, sort_keys=True)


def salt_sql(dialect: str) -> str:
    """A new random salt for each row, such as ``db.models`` makes for one."""
    return _SALT[dialect]


def value_sql(dialect: str, kind: str, image: str, key: str) -> str:
    """SQL for what an image says: ``text``, ``truth`` or ``instant`` of a key, whether it ``has``
    the key, the ``rows`` of the list under it (as ``e.value``), or such an ``item`` as text."""
    return _VALUE[dialect][kind].format(image=image, key=key)
