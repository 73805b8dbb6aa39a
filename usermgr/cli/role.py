"""usermgr role ..."""

from __future__ import annotations

from typing import Annotated

import typer

from usermgr.cli.complete import complete_roles
from usermgr.cli.context import app_of
from usermgr.cli.options import new_group
from usermgr.records import Role

app = new_group("Create, list, rename, protect and delete roles. A user has exactly one.")

RoleArgument = Annotated[
    str, typer.Argument(metavar="ROLE", help="Name or id.", autocompletion=complete_roles)
]

RolesArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="ROLE...",
        help="Names or ids; all are done, or none.",
        autocompletion=complete_roles,
    ),
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
def protect(ctx: typer.Context, roles: RolesArgument) -> None:
    """Protect roles: their last active user keeps them, and nobody deletes them."""
    _set_protected(ctx, roles, protected=True)


@app.command()
def unprotect(ctx: typer.Context, roles: RolesArgument) -> None:
    """Take the protection of roles away."""
    _set_protected(ctx, roles, protected=False)


@app.command()
def delete(ctx: typer.Context, role: RoleArgument) -> None:
    """Delete a role that no user has, and that is not protected."""
    from usermgr.services.roles import delete_role

    run = app_of(ctx)
    with run.operation(ctx, shows=Role) as op:
        deleted = delete_role(op, role)
    run.output.record(deleted)


def _set_protected(ctx: typer.Context, roles: list[str], *, protected: bool) -> None:
    from usermgr.services.guards import without_holder
    from usermgr.services.roles import protect_roles

    run = app_of(ctx)
    with run.operation(ctx, shows=Role) as op:
        changed = protect_roles(op, roles, protected=protected)
        unheld = without_holder(op, changed) if protected else []
    for role in unheld:
        run.output.note(f'note: no active user has the role "{role.description}" yet')
    run.output.named(changed)
