"""The only writer: stdout is data, stderr is everything else.

Tables are for people: they go through Rich, with every cell as plain text, and control characters
made visible. Machine formats never pass through Rich.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, fields, is_dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from usermgr.cli.views import View, view_of
from usermgr.errors import Unavailable, UserMgrError
from usermgr.formats.writers import MANY, ONE, Row, cell
from usermgr.urls import mask_url

if TYPE_CHECKING:
    from rich.console import Console

HIGHLIGHTED = "generated_password"
TOKEN_TEXT = "token"  # noqa: S105 - the name of a field
"""The two values that are shown once."""


class Transfer(NamedTuple):
    """What a progress bar of a file is told: the bytes and the rows that are done so far."""

    read: Callable[[int], None]
    rows: Callable[[int], None]


class _Rate:
    """How many are done a second, since the first ones were."""

    def __init__(self) -> None:
        self._first: tuple[float, int] | None = None

    def of(self, done: int) -> str:
        """The rate, as text; nothing before it can be told."""
        now = time.monotonic()
        if self._first is None:
            self._first = now, done
        began, first = self._first
        return f"{(done - first) / max(now - began, 1e-6):,.0f}/s" if done > first else ""


class ReaderLeft(Exception):
    """The reader of our stdout has closed the pipe; there is nobody left to tell."""


class Output:
    """Writes records, notes and errors in the format that was chosen."""

    def __init__(
        self,
        stdout: TextIO,
        stderr: TextIO,
        *,
        format_name: str | None,
        wanted_fields: str | None,
        quiet: bool,
    ) -> None:
        self._stdout, self._stderr = stdout, stderr
        self.format_chosen = format_name is not None
        self.format = format_name or ("table" if stdout.isatty() else "tsv")
        self._wanted = wanted_fields
        self._quiet = quiet

    def check_fields(self, view: View) -> tuple[str, ...]:
        """The fields that will be shown; called before any work, so that a wrong name costs none.

        Raises InvalidInput for a field that does not exist.
        """
        return view.choose(self._wanted, brief=self.format == "table")

    def record(self, record: Any, *, extra: Row | None = None) -> None:
        """One thing: one object in json and yaml, a header and a row in csv and tsv."""
        extra = extra or {}
        view = view_of(type(record), optional=tuple(extra))
        names = view.choose(self._wanted, brief=False)
        if self._wanted is None:
            names += tuple(name for name in extra if extra[name] is not None)
        with self.writing():
            if self.format == "table":
                self._write_one(names, {**_values(record), **extra})
            else:
                ONE[self.format](self._stdout, names, {**_row(record), **extra})

    def records(self, record_type: type[Any], records: Iterable[Any]) -> None:
        """Many things: an array in json, a header and a row each in csv and tsv; streamed."""
        names = self.check_fields(view_of(record_type))
        rows = (_row(record) for record in records)
        with self.writing():
            if self.format == "table":
                self._write_many(names, rows)
            else:
                MANY[self.format](self._stdout, names, rows)

    def named(self, records: Sequence[Any]) -> None:
        """Things that were named one by one: one is shown as one thing, several as many."""
        if len(records) == 1:
            self.record(records[0])
        else:
            self.records(type(records[0]), records)

    def report(self, record: Any) -> None:
        """What an action did: shown unless --quiet, and always when a format was asked for."""
        if self.format_chosen or not self._quiet:
            self.record(record)

    def text(self, text: str) -> None:
        """Text that was asked for as text: a DDL script, a help topic."""
        with self.writing():
            self._stdout.write(text)

    def note(self, text: str) -> None:
        """A remark on stderr; --quiet silences it."""
        if not self._quiet:
            self._say(text)

    def ask(self, question: str) -> None:
        """A question on stderr, without an end of line: the answer is typed behind it."""
        self._say(question, end="")

    @contextlib.contextmanager
    def progress(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """A progress bar on stderr, only on a terminal; yields what is told how far it is.

        The total may be a guess.
        """
        if not self._shows_progress():
            yield lambda _: None
            return
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )
        rate = _Rate()
        with Progress(*columns, console=_console(self._stderr), transient=True) as progress:
            task = progress.add_task(what, total=total, rate="")
            yield lambda done: progress.update(
                task, completed=done, total=max(done, total), rate=rate.of(done)
            )

    @contextlib.contextmanager
    def transfer(self, size: int | None, *, to_stdout: bool = False) -> Iterator[Transfer]:
        """The progress of rows on stderr, only on a terminal: of a file of ``size`` bytes, or of
        rows of which nobody knows the number. On a terminal the rows themselves are enough."""
        if not self._shows_progress() or (to_stdout and self._stdout.isatty()):
            yield Transfer(lambda _: None, lambda _: None)
            return
        from rich import progress as bars

        rows = bars.TextColumn("{task.fields[rows]:,} rows {task.fields[rate]}")
        columns: tuple[bars.ProgressColumn, ...] = (rows, bars.TimeElapsedColumn())
        if size is not None:
            columns = (
                rows,
                bars.BarColumn(),
                bars.DownloadColumn(),
                bars.TransferSpeedColumn(),
                bars.TimeRemainingColumn(),
            )
        rate = _Rate()
        console = _console(self._stderr)
        with bars.Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task("", total=size, rows=0, rate="")
            yield Transfer(
                lambda read: progress.update(task, completed=read),
                lambda done: progress.update(task, rows=done, rate=rate.of(done)),
            )

    def _shows_progress(self) -> bool:
        return not self._quiet and self._stderr.isatty()

    def _say(self, text: str, *, end: str = "\n") -> None:
        _write_message(self._stderr, text + end)

    @contextlib.contextmanager
    def writing(self) -> Iterator[TextIO]:
        """stdout, for data that a service writes itself; its errors are told as they are here."""
        try:
            yield self._stdout
            self._stdout.flush()
        except BrokenPipeError as error:
            raise ReaderLeft from error
        except OSError as error:
            raise Unavailable(
                f"the output cannot be written: {error.strerror}",
                hint="what was changed, if anything, is stored: see usermgr operation list",
            ) from error

    def _write_one(self, names: Sequence[str], row: Row) -> None:
        from usermgr.cli.tables import print_one

        shown = [_cell(row[name]) for name in names]
        print_one(_console(self._stdout), names, shown, highlighted=(HIGHLIGHTED, TOKEN_TEXT))

    def _write_many(self, names: Sequence[str], rows: Iterable[Row]) -> None:
        from usermgr.cli.tables import print_many

        shown = ([_cell(row[name]) for name in names] for row in rows)
        print_many(_console(self._stdout), names, shown)


def write_text(stdout: TextIO, text: str) -> None:
    """Text that is shown before any setting is read."""
    stdout.write(text)


def write_error(stderr: TextIO, error: UserMgrError, *, as_json: bool) -> None:
    """Write the error: two lines for people, or one JSON object."""
    if as_json:
        shown = {
            "code": error.code,
            "exit_status": error.exit_status,
            "message": error.message,
            "hint": error.hint,
            **({"details": error.details} if error.details else {}),
        }
        text = json.dumps({"error": shown}, ensure_ascii=False, default=str)
    else:
        text = f"error: {error.message}" + (f"\nhint: {error.hint}" if error.hint else "")
    _write_message(stderr, text + "\n")


def write_trace(stderr: TextIO, error: BaseException) -> None:
    """Write the chain of errors, the first one first. Of their texts only the first line is shown:
    in the others drivers repeat the rows and values of a statement, password hashes included. The
    first may repeat a host or a name where somebody wrote a whole URL."""
    import traceback

    chain: list[BaseException] = []
    following: BaseException | None = error
    while following is not None:
        chain.insert(0, following)
        context = None if following.__suppress_context__ else following.__context__
        following = following.__cause__ or context
    for raised in chain:
        kind = type(raised)
        first_line = mask_url(next(iter(str(raised).splitlines()), ""))
        text = "Traceback (most recent call last):\n"
        text += "".join(traceback.format_tb(raised.__traceback__))
        text += f"{kind.__module__}.{kind.__qualname__}: {first_line}\n\n"
        _write_message(stderr, text)


def _write_message(stderr: TextIO, text: str) -> None:
    """Who closed or filled stderr hears nothing; the exit status still tells."""
    with contextlib.suppress(OSError):
        stderr.write(_shown(text, keep="\n"))
        stderr.flush()


def _row(record: Any) -> Row:
    return {name: _nested(value) for name, value in _values(record).items()}


def _values(record: Any) -> Row:
    if not is_dataclass(record) or isinstance(record, type):
        raise TypeError(f"{record!r} is not a record")
    return {field.name: getattr(record, field.name) for field in fields(record)}


def _nested(value: Any) -> Any:
    return [asdict(item) for item in value] if _holds_records(value) else value


def _holds_records(value: Any) -> bool:
    return isinstance(value, tuple) and bool(value) and is_dataclass(value[0])


def _cell(value: Any) -> str:
    """The value as people read it: like a cell of csv, but lists have room to be wrapped, and
    records inside a record have a line each."""
    if _holds_records(value):
        return "\n".join(_shown(str(item)) for item in value)
    if isinstance(value, tuple) and all(isinstance(item, str) for item in value):
        return _shown("; ".join(value))
    return _shown(cell(value))


def _shown(text: str, keep: str = "") -> str:
    """The text with characters that steer a terminal escaped (controls, direction overrides)."""
    if text.isprintable():
        return text
    return "".join(
        c
        if c.isprintable() or c in keep or c in " \u200c\u200d\u200e\u200f\u00a0\u3000"
        else c.encode("unicode_escape").decode("ascii")
        for c in text
    )


def _console(stream: TextIO) -> Console:
    from rich.console import Console

    return Console(file=stream, markup=False, highlight=False, emoji=False)
