"""usermgr seed"""

from __future__ import annotations

from typing import Annotated

import typer

from usermgr.cli.context import app_of
from usermgr.cli.options import Command
from usermgr.records import SeedReport

app = typer.Typer(add_completion=False)


@app.command(cls=Command)
def seed(
    ctx: typer.Context,
    users: Annotated[
        int, typer.Option("--users", min=0, max=10_000_000, help="How many users.")
    ] = 100,
    seed: Annotated[
        int, typer.Option("--seed", min=0, max=2**63 - 1, help="Another number, other users.")
    ] = 0,
    locale: Annotated[
        list[str] | None,
        typer.Option("--locale", help="A locale of the names, such as pt_BR; may be repeated."),
    ] = None,
    roles: Annotated[
        str | None, typer.Option("--roles", metavar="A,B,...", help="The roles to use.")
    ] = None,
    claims: Annotated[
        str | None, typer.Option("--claims", metavar="A,B,...", help="The claims to grant.")
    ] = None,
    password_stdin: Annotated[
        bool,
        typer.Option("--password-stdin", help="One password for all of them, read from stdin."),
    ] = False,
) -> None:
    """Create roles, claims and believable users; the same for the same seed, and only once."""
    from usermgr.services import seed_people, seeding
    from usermgr.services.importing import choose_way

    run = app_of(ctx)
    plan = seed_people.SeedPlan(
        users=users,
        seed=seed,
        locales=tuple(locale or (seed_people.DEFAULT_LOCALE,)),
        roles=seed_people.DEFAULT_ROLES if roles is None else _split(roles),
        claims=seed_people.DEFAULT_CLAIMS if claims is None else _split(claims),
        password_hash=_shared_hash(ctx) if password_stdin else None,
    )
    with run.read(shows=SeedReport) as connection:
        way = choose_way(connection, seeding.OPTIONS)
    with (
        run.output.progress("seeding users", users) as done,
        run.operation(ctx, shows=SeedReport) as op,
    ):
        report = seeding.seed(op, plan, way, progress=done)
    if password_stdin:
        run.output.note(f"note: {report.users_created} users share the password that was given")
    run.output.report(report)


def _shared_hash(ctx: typer.Context) -> str:
    from usermgr.passwords import check_password, hash_password

    run = app_of(ctx)
    settings = run.settings
    given = check_password(
        run.prompts.read_password(),
        min_length=settings.password_min_length,
        blocklist=settings.blocklist,
    )
    return hash_password(given, settings.hash_costs)


def _split(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())
