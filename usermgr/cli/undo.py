"""usermgr undo"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated

import typer

from usermgr.cli.context import app_of
from usermgr.cli.options import Command
from usermgr.records import LeftAlone, UndoReport

app = typer.Typer(add_completion=False)

FIRST = 10
"""How many of those that are left a message names."""


@app.command(cls=Command)
def undo(
    ctx: typer.Context,
    operation: Annotated[str, typer.Argument(metavar="OPERATION", help="The operation's id.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Do everything, report, and roll back.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Change nothing if anything cannot be undone.")
    ] = False,
    left: Annotated[
        Path | None,
        typer.Option("--left", metavar="FILE", help="Write what is left to this csv file."),
    ] = None,
) -> None:
    """Undo an operation: what it created goes, what it changed and deleted comes back.

    What changed since is left as it is, and listed (exit status 6). An undo is an operation itself,
    and can be undone.
    """
    from usermgr.errors import PartialImport
    from usermgr.formats.files import PendingFile
    from usermgr.formats.writers import write_csv
    from usermgr.services.undoing import count_undone, too_many_left, undo_operation

    run = app_of(ctx)
    with run.read(shows=UndoReport) as connection:
        number, changed = count_undone(connection, operation)
    if not dry_run:
        run.confirm_many(changed, f"Undo operation {number}, which changed {changed} things?")
    with run.operation(ctx, shows=UndoReport, dry_run=dry_run) as op:
        done = undo_operation(op, str(number), dry_run=dry_run)
        report = done.report
        first = list(itertools.islice(done.left, FIRST))
        if left is not None:
            with PendingFile(left) as file:
                with file.writing():
                    write_csv(file.text, ("entity", "id", "name", "reason"), done.left)
                file.publish()
        if strict and report.left:
            raise too_many_left(done)
    run.output.report(report)
    if report.left:
        raise PartialImport(_told(report, first), hint=None if left else "--left FILE lists them")


def _told(report: UndoReport, first: list[LeftAlone]) -> str:
    lines = [f'\n  {each.entity} {each.id} "{each.name}": {each.reason}' for each in first]
    more = report.left - len(first)
    rest = f"\n  and {more} more" if more else ""
    return f"{report.left} changes were left as they are{''.join(lines)}{rest}"
