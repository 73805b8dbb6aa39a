"""One run of usermgr user import: its questions, its progress and the files that tell of it."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from usermgr.cli.confirming import confirmed
from usermgr.cli.import_files import ImportFiles
from usermgr.errors import PartialSuccess
from usermgr.names import visible
from usermgr.records import ImportReport
from usermgr.services.hashing import measure_rate
from usermgr.services.import_errors import import_failed, import_was_partial
from usermgr.services.import_running import ImportFace, ImportRun
from usermgr.services.problems import Problems
from usermgr.services.rejects import require_ending

if TYPE_CHECKING:
    import typer

    from usermgr.cli.context import AppContext
    from usermgr.services.import_source import ImportSource
    from usermgr.services.importing import ImportOptions

LONG_SECONDS = 10
"""How long the hashing of passwords must take to be announced."""

MANY_PASSWORDS = 50
"""How many passwords may take that long."""


def run_import(
    ctx: typer.Context,
    run: AppContext,
    source: ImportSource,
    options: ImportOptions,
    files: ImportFiles,
    *,
    dry_run: bool,
) -> tuple[ImportReport, PartialSuccess | None]:
    """Import and write the files; returns the report, and the error of rows left out."""
    problems = Problems()
    with contextlib.ExitStack() as stack:
        for spool in (problems, source):
            stack.callback(spool.close)
        if files.rejects is not None:
            require_ending(files.rejects.path.name, source)
        service = ImportRun(_face(ctx, run), source, options, problems, files, dry_run)
        ran = confirmed(run, "change", service.go)
        if ran.failure is not None:
            files.write_rejects(source, problems)
        files.publish(files.rejects)
        _note_hidden_passwords(run, files)
        more = "--rejects FILE writes them all" if files.rejects is None else None
        if ran.failure is not None:
            raise import_failed(ran, more=more)
        files.publish(files.results)
        return ran.report, import_was_partial(ran, more=more) if ran.report.rejected else None


def _face(ctx: typer.Context, run: AppContext) -> ImportFace:
    @contextlib.contextmanager
    def hashing(number: int) -> Iterator[Callable[[int], None]]:
        _announce(run, number)
        with run.output.progress("hashing passwords", number) as show:
            yield show

    return ImportFace(
        read=lambda: run.read(shows=ImportReport),
        operation=lambda dry_run: run.operation(ctx, shows=ImportReport, dry_run=dry_run),
        transfer=run.output.transfer,
        hashing=hashing,
    )


def _announce(run: AppContext, number: int) -> None:
    expected = number / measure_rate(run.settings.hash_costs) if number > MANY_PASSWORDS else 0
    if expected > LONG_SECONDS:
        run.output.note(f"note: hashing {number} passwords takes about {_duration(expected)}")


def _note_hidden_passwords(run: AppContext, files: ImportFiles) -> None:
    if files.rejects is not None and files.hidden:
        run.output.note(
            f'note: "{visible(str(files.rejects.path))}" holds no passwords; rejected rows that '
            f"had one: {files.hidden}; add theirs before they are imported again"
        )


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
