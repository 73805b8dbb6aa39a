"""usermgr user ..."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from usermgr.cli import user_bulk, user_erase, user_export, user_import, user_list, user_password
from usermgr.cli.complete import complete_roles
from usermgr.cli.context import app_of
from usermgr.cli.options import new_group
from usermgr.formats.whens import parse_when
from usermgr.records import UNSET, Change, User, UserChanges

if TYPE_CHECKING:
    from sqlalchemy import Connection

app = new_group("Create, find, list, change and delete users. A user is named by id or e-mail.")

UserArgument = Annotated[str, typer.Argument(metavar="USER", help="Id or e-mail.")]

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


user_bulk.add_bulk(app)


@app.command()
def restore(ctx: typer.Context, user: UserArgument) -> None:
    """Bring a deleted user back with id, role, claims and password."""
    from usermgr.services.recycling import restore_user

    run = app_of(ctx)
    with run.operation(ctx, shows=User) as op:
        restored = restore_user(op, user)
    run.output.record(restored)


user_password.add_passwords(app)
user_erase.add_erase(app)


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
