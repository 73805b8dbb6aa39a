"""usermgr user import"""

from __future__ import annotations

import contextlib
import itertools
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from usermgr.cli.complete import complete_roles, complete_words
from usermgr.cli.context import AppContext, app_of
from usermgr.cli.output import Transfer
from usermgr.errors import Conflict, InvalidInput, PartialImport, UserMgrError
from usermgr.names import visible
from usermgr.records import ImportReport

if TYPE_CHECKING:
    from usermgr.db.engine import Operation
    from usermgr.services.import_source import ImportSource
    from usermgr.services.importing import Imported, ImportOptions, Way

FORMATS = ("csv", "tsv", "jsonl", "json")
ON_CONFLICT = ("fail", "skip", "update")
ON_ERROR = ("fail", "skip")
PASSWORDS = ("keep", "set")
LONG_SECONDS = 10


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
        typer.Option("--map", metavar="FIELD=COLUMN", help="Read a field from another column."),
    ] = None,
    ignore_column: Annotated[
        list[str] | None,
        typer.Option("--ignore-column", metavar="COLUMN", help="Pass over a column."),
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
        typer.Option("--rejects", metavar="FILE", help="Write the bad rows, with line and reason."),
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
            "--default-role", help="The role of rows without one.", autocompletion=complete_roles
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
    from usermgr.formats.inputs import open_input
    from usermgr.services.import_source import ImportSource
    from usermgr.services.importing import ImportOptions
    from usermgr.services.rows import RowRules

    conflict = _chosen("--on-conflict", on_conflict, ON_CONFLICT)
    options = ImportOptions(
        on_conflict=conflict,  # type: ignore[arg-type]
        on_error=_chosen("--on-error", on_error, ON_ERROR),  # type: ignore[arg-type]
        max_errors=max_errors,
        create_roles=create_roles,
        create_claims=create_claims,
        set_passwords=_chosen("--passwords", passwords, PASSWORDS) == "set",
        with_ids=with_ids,
        exclusive=exclusive,
    )
    rules = RowRules(
        password_min_length=run.settings.password_min_length,
        mapping=_mapping(map_ or [], with_ids=with_ids),
        ignored=frozenset(ignore_column or ()),
        default_role=default_role,
        may_lack=conflict == "update",
        unescape=safe,
        with_ids=with_ids,
    )
    if format is not None:
        _chosen("--format", format, FORMATS)
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
        raise InvalidInput(f'the delimiter "{visible(delimiter)}" is not one character')
    if dry_run and generate_passwords is not None:
        raise InvalidInput(
            "--dry-run stores no passwords that --generate-passwords could write",
            hint="leave one of them out",
        )
    if not file:
        raise InvalidInput("no file was named", hint="name one, or - for stdin")
    files = _Files(rejects, results, generate_passwords)
    with (
        open_input(file, run.stdin.buffer) as opened,
        files,
        run.output.transfer(opened.size) as bar,
    ):
        source = ImportSource(opened, rules, format, delimiter, encoding)
        if safe and source.format_name not in ("csv", "tsv"):
            raise InvalidInput(
                f"--safe is for csv and tsv, not for {source.format_name}", hint="leave --safe out"
            )
        partly = _Run(ctx, run, source, options, files, dry_run=dry_run, bar=bar).go()
    if partly is not None:  # Not before the files are where they belong.
        raise partly


class _Files:
    """The files that an import writes; they are made before anything is read."""

    def __init__(self, rejects: Path | None, results: Path | None, passwords: Path | None) -> None:
        self._paths = rejects, results, passwords
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> _Files:
        from usermgr.formats.files import PendingFile

        rejects, results, passwords = self._paths
        enter = self._stack.enter_context
        self.rejects = None
        if rejects:
            # They are for failures as well, and give back bytes that are no UTF-8 as they were.
            kept = PendingFile(rejects, mode=0o600, kept=True, errors="surrogateescape")
            self.rejects = enter(kept)
        self.results = enter(PendingFile(results)) if results else None
        self.passwords = (
            enter(PendingFile(passwords, mode=0o600, must_be_new=True)) if passwords else None
        )
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)


