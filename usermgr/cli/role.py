"""usermgr role ..."""

from __future__ import annotations

from typing import Annotated

import typer

from usermgr.cli.complete import complete_roles
from usermgr.cli.context import app_of
from usermgr.cli.options import new_group
from usermgr.records import Role

app = new_group("Create, list, rename and delete roles. A user has exactly one.")

RoleArgument = Annotated[
    str, typer.Argument(metavar="ROLE", help="Name or id.", autocompletion=complete_roles)
]


@app.command()
def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The role's name.")],
    if_not_exists: Annotated[
        bool, typer.Option("--if-not-exists", help="Accept a role that is there already.")
    ] = False,
) -> None:
    """Create a role."""
    from usermgr.services.roles import create_role

    run = app_of(ctx)
    with run.operation(ctx, shows=Role) as op:
        role, created = create_role(op, name, if_not_exists=if_not_exists)
    if not created:
        run.output.note(f'note: the role "{role.description}" exists already')
    run.output.record(role)


@app.command("list")
def list_(ctx: typer.Context) -> None:
    """List every role, with the number of users that have it."""
    from usermgr.services.roles import list_roles

    run = app_of(ctx)
    with run.read(shows=Role) as connection:
        run.output.records(Role, list_roles(connection))


@app.command()
def show(ctx: typer.Context, role: RoleArgument) -> None:
    """Show one role."""
    from usermgr.services.roles import find_role

    run = app_of(ctx)
    with run.read(shows=Role) as connection:
        found = find_role(connection, role)
    run.output.record(found)


@app.command()
def update(
    ctx: typer.Context,
    role: RoleArgument,
    name: Annotated[str, typer.Option("--name", help="The new name.")],
) -> None:
    """Rename a role."""
    from usermgr.services.roles import rename_role

    run = app_of(ctx)
    with run.operation(ctx, shows=Role) as op:
        renamed = rename_role(op, role, name)
    run.output.record(renamed)


@app.command()
def delete(ctx: typer.Context, role: RoleArgument) -> None:
    """Delete a role that no user has."""
    from usermgr.services.roles import delete_role

    run = app_of(ctx)
    with run.operation(ctx, shows=Role) as op:
        deleted = delete_role(op, role)
    run.output.record(deleted)
