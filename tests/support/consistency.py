"""What must be true of a database at every moment, whatever was killed or refused."""

from __future__ import annotations

from sqlalchemy import text

from tests.support.databases import open_database

_BROKEN = {
    "users whose operation is not there": """
        SELECT count(*) FROM users WHERE created_in IS NOT NULL
        AND created_in NOT IN (SELECT id FROM operations)
    """,
    "changes whose operation is not there": """
        SELECT count(*) FROM changes WHERE operation_id NOT IN (SELECT id FROM operations)
    """,
    "operations that changed nothing": """
        SELECT count(*) FROM operations o WHERE NOT EXISTS
        (SELECT 1 FROM changes c WHERE c.operation_id = o.id)
        AND NOT EXISTS (SELECT 1 FROM users u WHERE u.created_in = o.id)
    """,
    "users that were deleted": """
        SELECT count(*) FROM users WHERE id IN
        (SELECT entity_id FROM changes WHERE entity = 'user' AND action = 'delete')
    """,
    "users without a role": """
        SELECT count(*) FROM users WHERE role_id NOT IN (SELECT id FROM roles)
    """,
    "grants of nobody": """
        SELECT count(*) FROM user_claims WHERE user_id NOT IN (SELECT id FROM users)
        OR claim_id NOT IN (SELECT id FROM claims)
    """,
    "users whose version is not the number of their changes": """
        SELECT count(*) FROM users u WHERE u.version <> (
            SELECT count(*) + CASE WHEN EXISTS (
                SELECT 1 FROM changes c WHERE c.entity = 'user' AND c.entity_id = u.id
                AND c.action = 'create') THEN 0 ELSE 1 END
            FROM changes c WHERE c.entity = 'user' AND c.entity_id = u.id)
    """,
    "e-mails that differ in case only": """
        SELECT count(*) - count(DISTINCT lower(email)) FROM users
    """,
}


def broken_promises(url: str) -> dict[str, int]:
    """What is wrong in the database, with how often; empty when all is well."""
    with open_database(url).connect() as connection:
        found = {what: connection.execute(text(sql)).scalar_one() for what, sql in _BROKEN.items()}
    return {what: number for what, number in found.items() if number}