class _Run:
    """One run of the command."""

    def __init__(
        self,
        ctx: typer.Context,
        run: AppContext,
        source: ImportSource,
        options: ImportOptions,
        files: _Files,
        *,
        dry_run: bool,
        bar: Transfer,
    ) -> None:
        from usermgr.services.problems import Problems

        self._ctx, self._run, self._source, self._options = ctx, run, source, options
        self._files, self._dry_run, self._bar = files, dry_run, bar
        self._problems = Problems()
        self._started = time.monotonic()

    def go(self) -> PartialImport | None:
        """Import, write the files, report; returns the error of rows that were left out."""
        from usermgr.formats.files import temporary_lines

        wants_outcomes = bool(self._files.results or self._files.passwords)
        outcomes = temporary_lines() if wants_outcomes else None
        with contextlib.ExitStack() as stack:
            stack.enter_context(_terminable())
            for spool in (self._problems, self._source, outcomes):
                if spool is not None:
                    stack.callback(spool.close)
            self._hash()
            report, failure = self._store(outcomes)
            if failure is not None:
                self._write_rejects()
            if self._files.rejects is not None:
                self._files.rejects.publish()
            if failure is not None:
                raise self._error(report, failure)
            if self._files.results is not None:
                self._files.results.publish()
            self._run.output.report(report)
            return self._partial(report) if report.rejected else None

    def _hash(self) -> None:
        generate = self._files.passwords is not None
        secrets, rows = self._source.look()
        if not (secrets or generate):
            return
        from usermgr.services.hashing import measure_rate

        expected = rows / measure_rate()
        if expected > LONG_SECONDS:
            minutes, seconds = divmod(round(expected), 60)
            self._run.output.note(
                f"note: hashing about {rows} passwords takes about {minutes}:{seconds:02} minutes"
            )
        done = 0

        def count(number: int) -> None:
            nonlocal done
            done += number
            self._bar.rows(done)

        self._source.hash_passwords(generate=generate, hashed=count)

    def _store(self, outcomes: IO[str] | None) -> tuple[ImportReport, str | None]:
        """The report, and why nothing was stored, if so."""
        from usermgr.services.importing import Import, TooManyProblems
        from usermgr.services.row_process import frame_source

        imported = operation_id = failure = None
        try:
            with (
                frame_source(self._source, read=self._bar.read) as frames,
                self._operation() as (op, way),
            ):
                imported = Import(
                    op,
                    frames,
                    self._options,
                    self._problems,
                    outcomes=outcomes,
                    progress=self._bar.rows,
                ).run(way)
                if not imported.stored:
                    raise _NotStored
                # Before the commit: what cannot be told is not to be stored.
                self._write_rejects()
                if outcomes is not None:
                    self._write_results(outcomes)
                    self._write_passwords(outcomes)
                operation_id = op.id if op.counts and not self._dry_run else None
        except _NotStored:
            failure = "nothing was stored"
        except TooManyProblems:
            failure = f"more than --max-errors {self._options.max_errors}; nothing was stored"
        return self._report(imported, operation_id), failure

    @contextlib.contextmanager
    def _operation(self) -> Iterator[tuple[Operation, Way]]:
        from usermgr.services.importing import choose_way

        run = self._run
        with run.read(shows=ImportReport) as connection:
            way = choose_way(connection, self._options)
        with run.operation(self._ctx, shows=ImportReport, dry_run=self._dry_run) as op:
            yield op, way

    def _report(self, imported: Imported | None, operation_id: int | None) -> ImportReport:
        counts = imported.counts if imported else {}
        seconds = time.monotonic() - self._started
        read = counts.get("read", 0)
        return ImportReport(
            read=read,
            created=counts.get("created", 0),
            updated=counts.get("updated", 0),
            unchanged=counts.get("unchanged", 0),
            skipped=counts.get("skipped", 0),
            rejected=self._problems.total,
            reasons=dict(sorted(self._problems.counts.items())),
            roles_created=imported.roles_created if imported else 0,
            claims_created=imported.claims_created if imported else 0,
            grants_added=counts.get("grants_added", 0),
            grants_removed=counts.get("grants_removed", 0),
            dry_run=self._dry_run,
            operation_id=operation_id,
            seconds=round(seconds, 3),
            rows_per_second=round(read / seconds) if seconds else 0,
        )

    def _write_rejects(self) -> None:
        from usermgr.services.rejects import write_rejects

        if (file := self._files.rejects) is None:
            return
        with file.writing():
            write_rejects(file.text, self._source, self._problems)

    def _write_results(self, outcomes: IO[str]) -> None:
        from usermgr.formats.writers import MANY
        from usermgr.services.importing import read_outcomes

        if (file := self._files.results) is None:
            return
        ending = file.path.suffix.removeprefix(".").lower()
        write = MANY[ending if ending in MANY else "csv"]
        fields = ("email", "id", "outcome")
        with file.writing():
            write(file.text, fields, (asdict(row) for row in read_outcomes(outcomes)))  # type: ignore[arg-type]

    def _write_passwords(self, outcomes: IO[str]) -> None:
        """Complete and published: a password that is stored must not be lost."""
        from usermgr.formats.writers import write_csv
        from usermgr.services.importing import read_outcomes

        if (file := self._files.passwords) is None:
            return
        created = (row.number for row in read_outcomes(outcomes) if row.outcome == "created")
        rows = (
            {"email": email, "password": password}
            for email, password in _of_rows(self._source.generated(), created)
        )
        with file.writing():
            write_csv(file.text, ("email", "password"), rows)  # type: ignore[arg-type]
        file.publish()

    def _error(self, report: ImportReport, failure: str) -> UserMgrError:
        only_taken = set(report.reasons) == {"taken_email"}
        hint = "correct them, or store the others with --on-error skip"
        if only_taken:
            hint = "pass over them with --on-conflict skip, or change the users with update"
        if self._files.rejects is None:
            hint += "; --rejects FILE writes them all"
        rows = f"{report.rejected} of {report.read} rows are bad" if report.read else "rows are bad"
        return (Conflict if only_taken else InvalidInput)(
            f"{rows}: {failure}{self._first_problems()}", hint=hint, details=asdict(report)
        )

    def _partial(self, report: ImportReport) -> PartialImport:
        hint = None if self._files.rejects else "--rejects FILE writes them all"
        return PartialImport(
            f"{report.rejected} of {report.read} rows were rejected{self._first_problems()}",
            hint=hint,
            details=asdict(report),
        )

    def _first_problems(self) -> str:
        from usermgr.services.problems import FIRST

        first = list(itertools.islice(self._problems, FIRST))
        lines = [f"\n  line {problem.line}: {problem.reason}" for problem in first]
        more = self._problems.total - len(first)
        return "".join(lines) + (f"\n  and {more} more" if more else "")


