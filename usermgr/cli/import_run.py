"""One run of usermgr user import: what is stored, the files that tell of it, and the report."""

from __future__ import annotations

import contextlib
import itertools
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from usermgr.cli.confirming import Approve, confirmed
from usermgr.errors import Conflict, InvalidInput, PartialSuccess, Unavailable, UserMgrError
from usermgr.formats.files import PendingFile, content_ending, require_apart, temporary_lines
from usermgr.formats.writers import MANY, write_csv
from usermgr.names import listed, visible
from usermgr.records import ImportReport, RowOutcome
from usermgr.services.frames import PasswordsFound
from usermgr.services.hashing import measure_rate
from usermgr.services.import_source import find_needs
from usermgr.services.importing import (
    Import,
    TooManyProblems,
    choose_way,
    read_outcomes,
)
from usermgr.services.problems import FIRST, Problems
from usermgr.services.rejects import require_ending, write_rejects
from usermgr.services.row_process import frame_source

if TYPE_CHECKING:
    import typer

    from usermgr.cli.context import AppContext
    from usermgr.db.engine import Operation
    from usermgr.services.import_source import ImportSource, Need
    from usermgr.services.importing import Imported, ImportOptions, Way

_MAKES = {"unknown_role": "--create-roles", "unknown_claim": "--create-claims"}
"""What makes the roles and claims that rows name and nobody has made."""

LONG_SECONDS = 10
"""How long the hashing of passwords must take to be announced."""

MANY_PASSWORDS = 50
"""How many passwords may take that long."""

ATTEMPTS = 5
"""How often passwords are hashed that turn out to be needed because others change the users."""


class ImportFiles:
    """The files that an import writes; they are made before anything is read.

    ``used`` are the files that the import works with, by what they are. Raises InvalidInput when
    one of them, or another output, would be replaced.
    """

    def __init__(
        self,
        rejects: Path | None,
        results: Path | None,
        passwords: Path | None,
        *,
        used: Mapping[str, Path | int],
    ) -> None:
        self._paths = rejects, results, passwords
        self._stack = contextlib.ExitStack()
        named = {"--rejects": rejects, "--results": results, "--generate-passwords": passwords}
        for option, path in named.items():
            if path == Path("-"):
                raise InvalidInput(
                    f"{option} cannot be -: stdout is for the report", hint="name a file"
                )
        require_apart(named, used)

    def __enter__(self) -> ImportFiles:
        rejects, results, passwords = self._paths
        enter = self._stack.enter_context
        self.rejects = None
        if rejects:
            # Bytes that are no UTF-8 are given back as they were.
            self.rejects = enter(PendingFile(rejects, mode=0o600, errors="surrogateescape"))
        self.results = enter(PendingFile(results)) if results else None
        self.passwords = (
            enter(PendingFile(passwords, mode=0o600, must_be_new=True)) if passwords else None
        )
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)


