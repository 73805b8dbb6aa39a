"""usermgr undo"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from usermgr.cli.confirming import Approve, confirmed
from usermgr.cli.context import app_of
from usermgr.cli.options import Command
from usermgr.errors import PartialSuccess
from usermgr.formats.files import PendingFile
from usermgr.formats.writers import write_csv
from usermgr.records import LeftAlone, UndoReport

app = typer.Typer(add_completion=False)

FIELDS = ("entity", "id", "name", "reason")


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
    from usermgr.services.undoing import undo_operation

    run = app_of(ctx)

    def attempt(approve: Approve) -> tuple[UndoReport, str]:
        with run.operation(ctx, shows=UndoReport, dry_run=dry_run) as op:
            done = undo_operation(op, operation, strict=strict, dry_run=dry_run)
            if not dry_run:
                approve(done.report.users)
            first = done.first_left
            if left is not None:
                _write(left, done.left)
        return done.report, first

    report, first = confirmed(run, "undo the change of", attempt)
    run.output.report(report)
    if report.left:
        raise PartialSuccess(_told(report, first), hint=None if left else "--left FILE lists them")


def _write(path: Path, left: Iterator[LeftAlone]) -> None:
    """Before the commit: what cannot be told is not to be stored."""
    with PendingFile(path) as file:
        with file.writing():
            write_csv(file.text, FIELDS, (asdict(each) for each in left))  # type: ignore[arg-type]
        file.publish()


def _told(report: UndoReport, first: str) -> str:
    if report.left == 1:
        return f"1 change was left as it is{first}"
    return f"{report.left} changes were left as they are{first}"
