"""Rows of adopted tables, put in order: names merged, e-mails and names made canonical.

The history is not there yet when this happens: what was changed waits in an ``Adoption`` and in the
temporary table ``usermgr_canonical``, until ``record_adoption`` writes it as one operation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import BigInteger, Connection, String, column, insert, table, text

from usermgr.db.engine import Operation, utcnow
from usermgr.db.obstacles import REPEATED_GRANTS, Group, Member, Obstacles, find_rows
from usermgr.emails import lenient_email
from usermgr.errors import InvalidInput
from usermgr.names import counted, lenient_name, parse_id, require_text, visible

BATCH: Final = 5_000
_TOLD: Final = 10
"""How many users are named in a note; there may be any number."""

_TEXTS: Final = (
    ("user", "users", "email", lenient_email, "e-mail"),
    ("user", "users", "name", lenient_name, "user name"),
    ("role", "roles", "description", lenient_name, "role name"),
    ("claim", "claims", "description", lenient_name, "claim name"),
)
"""The texts that have a canonical form: entity, table, column, the form, and a word for it."""

_CANONICAL = table(
    "usermgr_canonical",
    column("entity", String),
    column("id", BigInteger),
    column("field", String),
    column("stored", String),
    column("value", String),
)
_KEPT_ACTIVE = "SELECT active FROM claims WHERE id = :kept"


@dataclass(slots=True)
class Adoption:
    """What was changed: in words, and for the history. ``merged`` holds (entity, kept, gone)."""

    told: list[str] = field(default_factory=list)
    merged: list[tuple[str, Member, Member]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)


def collect_canonical(connection: Connection, claim_name: str) -> None:
    """Let ``usermgr_canonical`` hold every text that differs from its canonical form."""
    end = " ON COMMIT DROP" if connection.dialect.name == "postgresql" else ""
    connection.execute(
        text(
            "CREATE TEMPORARY TABLE usermgr_canonical"
            f" (entity varchar, id bigint, field varchar, stored varchar, value varchar){end}"
        )
    )
    for entity, table_name, name, canonical, _ in _TEXTS:
        source = claim_name if entity == "claim" else name
        select = f"SELECT id, CAST({source} AS varchar) FROM {table_name} WHERE {source} NOTNULL"
        with connection.execute(text(select), execution_options={"yield_per": BATCH}) as result:
            for partition in result.partitions(BATCH):
                changed = [
                    {"entity": entity, "id": row_id, "field": name, "stored": old, "value": new}
                    for row_id, old in partition
                    if (new := canonical(old)) != old
                ]
                if changed:
                    connection.execute(insert(_CANONICAL), changed)


def resolve_obstacles(connection: Connection, found: Obstacles, claim_name: str) -> Adoption:
    """Merge what is repeated and make texts canonical."""
    adoption = Adoption()
    adoption.told += [_merge_role(connection, group, adoption) for group in found.roles]
    adoption.told += [_merge_claim(connection, group, adoption) for group in found.claims]
    repeated = find_rows(connection, REPEATED_GRANTS)
    for row in repeated:
        where = "user_id = :user_id AND claim_id = :claim_id"
        connection.execute(text(f"DELETE FROM user_claims WHERE {where}"), row)
        again = "INSERT INTO user_claims (user_id, claim_id) VALUES (:user_id, :claim_id)"
        connection.execute(text(again), row)
    if repeated:
        adoption.told.append(f"joined {counted(len(repeated), 'repeated grant')}")
    adoption.told += _make_canonical(connection, claim_name)
    adoption.told += _note_unreachable(connection, claim_name)
    return adoption


def record_adoption(
    connection: Connection, adoption: Adoption, *, command: str, actor: str
) -> None:
    """Write what was changed in rows as one operation; none if nothing was."""
    if connection.dialect.name == "postgresql":
        # The changes are written before the operation that they refer to.
        connection.execute(text("SET CONSTRAINTS changes_fk DEFERRED"))
        number = "SELECT nextval('operations_id_seq')"
    else:
        number = "SELECT coalesce(max(id), 0) + 1 FROM operations"
    op_id = connection.execute(text(number)).scalar_one()
    op = Operation(connection, op_id, command, actor, "cli", utcnow(), counts=adoption.counts)
    for entity, kept, gone in adoption.merged:
        op.record(entity, gone.id, gone.stored, "merge", before=_image(gone), after=_image(kept))
    counts = "SELECT entity, count(DISTINCT id) FROM usermgr_canonical GROUP BY entity"
    for entity, changed in connection.execute(text(counts)).all():
        op.count(f"{entity}.update", changed)
    _record_canonical(connection, op.id)
    op.finish(utcnow())


def _record_canonical(connection: Connection, operation_id: int) -> None:
    """One change for each text, in one statement: there may be as many as there are users."""
    made = "jsonb_build_object" if connection.dialect.name == "postgresql" else "json_object"
    connection.execute(
        text(f"""
            INSERT INTO changes (operation_id, entity, entity_id, name, action, before, after)
            SELECT CAST(:operation_id AS bigint), n.entity, n.id, coalesce(u.email, n.value),
                'update', {made}('id', n.id, n.field, n.stored),
                {made}('id', n.id, n.field, n.value)
            FROM usermgr_canonical n LEFT JOIN users u ON n.entity = 'user' AND u.id = n.id
            ORDER BY n.entity, n.id, n.field
        """),
        {"operation_id": operation_id},
    )


def _image(label: Member) -> dict[str, Any]:
    return {"id": label.id, "description": label.stored}


def _make_canonical(connection: Connection, claim_name: str) -> Iterator[str]:
    for entity, table_name, name, _, word in _TEXTS:
        source = claim_name if entity == "claim" else name
        changed = connection.execute(
            text(
                f"UPDATE {table_name} SET {source} = n.value FROM usermgr_canonical n"
                f" WHERE n.entity = :entity AND n.field = :field AND n.id = {table_name}.id"
            ),
            {"entity": entity, "field": name},
        ).rowcount
        if changed:
            yield f"made {counted(changed, word)} canonical"


def _note_unreachable(connection: Connection, claim_name: str) -> Iterator[str]:
    labels = text(
        "SELECT 'role', id, description FROM roles"
        f" UNION ALL SELECT 'claim', id, {claim_name} FROM claims ORDER BY 1 DESC, 2"
    )
    unreachable = [
        f'{kind} {label_id} "{visible(str(name))}"'
        for kind, label_id, name in connection.execute(labels)
        if not _can_be_named(str(name))
    ]
    if unreachable:
        yield (
            f"note: commands reach these by id only, not by name: {', '.join(unreachable)}; rename "
            "them with: usermgr role update, usermgr claim update"
        )
    yield from _note_unreachable_users(connection)


def _note_unreachable_users(connection: Connection) -> Iterator[str]:
    number, told = 0, []
    users = text("SELECT id, CAST(email AS varchar) FROM users ORDER BY id")
    with connection.execute(users, execution_options={"yield_per": BATCH}) as result:
        for user_id, email in result:
            if _can_be_named(email):
                continue
            number += 1
            if number <= _TOLD:
                told.append(f'{user_id} "{visible(email)}"')
    if number:
        more = f" and {number - len(told)} more" if number > len(told) else ""
        yield (
            f"note: commands reach these users by id only, not by e-mail: {', '.join(told)}{more}; "
            "give them others with: usermgr user update"
        )


def _can_be_named(name: str) -> bool:
    if not name.isprintable():
        try:
            require_text(name, "name")
        except InvalidInput:
            return False
    return bool(name) and parse_id(name) is None


def _merge_role(connection: Connection, group: Group, adoption: Adoption) -> str:
    kept, *others = group.rows
    moved = 0
    for other in others:
        ids = {"kept": kept.id, "other": other.id}
        update = "UPDATE users SET role_id = :kept WHERE role_id = :other"
        moved += connection.execute(text(update), ids).rowcount
        connection.execute(text("DELETE FROM roles WHERE id = :other"), ids)
    return _merged(connection, "role", group, f"moved {counted(moved, 'user')}", adoption)


def _merge_claim(connection: Connection, group: Group, adoption: Adoption) -> str:
    kept, *others = group.rows
    moved = differing = 0
    for other in others:
        ids = {"kept": kept.id, "other": other.id}
        same = "SELECT count(*) FROM claims WHERE id = :other AND active <> (" + _KEPT_ACTIVE + ")"
        differing += connection.execute(text(same), ids).scalar_one()
        update = """
            UPDATE user_claims SET claim_id = :kept WHERE claim_id = :other AND user_id NOT IN
            (SELECT user_id FROM user_claims WHERE claim_id = :kept)
        """
        moved += connection.execute(text(update), ids).rowcount
        connection.execute(text("DELETE FROM user_claims WHERE claim_id = :other"), ids)
        connection.execute(text("DELETE FROM claims WHERE id = :other"), ids)
    result = f"moved {counted(moved, 'grant')}"
    if differing:
        result += "; note: not all of them were active, check it with: usermgr claim show"
    return _merged(connection, "claim", group, result, adoption)


def _merged(
    connection: Connection, kind: str, group: Group, result: str, adoption: Adoption
) -> str:
    kept, *others = group.rows
    gone = text("DELETE FROM usermgr_canonical WHERE entity = :kind AND id = :id")
    for other in others:
        connection.execute(gone, {"kind": kind, "id": other.id})
        adoption.merged.append((kind, kept, other))
    joined = ", ".join(f'{other.id} "{visible(other.stored)}"' for other in others)
    return f'merged {kind} {joined} into {kept.id} "{visible(kept.stored)}": {result}'
