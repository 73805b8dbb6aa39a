"""Databases as the challenge's own scripts make them, and ways to look at any database."""

from __future__ import annotations

import hashlib
import sqlite3
import subprocess
from contextlib import closing
from typing import Any

import psycopg2
from sqlalchemy import make_url, text

from tests.support.postgres import program
from usermgr.db.engine import Database
from usermgr.urls import sqlite_path

SPELLINGS = ("description", "decription")
KINDS = {
    "postgresql": {
        "small_id": "int4 NOT NULL GENERATED ALWAYS AS IDENTITY",
        "id": "int8 NOT NULL GENERATED ALWAYS AS IDENTITY",
        "override": "OVERRIDING SYSTEM VALUE",
    },
    "sqlite": {"small_id": "integer NOT NULL", "id": "integer NOT NULL", "override": ""},
}
_STRUCTURE = """
CREATE TABLE roles (
    id {small_id}, description varchar NOT NULL, CONSTRAINT roles_pk PRIMARY KEY (id)
);
CREATE TABLE claims (
    id {id}, {spelling} varchar NOT NULL, active bool NOT NULL DEFAULT true,
    CONSTRAINT claims_pk PRIMARY KEY (id)
);
CREATE TABLE users (
    id {id}, name varchar NOT NULL, email varchar NOT NULL, password varchar NOT NULL,
    role_id int4 NOT NULL, created_at date NOT NULL, updated_at date NULL,
    CONSTRAINT users_pk PRIMARY KEY (id)
);
CREATE TABLE user_claims (
    user_id int8 NOT NULL, claim_id int8 NOT NULL,
    CONSTRAINT user_claims_un UNIQUE (user_id, claim_id)
);
"""
_KEYS = """
ALTER TABLE users ADD CONSTRAINT users_fk FOREIGN KEY (role_id) REFERENCES roles(id);
ALTER TABLE user_claims ADD CONSTRAINT user_claims_fk FOREIGN KEY (user_id) REFERENCES users(id);
ALTER TABLE user_claims ADD CONSTRAINT user_claims_fk_1
    FOREIGN KEY (claim_id) REFERENCES claims(id);
"""
_ROWS = """
INSERT INTO roles (id, description) {override} VALUES (1, 'admin'), (2, 'member');
INSERT INTO claims (id, {spelling}, active) {override}
    VALUES (1, 'read', true), (2, 'write', true), (5, 'old', false);
INSERT INTO users (id, name, email, password, role_id, created_at, updated_at) {override} VALUES
    (1, 'Ana', 'Ana@Example.COM', '$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA', 1,
        '2021-05-31', '2022-01-01'),
    (2, 'Bob', 'bob@example.com', '123456', 2, '1999-12-31', NULL),
    (7, 'Zoë', 'zoë@bücher.example', '!', 2, '2024-02-29', NULL);
INSERT INTO user_claims (user_id, claim_id) VALUES (1, 1), (1, 2), (2, 1), (7, 5);
"""
_COUNTERS = """
ALTER TABLE roles ALTER COLUMN id RESTART WITH 3;
ALTER TABLE claims ALTER COLUMN id RESTART WITH 6;
ALTER TABLE users ALTER COLUMN id RESTART WITH 8;
"""
KEPT = "kept 2 roles, 3 claims, 3 users, 4 grants"
PLAIN = (
    "note: the password of 1 user is in no known hash format (plain text?) and cannot be verified; "
    "set a new one with: usermgr user set-password"
)


def make_challenge(database: Database, spelling: str = "description", more: str = "") -> None:
    """Create the challenge's tables with a few rows, and run more SQL after that."""
    keys = "" if database.is_sqlite else _KEYS
    counters = "" if database.is_sqlite else _COUNTERS
    script = _STRUCTURE + keys + _ROWS + counters
    kind = KINDS["sqlite" if database.is_sqlite else "postgresql"]
    execute(database, script.format(spelling=spelling, **kind) + more.format(**kind))


def execute(database: Database, script: str) -> None:
    """Run a SQL script past usermgr, as a SQL client does."""
    if database.is_sqlite:
        with closing(sqlite3.connect(sqlite_path(database.url))) as file:
            file.executescript(script)
        return
    with closing(psycopg2.connect(libpq_url(database))) as connection:
        with connection.cursor() as cursor:
            cursor.execute(script)
        connection.commit()


def libpq_url(database: Database) -> str:
    """The URL in the form that PostgreSQL's own programs read."""
    return make_url(database.url).set(drivername="postgresql").render_as_string(False)


def rows(database: Database, statement: str) -> list[tuple[Any, ...]]:
    """The rows of a query, past usermgr's checks."""
    with database.connect() as connection:
        return [tuple(row) for row in connection.execute(text(statement))]


def image(database: Database) -> str:
    """Everything the database holds, structure and rows: two images are equal or not."""
    if database.is_sqlite:
        return hashlib.sha256(sqlite_path(database.url).read_bytes()).hexdigest()
    return dump(database)


def dump(database: Database, *options: str) -> str:
    """What ``pg_dump`` writes, without the random key that it puts into every script."""
    command = [str(program("pg_dump")), "--no-owner", *options, libpq_url(database)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    return "\n".join(line for line in lines if not line.startswith(("\\restrict", "\\unrestrict")))
