"""usermgr claim ..."""

from __future__ import annotations

from typing import Annotated

import typer

from usermgr.cli.complete import complete_claims
from usermgr.cli.context import app_of
from usermgr.cli.options import new_group
from usermgr.records import Claim, SweepReport

app = new_group(
    "Create, list, rename, enable, disable, protect and delete claims: what users are granted."
)

ClaimArgument = Annotated[
    str, typer.Argument(metavar="CLAIM", help="Name or id.", autocompletion=complete_claims)
]

ClaimsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="CLAIM...",
        help="Names or ids; all are done, or none.",
        autocompletion=complete_claims,
    ),
]


@app.command()
def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The claim's name.")],
    if_not_exists: Annotated[
        bool, typer.Option("--if-not-exists", help="Accept a claim that is there already.")
    ] = False,
) -> None:
    """Create a claim."""
    from usermgr.services.claims import create_claim

    run = app_of(ctx)
    with run.operation(ctx, shows=Claim) as op:
        claim, created = create_claim(op, name, if_not_exists=if_not_exists)
    if not created:
        run.output.note(f'note: the claim "{claim.description}" exists already')
    run.output.record(claim)


@app.command("list")
def list_(ctx: typer.Context) -> None:
    """List every claim, with the number of users it is granted to."""
    from usermgr.services.claims import list_claims

    run = app_of(ctx)
    with run.read(shows=Claim) as connection:
        run.output.records(Claim, list_claims(connection))


@app.command()
def show(ctx: typer.Context, claim: ClaimArgument) -> None:
    """Show one claim."""
    from usermgr.services.claims import find_claim

    run = app_of(ctx)
    with run.read(shows=Claim) as connection:
        found = find_claim(connection, claim)
    run.output.record(found)


@app.command()
def update(
    ctx: typer.Context,
    claim: ClaimArgument,
    name: Annotated[str, typer.Option("--name", help="The new name.")],
) -> None:
    """Rename a claim."""
    from usermgr.services.claims import update_claim

    run = app_of(ctx)
    with run.operation(ctx, shows=Claim) as op:
        renamed = update_claim(op, claim, name=name)
    run.output.record(renamed)


@app.command()
def enable(ctx: typer.Context, claims: ClaimsArgument) -> None:
    """Enable claims."""
    _set_active(ctx, claims, active=True)


@app.command()
def disable(ctx: typer.Context, claims: ClaimsArgument) -> None:
    """Disable claims: they stay granted and listed, and applications treat them as not granted."""
    _set_active(ctx, claims, active=False)


@app.command()
def protect(ctx: typer.Context, claims: ClaimsArgument) -> None:
    """Protect claims: their last active holder keeps them, and nobody deletes or disables them."""
    _set_protected(ctx, claims, protected=True)


@app.command()
def unprotect(ctx: typer.Context, claims: ClaimsArgument) -> None:
    """Take the protection of claims away."""
    _set_protected(ctx, claims, protected=False)


@app.command()
def delete(ctx: typer.Context, claim: ClaimArgument) -> None:
    """Delete a claim that is granted to no user, and that is not protected."""
    from usermgr.services.claims import delete_claim

    run = app_of(ctx)
    with run.operation(ctx, shows=Claim) as op:
        deleted = delete_claim(op, claim)
    run.output.record(deleted)


@app.command()
def sweep(
    ctx: typer.Context,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Do everything, report, and roll back.")
    ] = False,
) -> None:
    """Remove the grants whose time has run out. They do not count any more in any case."""
    from usermgr.services.grants import sweep_grants

    run = app_of(ctx)
    with run.operation(ctx, shows=SweepReport, dry_run=dry_run) as op:
        report = sweep_grants(op, dry_run=dry_run)
    run.output.report(report)


def _set_active(ctx: typer.Context, claims: list[str], *, active: bool) -> None:
    from usermgr.services.claims import update_claim
    from usermgr.services.references import resolve_claims

    run = app_of(ctx)
    with run.operation(ctx, shows=Claim) as op:
        named = resolve_claims(op.connection, claims)
        updated = [update_claim(op, str(claim.id), active=active) for claim in named]
    run.output.named(updated)


def _set_protected(ctx: typer.Context, claims: list[str], *, protected: bool) -> None:
    from usermgr.services.claims import protect_claims
    from usermgr.services.guards import without_holder

    run = app_of(ctx)
    with run.operation(ctx, shows=Claim) as op:
        changed = protect_claims(op, claims, protected=protected)
        unheld = without_holder(op, changed) if protected else []
    for claim in unheld:
        run.output.note(f'note: no active user holds the claim "{claim.description}" yet')
    run.output.named(changed)
