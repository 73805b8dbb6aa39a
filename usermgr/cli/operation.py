"""usermgr operation ..."""

from __future__ import annotations

from typing import Annotated

import typer

from usermgr.cli.context import app_of
from usermgr.cli.options import new_group
from usermgr.records import OperationDetail, OperationRecord

app = new_group("What was changed, when, by whom, from which command.")


@app.command("list")
def list_(
    ctx: typer.Context,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000, help="How many.")] = 100,
    before: Annotated[
        int | None, typer.Option("--before", metavar="ID", min=1, help="Only older ones.")
    ] = None,
) -> None:
    """List operations, the newest first."""
    from usermgr.services.history import list_operations

    run = app_of(ctx)
    with run.read(shows=OperationRecord) as connection:
        found, total = list_operations(connection, limit=limit, before=before)
    run.output.records(OperationRecord, found)
    if len(found) == limit and len(found) < total:
        run.output.note(
            f"note: {len(found)} of {total} operations are shown; "
            f"the older ones: --before {found[-1].id}"
        )


@app.command()
def show(
    ctx: typer.Context,
    operation: Annotated[str, typer.Argument(metavar="ID", help="The operation's id.")],
) -> None:
    """Show one operation with everything it changed, before and after."""
    from usermgr.services.history import find_operation

    run = app_of(ctx)
    with run.read(shows=OperationDetail) as connection:
        found = find_operation(connection, operation)
    run.output.record(found)