class ImportRun:
    """One run of the command."""

    def __init__(
        self,
        ctx: typer.Context,
        run: AppContext,
        source: ImportSource,
        options: ImportOptions,
        files: ImportFiles,
        *,
        dry_run: bool,
    ) -> None:
        self._ctx, self._run, self._source, self._options = ctx, run, source, options
        self._files, self._dry_run = files, dry_run
        self._problems = Problems()
        self._hidden = 0
        self._started = time.monotonic()

    def go(self) -> tuple[ImportReport, PartialSuccess | None]:
        """Import and write the files; returns the report, and the error of rows left out."""
        with contextlib.ExitStack() as stack:
            for spool in (self._problems, self._source):
                stack.callback(spool.close)
            if self._files.rejects is not None:
                require_ending(self._files.rejects.path.name, self._source)
            report, failure = confirmed(
                self._run, "change", lambda approve: self._store_with_passwords(stack, approve)
            )
            if failure is not None:
                self._write_rejects()
            self._publish(self._files.rejects)
            if self._files.rejects is not None:
                self._note_hidden_passwords(self._files.rejects.path)
            if failure is not None:
                raise self._error(report, failure)
            self._publish(self._files.results)
            return report, self._partial(report) if report.rejected else None

    def _publish(self, file: PendingFile | None) -> None:
        if file is None:
            return
        try:
            file.publish()
        except Unavailable as error:
            if not self._run.may_be_stored:
                raise
            hint = "the import is stored: see usermgr operation list"
            raise Unavailable(error.message, hint=hint) from error

    def _store_with_passwords(
        self, stack: contextlib.ExitStack, approve: Approve
    ) -> tuple[ImportReport, str | None]:
        """Store the rows; the report, and why nothing was stored, if so.

        A hash takes thousands of times as long as all the rest of a row. So what becomes of the
        rows is found out first, in a transaction that is rolled back. Then the passwords are hashed
        that will be stored, and only then everything is done for good.
        """
        self._started = time.monotonic()  # Not counting what a person takes to answer.
        if not self._source.begins_with_passwords() and self._files.passwords is None:
            with contextlib.suppress(PasswordsFound):
                results = self._files.results is not None
                outcomes = stack.enter_context(temporary_lines()) if results else None
                return self._store(outcomes, approve)
        outcomes = stack.enter_context(temporary_lines())
        for _ in range(ATTEMPTS):
            self._source.rehearse()
            report, failure = self._store(outcomes, approve, rehearses=not self._dry_run)
            if failure is not None or self._dry_run:
                return report, failure
            self._hash(outcomes)
            with contextlib.suppress(_NotHashed):
                return self._store(outcomes, approve)
        raise Unavailable("other commands change the same users all the time", hint="try again")

    def _needs(self, outcomes: IO[str]) -> Iterator[Need]:
        return find_needs(read_outcomes(outcomes), set_passwords=self._options.set_passwords)

    def _hash(self, outcomes: IO[str]) -> None:
        generate = self._files.passwords is not None
        number = self._source.count_unhashed(self._needs(outcomes), generate=generate)
        expected = (
            number / measure_rate(self._run.settings.hash_costs) if number > MANY_PASSWORDS else 0
        )
        if expected > LONG_SECONDS:
            self._run.output.note(
                f"note: hashing {number} passwords takes about {_duration(expected)}"
            )
        done = 0
        with self._run.output.progress("hashing passwords", number) as show:

            def count(number: int) -> None:
                nonlocal done
                done += number
                show(done)

            self._source.hash_passwords(self._needs(outcomes), generate=generate, hashed=count)

    def _store(
        self, outcomes: IO[str] | None, approve: Approve, *, rehearses: bool = False
    ) -> tuple[ImportReport, str | None]:
        """The report, and why nothing was stored, if so. Of a rehearsal nothing is left.

        Raises _NotHashed when passwords are needed that no rehearsal foresaw.
        """
        imported = operation_id = failure = None
        try:
            with (
                self._run.output.transfer(self._source.size_bytes) as bar,
                frame_source(self._source, read=bar.read) as frames,
                self._operation(dry_run=rehearses or self._dry_run) as (op, way),
            ):
                imported = Import(
                    op,
                    frames,
                    self._options,
                    self._problems,
                    outcomes=outcomes,
                    progress=bar.rows,
                ).run(way)
                if not imported.stored:
                    raise _NotStored
                if not self._dry_run:
                    approve(imported.counts["updated"])
                if not rehearses:
                    self._write_files(outcomes)
                operation_id = op.id if op.counts and not self._dry_run else None
        except _NotStored:
            failure = "nothing was stored"
        except TooManyProblems:
            failure = f"more than --max-errors {self._options.max_errors}; nothing was stored"
        finally:
            # A password that is stored must not be lost, whatever becomes of the report.
            if self._files.passwords is not None and self._run.may_be_stored:
                self._files.passwords.keep()
        return self._report(imported, operation_id), failure

    def _write_files(self, outcomes: IO[str] | None) -> None:
        """Before the commit: what cannot be told is not to be stored."""
        if outcomes is not None:
            self._require_hashes(outcomes)
        self._write_rejects()
        if outcomes is not None:
            self._write_results(outcomes)
            self._write_passwords(outcomes)

    def _require_hashes(self, outcomes: IO[str]) -> None:
        if self._dry_run or self._source.has_hashes_for(self._needs(outcomes)):
            return
        raise _NotHashed

    @contextlib.contextmanager
    def _operation(self, *, dry_run: bool) -> Iterator[tuple[Operation, Way]]:
        run = self._run
        with run.read(shows=ImportReport) as connection:
            way = choose_way(connection, self._options)
        with run.operation(self._ctx, shows=ImportReport, dry_run=dry_run) as op:
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
        if (file := self._files.rejects) is None:
            return
        with file.writing():
            self._hidden = write_rejects(file.text, self._source, self._problems)

    def _note_hidden_passwords(self, path: Path) -> None:
        if self._hidden:
            self._run.output.note(
                f'note: "{visible(str(path))}" holds no passwords; rejected rows that had one: '
                f"{self._hidden}; add theirs before they are imported again"
            )

    def _write_results(self, outcomes: IO[str]) -> None:
        if (file := self._files.results) is None:
            return
        ending = content_ending(file.path.name)
        write = MANY[ending if ending in MANY else "csv"]
        fields = ("email", "id", "outcome")
        with file.writing():
            write(file.text, fields, map(self._result, read_outcomes(outcomes)))  # type: ignore[arg-type]

    def _result(self, row: RowOutcome) -> dict[str, Any]:
        # Ids of users that a dry run creates are taken back, and nobody else's yet.
        undone = self._dry_run and row.outcome == "created"
        return {**asdict(row), **({"id": None} if undone else {})}

    def _write_passwords(self, outcomes: IO[str]) -> None:
        """Complete and published, before anything is stored."""
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
        makes = [option for reason, option in _MAKES.items() if reason in report.reasons]
        if makes:
            hint = f"{' and '.join(makes)} make{'' if makes[1:] else 's'} them; or {hint}"
        if self._files.rejects is None:
            hint += "; --rejects FILE writes them all"
        rows = f"{report.rejected} of {report.read} rows are bad" if report.read else "rows are bad"
        return (Conflict if only_taken else InvalidInput)(
            f"{rows}: {failure}{self._first_problems()}", hint=hint, details=asdict(report)
        )

    def _partial(self, report: ImportReport) -> PartialSuccess:
        hint = None if self._files.rejects else "--rejects FILE writes them all"
        return PartialSuccess(
            f"{report.rejected} of {report.read} rows were rejected{self._first_problems()}",
            hint=hint,
            details=asdict(report),
        )

    def _first_problems(self) -> str:
        first = itertools.islice(self._problems, FIRST)
        lines = (f"line {problem.line}: {problem.reason}" for problem in first)
        return listed(lines, self._problems.total)


class _NotStored(Exception):
    """Rolls the operation back."""


class _NotHashed(Exception):
    """Somebody has changed users since the rehearsal, and more passwords are needed."""


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} seconds"
    return f"{minutes}:{rest:02} minutes" if minutes < 60 else f"{minutes / 60:.1f} hours"


@contextlib.contextmanager
def terminable() -> Iterator[None]:
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
