"""usermgr user export"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Annotated

import typer

from usermgr.cli.complete import complete_words
from usermgr.cli.context import AppContext, app_of
from usermgr.cli.user_list import (
    Containing,
    CreatedSince,
    IsActive,
    OfRole,
    WithClaims,
    user_filter,
)
from usermgr.errors import InvalidInput
from usermgr.names import counted, visible
from usermgr.urls import database_files

FORMATS = ("csv", "tsv", "jsonl", "json")


def add_export(app: typer.Typer) -> None:
    """Add the command to the group."""
    app.command("export")(export)


def export(
    ctx: typer.Context,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE|-", help="Appears when complete; .gz, .zst compress; - is stdout."
        ),
    ] = "-",
    format: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="|".join(FORMATS),
            help="By -o, or the ending of the file's name, else csv.",
            autocompletion=complete_words(*FORMATS),
        ),
    ] = None,
    role: OfRole = None,
    claim: WithClaims = None,
    active: IsActive = None,
    search: Containing = None,
    created_since: CreatedSince = None,
    with_password_hashes: Annotated[
        bool,
        typer.Option("--with-password-hashes", help="Add password_hash; a new file has mode 0600."),
    ] = False,
    with_ids: Annotated[bool, typer.Option("--with-ids", help="Add id.")] = False,
    safe: Annotated[
        bool,
        typer.Option("--safe", help="Keep spreadsheets from reading cells as formulas."),
    ] = False,
) -> None:
    """Write users to a file that user import reads: a snapshot, streamed."""
    from usermgr.formats.files import require_apart
    from usermgr.services.exporting import choose_fields, export_users, require_cells

    run = app_of(ctx)
    format_name = _format(format, run.flags.get("output"), file)
    if file != "-":
        require_apart({"the file": Path(file)}, database_files(run.settings.database_url))
    if safe:
        require_cells(format_name)
    fields = choose_fields(
        run.flags.get("fields"), with_ids=with_ids, with_password_hashes=with_password_hashes
    )
    wanted = user_filter(role, claim, active, search, created_since)
    with (
        run.output.transfer(None, to_stdout=file == "-") as bar,
        run.database.read() as connection,
        destination(run, file, secret=with_password_hashes) as out,
    ):
        number = export_users(
            connection,
            out,
            wanted,
            format_name=format_name,
            fields=fields,
            safe=safe,
            progress=bar.rows,
        )
    run.output.note(f"note: exported {counted(number, 'user')}")


def _format(chosen: str | None, output: str | None, file: str) -> str:
    """The format: what --format says, else -o, else the file's name."""
    from usermgr.formats.files import content_ending
    from usermgr.formats.readers import format_of_name
    from usermgr.services.exporting import not_exported

    ending = format_of_name(file) or content_ending(file)
    if chosen is None and output is not None and ending in FORMATS and ending != output:
        raise InvalidInput(
            f'"{visible(file)}" is a name for {ending}, and -o says {output}',
            hint=f"say which it is to be: --format {ending}, or --format {output}",
        )
    name = chosen or output or ending or "csv"
    if name in FORMATS:
        return name
    if chosen is None and output is None:
        raise InvalidInput(
            f'the ending ".{visible(name)}" of "{visible(file)}" names no format of an export',
            hint="choose one with --format: " + ", ".join(FORMATS),
        )
    raise not_exported(name)


@contextlib.contextmanager
def destination(run: AppContext, file: str, *, secret: bool) -> Iterator[IO[str]]:
    """Where an export is written: stdout, or a file that appears when it is complete."""
    if file == "-":
        with run.output.writing() as out:
            yield out
        return
    from usermgr.formats.files import PendingFile

    with PendingFile(Path(file), mode=0o600 if secret else 0o666, direct=True) as pending:
        with pending.writing():
            yield pending.text
        pending.publish()
