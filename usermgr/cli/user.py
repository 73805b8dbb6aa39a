"""usermgr user ..."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from usermgr.cli import user_export, user_import, user_list, user_password
from usermgr.cli.complete import complete_claims, complete_roles
from usermgr.cli.context import AppContext, app_of
from usermgr.cli.options import new_group
from usermgr.cli.user_list import parse_until, parse_when
from usermgr.records import UNSET, Change, User, UserChanges

if TYPE_CHECKING:
    from sqlalchemy import Connection

app = new_group("Create, find, list, change and delete users. A user is named by id or e-mail.")

UserArgument = Annotated[str, typer.Argument(metavar="USER", help="Id or e-mail.")]
UsersArgument = Annotated[
    list[str], typer.Argument(metavar="USER...", help="Ids or e-mails; all are done, or none.")
]
ClaimsArgument = Annotated[
    list[str],
    typer.Argument(metavar="CLAIM...", help="Names or ids.", autocompletion=complete_claims),
]

user_password.add_create(app)
user_list.add_list(app)
user_import.add_import(app)
user_export.add_export(app)


@app.command()
def show(
    ctx: typer.Context,
    user: UserArgument,
    at: Annotated[
        str | None,
        typer.Option(
            "--at", metavar="WHEN", help="As of then: 2026-01-31, an RFC 3339 time, 7d or 12h ago."
        ),
    ] = None,
) -> None:
    """Show one user with role and claims."""
    from usermgr.services.lookup import find_user

    run = app_of(ctx)
    moment = None if at is None else parse_when(at)
    with run.read(shows=User) as connection:
        found = find_user(connection, user) if moment is None else _past(connection, user, moment)
    run.output.record(found)


@app.command()
def update(
    ctx: typer.Context,
    user: UserArgument,
    name: Annotated[str | None, typer.Option("--name", help="The new name.")] = None,
    email: Annotated[str | None, typer.Option("--email", help="The new e-mail.")] = None,
    role: Annotated[
        str | None,
        typer.Option("--role", help="The new role, by name or id.", autocompletion=complete_roles),
    ] = None,
) -> None:
    """Change the name, e-mail or role; what is not given stays."""
    from usermgr.services.users import update_user

    wanted = UserChanges(
        name=UNSET if name is None else name,
        email=UNSET if email is None else email,
        role=UNSET if role is None else role,
    )
    run = app_of(ctx)
    with run.operation(ctx, shows=User) as op:
        updated = update_user(op, user, wanted)
    run.output.record(updated)


@app.command()
def enable(ctx: typer.Context, users: UsersArgument) -> None:
    """Enable users."""
    _set_active(ctx, users, active=True)


@app.command()
def disable(ctx: typer.Context, users: UsersArgument) -> None:
    """Disable users; they keep role, claims and password."""
    _set_active(ctx, users, active=False)


@app.command()
def delete(ctx: typer.Context, users: UsersArgument) -> None:
    """Delete users with their grants. Asks on a terminal; needs --yes without one."""
    from usermgr.services.users import delete_users

    run = app_of(ctx)
    if run.prompts.must_confirm():
        users = _confirmed(run, users)
    with run.operation(ctx, shows=User) as op:
        deleted = delete_users(op, users)
    run.output.named(deleted)


@app.command()
def restore(ctx: typer.Context, user: UserArgument) -> None:
    """Bring a deleted user back with id, role, claims and password."""
    from usermgr.services.recycling import restore_user

    run = app_of(ctx)
    with run.operation(ctx, shows=User) as op:
        restored = restore_user(op, user)
    run.output.record(restored)


@app.command()
def grant(
    ctx: typer.Context,
    user: UserArgument,
    claims: ClaimsArgument,
    reason: Annotated[str | None, typer.Option("--reason", help="Why, in one line.")] = None,
    expires: Annotated[
        str | None,
        typer.Option(
            "--expires",
            metavar="WHEN",
            help="Until when: 2027-01-31, an RFC 3339 time, 30d or 12h from now; never.",
        ),
    ] = None,
) -> None:
    """Grant claims to a user. What the user holds already stays, and gets what is given here."""
    from usermgr.services.grants import ending, grant_claims

    run = app_of(ctx)
    until = UNSET if expires is None else parse_until(expires)
    with run.operation(ctx, shows=User) as op:
        updated = grant_claims(
            op, user, claims, reason=UNSET if reason is None else reason, expires_at=until
        )
        ends = ending(op.connection, str(updated.id), claims) if until is UNSET else []
    run.output.record(updated)
    if ends:
        run.output.note(
            f"note: the user holds {', '.join(ends)}; to take the end away: --expires never"
        )


@app.command()
def revoke(ctx: typer.Context, user: UserArgument, claims: ClaimsArgument) -> None:
    """Revoke claims from a user."""
    from usermgr.services.users import revoke_claims

    run = app_of(ctx)
    with run.operation(ctx, shows=User) as op:
        updated = revoke_claims(op, user, claims)
    run.output.record(updated)


user_password.add_passwords(app)


@app.command()
def history(ctx: typer.Context, user: UserArgument) -> None:
    """Show every change of a user, also of a deleted one."""
    from usermgr.services.history import user_history

    run = app_of(ctx)
    with run.read(shows=Change) as connection:
        run.output.records(Change, user_history(connection, user))


def _past(connection: Connection, user: str, at: datetime) -> User:
    from usermgr.services.past import find_user_at

    return find_user_at(connection, user, at)


def _confirmed(run: AppContext, references: list[str]) -> list[str]:
    """The ids of the users that are named, once the person has seen who they are and said yes."""
    from usermgr.services.lookup import find_user
    from usermgr.services.users import distinct_users

    with run.read(shows=User) as connection:
        users = [find_user(connection, user) for user in distinct_users(connection, references)]
    people = [f"user {user.id}, {user.name} <{user.email}>, {user.role}" for user in users]
    if len(people) == 1:
        run.prompts.confirm(f"Delete {people[0]}?")
    else:
        run.prompts.confirm("\n".join([*people, f"Delete these {len(people)} users?"]))
    return [str(user.id) for user in users]


def _set_active(ctx: typer.Context, users: list[str], *, active: bool) -> None:
    from usermgr.services.users import update_users

    run = app_of(ctx)
    with run.operation(ctx, shows=User) as op:
        updated = update_users(op, users, UserChanges(active=active))
    run.output.named(updated)
