"""usermgr user import"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from usermgr.cli.complete import complete_roles, complete_words
from usermgr.cli.context import AppContext, app_of
from usermgr.errors import InvalidInput
from usermgr.names import visible
from usermgr.urls import database_files

FORMATS = ("csv", "tsv", "jsonl", "json")
ON_CONFLICT = ("fail", "skip", "update")
ON_ERROR = ("fail", "skip")
PASSWORDS = ("keep", "set")


def add_import(app: typer.Typer) -> None:
    """Add the command to the group."""
    app.command("import")(import_)


def import_(
    ctx: typer.Context,
    file: Annotated[
        str, typer.Argument(metavar="FILE|-", help="The file, gzip and zstd included; - is stdin.")
    ] = "",
    format: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="|".join(FORMATS),
            help="Recognised by name and content unless given.",
            autocompletion=complete_words(*FORMATS),
        ),
    ] = None,
    map_: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="FIELD=COLUMN",
            help="Read a field from another column; may be repeated.",
        ),
    ] = None,
    ignore_column: Annotated[
        list[str] | None,
        typer.Option(
            "--ignore-column", metavar="COLUMN", help="Pass over a column; may be repeated."
        ),
    ] = None,
    delimiter: Annotated[
        str | None,
        typer.Option("--delimiter", metavar="CHARACTER", help="Of csv; , or ; unless given."),
    ] = None,
    encoding: Annotated[
        str | None, typer.Option("--encoding", help="UTF-8, or what a byte-order mark says.")
    ] = None,
    on_conflict: Annotated[
        str,
        typer.Option(
            "--on-conflict",
            metavar="|".join(ON_CONFLICT),
            help="When the e-mail is taken: refuse the row, pass over it, or change the user.",
            autocompletion=complete_words(*ON_CONFLICT),
        ),
    ] = "fail",
    on_error: Annotated[
        str,
        typer.Option(
            "--on-error",
            metavar="|".join(ON_ERROR),
            help="When a row is bad: store nothing, or store the others (exit status 6).",
            autocompletion=complete_words(*ON_ERROR),
        ),
    ] = "fail",
    rejects: Annotated[
        Path | None,
        typer.Option(
            "--rejects",
            metavar="FILE",
            help="Write the bad rows, with line and reason; replaces the file.",
        ),
    ] = None,
    results: Annotated[
        Path | None,
        typer.Option("--results", metavar="FILE", help="Write e-mail, id and outcome of each row."),
    ] = None,
    max_errors: Annotated[
        int | None,
        typer.Option("--max-errors", min=0, metavar="N", help="Give up when more rows are bad."),
    ] = None,
    create_roles: Annotated[
        bool, typer.Option("--create-roles", help="Create the roles that are missing.")
    ] = False,
    create_claims: Annotated[
        bool, typer.Option("--create-claims", help="Create the claims that are missing.")
    ] = False,
    default_role: Annotated[
        str | None,
        typer.Option(
            "--default-role",
            help="The role of new users whose row names none.",
            autocompletion=complete_roles,
        ),
    ] = None,
    passwords: Annotated[
        str,
        typer.Option(
            "--passwords",
            metavar="|".join(PASSWORDS),
            help="Of users that exist: keep them, or set the file's.",
            autocompletion=complete_words(*PASSWORDS),
        ),
    ] = "keep",
    generate_passwords: Annotated[
        Path | None,
        typer.Option(
            "--generate-passwords",
            metavar="FILE",
            help="Make passwords for rows without one, and write them to this new file.",
        ),
    ] = None,
    exclusive: Annotated[
        bool,
        typer.Option(
            "--exclusive", help="Lock everybody else out of the tables; faster, PostgreSQL only."
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Do everything, report, and undo it.")
    ] = False,
    with_ids: Annotated[
        bool, typer.Option("--with-ids", help="Keep the ids of the file; no user may exist yet.")
    ] = False,
    safe: Annotated[
        bool, typer.Option("--safe", help="Take back what export --safe did to formulas.")
    ] = False,
    template: Annotated[
        str | None,
        typer.Option(
            "--template",
            metavar="csv|jsonl",
            help="Print an example file instead.",
            autocompletion=complete_words("csv", "jsonl"),
        ),
    ] = None,
) -> None:
    """Create or change users from a file; all rows are stored, or none."""
    run = app_of(ctx)
    if template is not None:
        run.output.text(_template(template))
        return
    from usermgr.cli.import_files import ImportFiles
    from usermgr.cli.import_run import run_import, terminable
    from usermgr.formats.inputs import open_input
    from usermgr.services.import_requests import (
        ImportRequest,
        make_source,
        read_options,
        read_rules,
    )

    request = ImportRequest(
        format=format,
        mapping=map_ or (),
        ignored_columns=ignore_column or (),
        delimiter=delimiter,
        encoding=encoding,
        on_conflict=on_conflict,
        on_error=on_error,
        max_errors=max_errors,
        create_roles=create_roles,
        create_claims=create_claims,
        default_role=default_role,
        passwords=passwords,
        exclusive=exclusive,
        dry_run=dry_run,
        with_ids=with_ids,
        safe=safe,
    )
    options, rules = read_options(request), read_rules(request, run.settings)
    if dry_run and generate_passwords is not None:
        raise InvalidInput(
            "--dry-run stores no passwords that --generate-passwords could write",
            hint="leave one of them out",
        )
    if not file:
        raise InvalidInput("no file was named", hint="name one, or - for stdin")
    used = {"the input": _input_place(run, file), **database_files(run.settings.database_url)}
    files = ImportFiles(
        rejects, results, generate_passwords, used=used, may_be_stored=lambda: run.may_be_stored
    )
    with terminable():
        with open_input(file, run.stdin.buffer) as opened, files:
            source = make_source(request, opened, rules)
            report, partly = run_import(ctx, run, source, options, files, dry_run=dry_run)
        # When the files are where they belong, and the progress is gone from the terminal.
        run.output.report(report)
    if partly is not None:
        raise partly


def _input_place(run: AppContext, file: str) -> Path | int:
    if file != "-":
        return Path(file)
    try:
        return run.stdin.fileno()
    except OSError:  # a stream in memory
        return -1


def _template(name: str) -> str:
    if name not in _TEMPLATES:
        raise InvalidInput(
            f'no template "{visible(name)}"', hint="the templates are " + ", ".join(_TEMPLATES)
        )
    return _TEMPLATES[name]


_COMMENTS = """\
# Users for: usermgr user import FILE
# email, name and role are needed; the others may be left out.
# claims: {claims}. active: true or false; true unless given. created_at: an RFC 3339 time.
# password_hash: a hash from elsewhere, stored as it is; or password: plain text, which is hashed.
# Lines that begin with # are passed over{where}.
"""
_TEMPLATES = {
    "csv": _COMMENTS.format(claims="names separated by ;", where=", above the header only")
    + "email,name,role,claims,active,created_at\n"
    + "ana@example.com,Ana Souza,member,reports:read;billing:read,true,2026-01-31T12:00:00Z\n"
    + "bruno@example.com,Bruno Lima,member,,,\n",
    "jsonl": _COMMENTS.format(claims="a list of names", where="")
    + '{"email": "ana@example.com", "name": "Ana Souza", "role": "member", '
    + '"claims": ["reports:read", "billing:read"], "active": true}\n'
    + '{"email": "bruno@example.com", "name": "Bruno Lima", "role": "member"}\n',
}