class _NotStored(Exception):
    """Rolls the operation back."""


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end the block like Ctrl-C: files and transactions are cleaned up."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _of_rows(
    generated: Iterator[tuple[int, str, str]], numbers: Iterator[int]
) -> Iterator[tuple[str, str]]:
    """The e-mails and passwords that were made for the rows with these numbers; both ascend."""
    wanted = next(numbers, None)
    for number, email, password in generated:
        while wanted is not None and wanted < number:
            wanted = next(numbers, None)
        if wanted == number:
            yield email, password


def _chosen(option: str, value: str, choices: Sequence[str]) -> str:
    if value not in choices:
        raise InvalidInput(
            f'{option} cannot be "{visible(value)}"', hint="choose " + ", ".join(choices)
        )
    return value


def _mapping(pairs: Sequence[str], *, with_ids: bool) -> dict[str, str]:
    from usermgr.services.rows import FIELDS

    fields = ("id", *FIELDS) if with_ids else FIELDS
    mapping: dict[str, str] = {}
    for pair in pairs:
        name, separator, column = pair.partition("=")
        if not separator or name not in fields or not column:
            raise InvalidInput(
                f'--map "{visible(pair)}" is not FIELD=COLUMN',
                hint="the fields are " + ", ".join(fields),
            )
        mapping[name] = column
    return mapping


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
# Lines that begin with # are passed over.
"""
_TEMPLATES = {
    "csv": _COMMENTS.format(claims="names separated by ;")
    + "email,name,role,claims,active,created_at\n"
    + "ana@example.com,Ana Souza,member,reports:read;billing:read,true,2026-01-31T12:00:00Z\n"
    + "bruno@example.com,Bruno Lima,member,,,\n",
    "jsonl": _COMMENTS.format(claims="a list of names")
    + '{"email": "ana@example.com", "name": "Ana Souza", "role": "member", '
    + '"claims": ["reports:read", "billing:read"], "active": true}\n'
    + '{"email": "bruno@example.com", "name": "Bruno Lima", "role": "member"}\n',
}
