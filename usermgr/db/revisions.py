"""The migration files: where they are, and which revisions they make. Loads none of them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import usermgr

DDL_FILE: Final = "1_create_database_ddl.sql"


def migrations_folder() -> Path:
    """The folder of the migrations: inside the installed package, or beside it in a checkout."""
    package = Path(usermgr.__file__).parent
    packaged = package / "_migrations"
    return packaged if packaged.is_dir() else package.parent / "migrations"


def ddl_path() -> Path:
    """The file with the whole schema for PostgreSQL."""
    folder = migrations_folder()
    return (folder if folder.name == "_migrations" else folder.parent) / DDL_FILE


def revision_titles() -> dict[str, str]:
    """The title of every revision, such as 0001_challenge_tables, the oldest first."""
    files = (migrations_folder() / "versions").glob("[0-9][0-9][0-9][0-9]_*.py")
    return {path.name[:4]: path.stem for path in sorted(files)}
