"""What ``benchmarks.http`` compares with: FastAPI and the same SQL, without anything else.

python -m benchmarks.http_bare URL

The statements are those that usermgr's services send, noted once at the start and sent again for
each request with other values. There is no token, no log, no limit, and no check of a schema.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from sqlalchemy import Connection, create_engine, event, text

from tests.support.databases import open_database
from usermgr.db.engine import Database, Operation
from usermgr.records import NewUser, UserFilter
from usermgr.services import lookup, users

Statements = list[tuple[str, Any]]
FIRST_OPERATION, FIRST_USER = 700_000_000, 800_000_000


class Person(BaseModel):
    """A new user."""

    name: str
    email: str
    role: str
    password_hash: str


def noted(database: Database, work: Callable[[], object]) -> Statements:
    """The statements that the work sends, with their values."""
    found: Statements = []

    def note(_conn: object, _cursor: object, statement: str, values: Any, *_: object) -> None:
        found.append((statement, values))

    event.listen(database.engine, "before_cursor_execute", note)
    work()
    event.remove(database.engine, "before_cursor_execute", note)
    return found


def send(connection: Connection, statements: Statements, old: str, new: str) -> list[Any]:
    """Send them with one value in the place of another; the rows of the last."""
    rows: list[Any] = []
    ids: dict[Any, Any] = {old: new}
    for statement, values in statements:
        given = {
            name: _replaced(value, ids, old, new) for name, value in dict(values or {}).items()
        }
        result = connection.exec_driver_sql(statement, given)
        if not result.returns_rows:
            continue
        rows = [dict(row) for row in result.mappings()]
        for row in rows:
            if "operation_id" in row:
                ids[FIRST_OPERATION + 1] = row["operation_id"]
            elif set(row) == {"id"} and row["id"] > FIRST_USER:
                ids[FIRST_USER + 1] = row["id"]
    return rows


def _replaced(value: Any, ids: dict[Any, Any], old: str, new: str) -> Any:
    if isinstance(value, str):
        return value.replace(old, new) if "@" in old else ids.get(value, value)
    if isinstance(value, datetime | list | dict):
        return value
    return ids.get(value, value)


def build(url: str) -> FastAPI:
    """The application on the database."""
    database = open_database(url)
    sample = Person(name="Ana", email="sample@bare.example.com", role="member", password_hash="!")  # noqa: S106
    with database.connect() as connection:
        connection.execute(text(f"SELECT setval('operations_id_seq', {FIRST_OPERATION})"))
        connection.execute(text(f"SELECT setval('users_id_seq', {FIRST_USER})"))
        sample_id = connection.execute(text("SELECT min(id) FROM users")).scalar_one()
        role = connection.execute(text("SELECT min(description) FROM roles")).scalar_one()
        connection.commit()

    def one() -> None:
        with database.read() as connection:
            lookup.find_user(connection, str(sample_id))

    def page() -> None:
        with database.read() as connection:
            lookup.list_users(connection, UserFilter(), limit=50, count=False)

    def create(op: Operation) -> None:
        users.create_user(op, NewUser(sample.name, sample.email, role, (), True, HASH))

    def created() -> None:
        with database.operation("user create", "token 1 benchmark", source="http") as op:
            create(op)

    gets, pages, creates = (noted(database, work) for work in (one, page, created))
    engine = create_engine(
        database.engine.url, pool_size=16, max_overflow=0, isolation_level="READ COMMITTED"
    )
    app = FastAPI()

    @app.get("/v1/users/{id}")
    def get_user(id: int) -> Any:  # noqa: A002
        changed = [
            (s, {n: id if v == sample_id else v for n, v in dict(p).items()}) for s, p in gets
        ]
        with engine.connect() as connection:
            return send(connection, changed, "", "")[0]

    @app.get("/v1/users")
    def list_users(limit: int = 50) -> Any:
        with engine.connect() as connection:
            return send(connection, pages, "", "")[:limit]

    @app.post("/v1/users", status_code=201)
    def create_user(person: Person) -> Any:
        with engine.begin() as connection:
            send(connection, creates, sample.email, person.email)
        return person

    return app


HASH = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21l$OFYk0kFZRbVgT8h5UZ8RZ0m9pHVWrGdnHjc3gAxp6Hg"


def main() -> None:
    """Serve on the socket that is inherited as stdin."""
    uvicorn.run(build(sys.argv[1]), fd=0, http="h11", log_config=None, access_log=False, ws="none")


if __name__ == "__main__":
    main()
