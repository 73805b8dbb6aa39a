"""usermgr bin ..."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from usermgr.cli.context import AppContext, app_of
from usermgr.cli.options import new_group
from usermgr.names import counted
from usermgr.records import BinReport, DeletedUser

app = new_group("The recycle bin: deleted users, and password hashes that were replaced.")


@app.command("list")
def list_(
    ctx: typer.Context,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000, help="How many.")] = 100,
) -> None:
    """List deleted users that can be brought back, the last one deleted first."""
    from usermgr.services.recycling import list_deleted

    run = app_of(ctx)
    retention = timedelta(days=run.settings.retention_days)
    with run.read(shows=DeletedUser) as connection:
        found, total = list_deleted(connection, retention, limit=limit)
    run.output.records(DeletedUser, found)
    if total > len(found):
        run.output.note(
            f"note: {len(found)} of {total} deleted users are shown, the last ones; more: --limit"
        )


@app.command()
def sweep(
    ctx: typer.Context,
    older_than: Annotated[
        int | None,
        typer.Option(
            "--older-than",
            metavar="DAYS",
            min=0,
            max=36_500,
            help="Days; USERMGR_RETENTION_DAYS unless given.",
        ),
    ] = None,
) -> None:
    """Remove for good what is older than the retention time. Asks on a terminal.

    Commands that put something into the bin do that as well.
    """
    from usermgr.services.recycling import sweep_bin

    run = app_of(ctx)
    days = run.settings.retention_days if older_than is None else older_than
    if days < run.settings.retention_days and not run.prompts.assume_yes:
        _confirm(run, days)
    with run.operation(ctx, shows=BinReport) as op:
        report = sweep_bin(op, op.started_at - timedelta(days=days))
    run.output.report(report)


def _confirm(run: AppContext, days: int) -> None:
    """Tell how many would be gone, and ask."""
    from usermgr.services.recycling import count_deleted

    with run.read(shows=BinReport) as connection:
        number = count_deleted(connection, datetime.now(UTC) - timedelta(days=days))
    users = counted(number, "deleted user")
    run.prompts.must_confirm(f"would remove {users} for good: it asks for confirmation")
    run.prompts.confirm(f"Remove {users} for good, and passwords replaced over {days} days ago?")
