"""usermgr audit ..."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from usermgr.cli.context import AppContext, app_of
from usermgr.cli.options import new_group
from usermgr.cli.user_export import destination
from usermgr.cli.views import View, view_of
from usermgr.errors import InvalidInput
from usermgr.formats.whens import parse_when
from usermgr.names import counted, visible
from usermgr.records import AuditReport, Seal

_OTHERS = ("csv", "tsv", "json", "yaml", "yml")
"""Endings of names for what the history is not exported as."""

app = new_group("Seal the history, verify that it is whole, and write it out for a SIEM.")


@app.command()
def seal(
    ctx: typer.Context,
    key: Annotated[
        Path | None,
        typer.Option("--key", metavar="FILE", help="Sign with this Ed25519 private key (PEM)."),
    ] = None,
) -> None:
    """Seal the operations that no seal covers yet, and print the seal.

    Keep its digest elsewhere: audit verify --anchor proves by it that the seals were not made anew.
    Where there is nothing to seal the newest seal is printed again. Sealing changes no user, and so
    is no operation itself.
    """
    from usermgr.services.sealing import seal_history
    from usermgr.services.signing import load_signer

    run = app_of(ctx)
    run.output.check_fields(view_of(Seal))
    sign = load_signer(key) if key else None
    look = "look at the digest of the newest seal with: usermgr audit verify"
    with (
        run.output.transfer(None) as bar,
        run.database.write(look=look) as (connection, now),
    ):
        sealed = seal_history(connection, now, sign=sign, progress=bar.rows)
    if not sealed.made:
        run.output.note(_nothing(sealed.seal, to_be_signed=sign is not None))
    if sealed.seal:
        run.output.record(sealed.seal)


def _nothing(newest: Seal | None, *, to_be_signed: bool) -> str:
    since = f" since seal {newest.id}" if newest else ""
    if newest and to_be_signed and newest.signature is None:
        since += ", which is not signed: it stays so until something changes"
    return f"note: nothing to seal{since}"


@app.command()
def verify(
    ctx: typer.Context,
    anchor: Annotated[
        str | None,
        typer.Option("--anchor", metavar="DIGEST", help="One of the seals must have this digest."),
    ] = None,
    public_key: Annotated[
        Path | None,
        typer.Option(
            "--public-key",
            metavar="FILE",
            help="The newest seal must be signed by this Ed25519 key (PEM).",
        ),
    ] = None,
) -> None:
    """Recompute every seal; exit status 8 naming the first row that is not as it was sealed.

    Without --anchor and --public-key nobody can tell a history and seals that were both made anew.
    """
    from usermgr.services.signing import load_checker
    from usermgr.services.verifying import verify_history

    run = app_of(ctx)
    check = load_checker(public_key) if public_key else None
    with run.output.transfer(None) as bar, run.read(shows=AuditReport) as connection:
        report = verify_history(connection, anchor=anchor, check=check, progress=bar.rows)
    run.output.record(report)
    if report.unsealed:
        uncovered = counted(report.unsealed, "operation")
        run.output.note(f"note: no seal covers {uncovered} yet: usermgr audit seal")


@app.command()
def export(
    ctx: typer.Context,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE|-",
            help="Appears when complete, in place of one that is there; - is stdout.",
        ),
    ] = "-",
    since_seal: Annotated[
        int | None,
        typer.Option(
            "--since-seal", metavar="ID", min=0, help="Only what this seal does not cover."
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since", metavar="WHEN", help="Only operations that ended then or later, such as 7d."
        ),
    ] = None,
) -> None:
    """Write the history as JSON lines, streamed: an object for each change, with its operation.

    An operation without changes of its own has an object as well. With --since-seal nothing is
    missed from one run to the next, whatever ran meanwhile; what no seal covers yet has the seal
    null, and comes again. To append: usermgr audit export - --since-seal ID >> history.jsonl,
    because a named file is replaced.
    """
    from usermgr.services.auditing import FIELDS, export_history

    run = app_of(ctx)
    fields = View(FIELDS, FIELDS).choose(run.flags.get("fields"), brief=False)
    _require_jsonl(run, file)
    if since is not None and since_seal is not None:
        raise InvalidInput("--since and --since-seal exclude each other", hint="leave one out")
    ended = parse_when(since) if since is not None else None
    with (
        run.output.transfer(None, to_stdout=file == "-") as bar,
        run.database.read() as connection,
        destination(run, file, secret=False) as out,
    ):
        number = export_history(
            connection, out, after_seal=since_seal, since=ended, fields=fields, progress=bar.rows
        )
    run.output.note(f"note: exported {counted(number, 'line')}")


def _require_jsonl(run: AppContext, file: str) -> None:
    from usermgr.formats.files import content_ending

    ending = content_ending(file)
    if ending in _OTHERS:
        raise InvalidInput(
            f'"{visible(file)}" is a name for {ending}, and the history is always jsonl',
            hint="name a file that ends with .jsonl, or - for stdout",
        )
    chosen = run.flags.get("output")
    if chosen not in (None, "jsonl"):
        raise InvalidInput(
            f'the history is not exported as "{visible(chosen)}"', hint="it is always jsonl"
        )
