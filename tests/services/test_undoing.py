"""What an undo costs grows with the number of users, not faster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from tests.support.commands import run_inside
from tests.support.databases import open_database
from usermgr.db.models import operations
from usermgr.services.undoing import undo_operation

STEPS = 1_000
"""SQLite tells when it has taken so many."""


def _steps_of_an_undo(url: str, folder: Path, number: int) -> int:
    """What the undo of an import takes that changes so many users and their claims."""
    for name, claims in (("A", "one;two"), ("B", "three")):
        rows = [f"{name} {n},u{n}@{number}.example.com,member,{claims}\n" for n in range(number)]
        path = folder / "users.csv"
        path.write_text("name,email,role,claims\n" + "".join(rows))
        words = ("--on-conflict", "update", "--create-roles", "--create-claims", "--yes")
        done = run_inside(("user", "import", str(path), *words), "", {"USERMGR_DATABASE_URL": url})
        assert done.exit_code == 0, done
    database = open_database(url)
    taken = 0

    def tell() -> None:
        nonlocal taken
        taken += STEPS

    with database.operation("undo", "tester") as op:
        newest = op.connection.execute(select(func.max(operations.c.id))).scalar_one()
        driver: Any = op.connection.connection.dbapi_connection
        driver.set_progress_handler(tell, STEPS)
        assert undo_operation(op, str(newest)).report.users_changed == number
    database.engine.dispose()
    return taken


def test_eight_times_the_users_take_eight_times_the_steps(
    migrated_sqlite_url: str, tmp_path: Path
) -> None:
    few, many = (_steps_of_an_undo(migrated_sqlite_url, tmp_path, n) for n in (250, 2_000))

    assert many < 10 * few
