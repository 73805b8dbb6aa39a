"""A small company that many tests begin with."""

from __future__ import annotations

from tests.support.commands import Command
from tests.support.filling import fill

USER_FIELDS = [
    "id",
    "name",
    "email",
    "role_id",
    "role",
    "claims",
    "active",
    "has_password",
    "version",
    "created_at",
    "updated_at",
]


def create_company(cli: Command) -> None:
    """Two roles, two claims, and Ana (admin, reports:read) and Bruno (member)."""
    fill(cli, "company", _create_company)


def _create_company(cli: Command) -> None:
    for words in (
        ("role", "create", "admin"),
        ("role", "create", "member"),
        ("claim", "create", "reports:read"),
        ("claim", "create", "reports:export"),
    ):
        assert cli(*words).exit_code == 0
    create_user(cli, "Ana Souza", "ana@example.com", "admin", "--claim", "reports:read")
    create_user(cli, "Bruno Lima", "bruno@example.com", "member")


def create_user(cli: Command, name: str, email: str, role: str, *more: str) -> int:
    """Create a user without a password; returns the id."""
    words = ("--name", name, "--email", email, "--role", role, "--no-password", *more)
    created = cli("user", "create", *words, "-o", "json")
    assert (created.exit_code, created.stderr) == (0, "")
    user_id: int = created.json["id"]
    return user_id
