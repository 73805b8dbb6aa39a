"""What a command says about a database that nobody has set up yet."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tests.migrations.challenge import make_challenge
from tests.support.commands import run_inside
from usermgr.db.engine import Database


def test_the_embedded_default_needs_no_advice_and_is_its_owners_alone() -> None:
    checked = run_inside(("config", "check", "-o", "json"), "", {})
    assert checked.exit_code == 0
    assert [(row["ok"], row["found"]) for row in checked.json] == [
        (True, "the embedded default, created at first use")
    ]
    assert run_inside(("role", "create", "admin"), "", {}).exit_code == 0
    assert stat.S_IMODE(Path("usermgr.db").stat().st_mode) == 0o600


def test_a_folder_that_does_not_exist_is_told_as_that() -> None:
    done = run_inside(("--database-url", "sqlite:///no/x.db", "user", "list"), "", {})
    assert (done.exit_code, done.stdout) == (5, "")
    assert done.stderr == (
        'error: the folder of the database file "no/x.db" does not exist\n'
        "hint: check the path in the database URL, or make the folder\n"
    )


@pytest.mark.parametrize(
    "words", [("user", "list"), ("schema", "status", "-q"), ("schema", "upgrade")]
)
def test_the_challenges_tables_are_to_be_adopted(
    empty_database: Database, empty_database_url: str, words: tuple[str, ...]
) -> None:
    make_challenge(empty_database)
    done = run_inside(words, "", {"USERMGR_DATABASE_URL": empty_database_url})
    assert done.exit_code == 5
    assert "are not managed by usermgr yet (revision none, this program needs 0005)" in done.stderr
    assert done.stderr.endswith("hint: adopt them with: usermgr schema init\n")
