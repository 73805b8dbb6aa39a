"""Names and ids that commands accept -> rows: roles, claims and users."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Select,
    Table,
    literal,
    select,
    union,
    union_all,
)

from usermgr.db.models import changes, claims, recycled_users, roles, users
from usermgr.db.sql import fold, in_ids, numbered
from usermgr.emails import lenient_email
from usermgr.errors import InvalidInput, NotFound
from usermgr.names import MAX_ID, parse_id, require_text, visible

K = TypeVar("K", int, str)


class Label(NamedTuple):
    """A role or a claim by id and name."""

    id: int
    description: str


def label_condition(table: Table, reference: str) -> ColumnElement[bool]:
    """Which row of ``roles`` or ``claims`` the name or id means; case does not matter.

    Raises NotFound for an id that no row can have, InvalidInput for no text at all.
    """
    key = _read_label(table, reference)
    if isinstance(key, int):
        return table.c.id == key
    return fold(table.c.description) == fold(key)


def user_condition(reference: str) -> ColumnElement[bool]:
    """Which row of ``users`` the id or e-mail means.

    Raises NotFound for an id that no row can have, InvalidInput for no text at all.
    """
    number = parse_id(reference.strip())
    if number is not None:
        if number > MAX_ID:
            raise no_such_user(reference)
        return users.c.id == number
    return users.c.email == user_email(reference)


def user_email(reference: str) -> str:
    """The e-mail that the reference to a user stands for, as it is stored."""
    _require_some(reference, "user")
    return lenient_email(require_text(reference, "user"))


def past_and_present_ids(connection: Connection, reference: str) -> list[int]:
    """The ids of all users, deleted ones too, who had the e-mail at any time; or the id itself.

    Nobody may have had that id. Raises NotFound where nobody had the e-mail.
    """
    number = parse_id(reference.strip())
    if number is not None:
        if number > MAX_ID:
            raise no_such_user(reference)
        return [number]
    email = user_email(reference)
    found = union(
        select(users.c.id).where(users.c.email == email),
        select(changes.c.entity_id).where(changes.c.entity == "user", changes.c.name == email),
        select(recycled_users.c.id).where(recycled_users.c.email == email),
    )
    ids = sorted(connection.execute(found).scalars())
    if not ids:
        raise no_such_user(reference)
    return ids


def resolve_role(connection: Connection, reference: str) -> Label:
    """The role that the name or id means. Raises NotFound."""
    return _resolve(connection, [(roles, reference)])[0]


def resolve_claims(connection: Connection, references: Iterable[str]) -> list[Label]:
    """The claims that the names or ids mean, each once, in the order given. Raises NotFound."""
    return resolve_labels(connection, claims, references)


def resolve_labels(connection: Connection, table: Table, references: Iterable[str]) -> list[Label]:
    """The roles or claims that the names or ids mean, each once, in the order given.

    Raises NotFound, and InvalidInput when there is none.
    """
    wanted = [(table, reference) for reference in references]
    if not wanted:
        raise InvalidInput(f"no {_kind(table)} was named")
    return _unique(_resolve(connection, wanted))


def resolve_role_and_claims(
    connection: Connection, role: str, claim_references: Sequence[str]
) -> tuple[Label, list[Label]]:
    """A role and claims in one statement. Raises NotFound, the role first."""
    wanted = [(roles, role), *((claims, reference) for reference in claim_references)]
    first, *others = _resolve(connection, wanted)
    return first, _unique(others)


def no_such(table: Table, reference: str) -> NotFound:
    """The error for a role or claim that does not exist."""
    kind = _kind(table)
    return NotFound(
        f'no {kind} "{visible(reference)}"',
        hint=f"usermgr {kind} list shows them, usermgr {kind} create makes one",
    )


def no_such_user(reference: str) -> NotFound:
    """The error for a user that does not exist."""
    return NotFound(
        f'no user "{visible(reference)}"',
        hint="a user is named by id or e-mail; usermgr user list --search TEXT finds them",
    )


def _resolve(connection: Connection, wanted: Sequence[tuple[Table, str]]) -> list[Label]:
    """The labels in the order given, in one statement, however many there are."""
    keys = [(table, _read_label(table, reference)) for table, reference in wanted]
    names = {table: _distinct(keys, table, str) for table in (roles, claims)}
    statements = [
        *(_select_named(connection, table, named) for table, named in names.items() if named),
        *(
            select(
                literal(table.name), literal(None, Integer), table.c.id, table.c.description
            ).where(in_ids(table.c.id, ids))
            for table in names
            if (ids := _distinct(keys, table, int))
        ),
    ]
    found: dict[tuple[Table, int | str], Label] = {}
    for kind, place, label_id, description in connection.execute(union_all(*statements)):
        table = roles if kind == roles.name else claims
        key = label_id if place is None else names[table][place]
        found.setdefault((table, key), Label(label_id, description))
    for (table, reference), key in zip(wanted, keys, strict=True):
        if key not in found:
            raise no_such(table, reference)
    return [found[key] for key in keys]


def _select_named(connection: Connection, table: Table, names: Sequence[str]) -> Select[Any]:
    named = numbered(connection, names)
    return select(literal(table.name), named.c.place, table.c.id, table.c.description).join_from(
        named, table, fold(table.c.description) == fold(named.c.text)
    )


def _distinct(keys: Iterable[tuple[Table, int | str]], of_table: Table, kind: type[K]) -> list[K]:
    found = (key for table, key in keys if table is of_table and isinstance(key, kind))
    return list(dict.fromkeys(found))


def _read_label(table: Table, reference: str) -> int | str:
    """The id that the reference is, or else the name."""
    _require_some(reference, _kind(table))
    number = parse_id(reference.strip())
    if number is None:
        return require_text(reference.strip(), _kind(table))
    if number > MAX_ID:
        raise no_such(table, reference)
    return number


def _require_some(reference: str, kind: str) -> None:
    """Adopted tables may hold an empty name; nobody means it."""
    if not reference.strip():
        raise InvalidInput(f"the {kind} is empty", hint="a variable of the shell may be unset")


def _unique(labels: Iterable[Label]) -> list[Label]:
    return list(dict.fromkeys(labels))


def _kind(table: Table) -> str:
    return "role" if table is roles else "claim"
