"""The files that usermgr user import writes beside what it stores."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from usermgr.errors import InvalidInput, Unavailable
from usermgr.formats.files import PendingFile, content_ending, require_apart
from usermgr.formats.writers import MANY, write_csv
from usermgr.records import RowOutcome
from usermgr.services.import_running import Told
from usermgr.services.import_source import ImportSource
from usermgr.services.importing import read_outcomes
from usermgr.services.problems import Problems
from usermgr.services.rejects import write_rejects


class ImportFiles:
    """The files that an import writes; they are made before anything is read.

    ``used`` are the files that the import works with, by what they are. ``may_be_stored`` says
    whether the import was committed, as far as anybody knows. Raises InvalidInput when one of the
    files, or another output, would be replaced.
    """

    def __init__(
        self,
        rejects: Path | None,
        results: Path | None,
        passwords: Path | None,
        *,
        used: Mapping[str, Path | int],
        may_be_stored: Callable[[], bool],
    ) -> None:
        self._paths = rejects, results, passwords
        self._may_be_stored = may_be_stored
        self._stack = contextlib.ExitStack()
        self.hidden = 0
        """How many rows of the reject file lack the password that they had."""
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

    @property
    def wants_outcomes(self) -> bool:
        """Whether a file tells what became of each row."""
        return self.results is not None

    @property
    def wants_passwords(self) -> bool:
        """Whether there is a file for generated passwords."""
        return self.passwords is not None

    def write(self, told: Told) -> None:
        """Write what cannot be told later; passwords are published before they are stored."""
        self.write_rejects(told.source, told.problems)
        if told.outcomes is not None:
            self._write_results(told)
            self._write_passwords(told)

    def settle(self) -> None:
        """A password that is stored must not be lost, whatever becomes of the report."""
        if self.passwords is not None and self._may_be_stored():
            self.passwords.keep()

    def write_rejects(self, source: ImportSource, problems: Problems) -> None:
        """Write the rows that were refused."""
        if (file := self.rejects) is None:
            return
        with file.writing():
            self.hidden = write_rejects(file.text, source, problems)

    def publish(self, file: PendingFile | None) -> None:
        """Let the file appear. Raises Unavailable, which says when the import itself is stored."""
        if file is None:
            return
        try:
            file.publish()
        except Unavailable as error:
            if not self._may_be_stored():
                raise
            hint = "the import is stored: see usermgr operation list"
            raise Unavailable(error.message, hint=hint) from error

    def _write_results(self, told: Told) -> None:
        if (file := self.results) is None or told.outcomes is None:
            return
        ending = content_ending(file.path.name)
        write = MANY[ending if ending in MANY else "csv"]
        rows = (_result(row, told) for row in read_outcomes(told.outcomes))
        with file.writing():
            write(file.text, ("email", "id", "outcome"), rows)  # type: ignore[arg-type]

    def _write_passwords(self, told: Told) -> None:
        if (file := self.passwords) is None or told.outcomes is None:
            return
        created = (row.number for row in read_outcomes(told.outcomes) if row.outcome == "created")
        rows = (
            {"email": email, "password": password}
            for email, password in _of_rows(told.source.generated(), created)
        )
        with file.writing():
            write_csv(file.text, ("email", "password"), rows)  # type: ignore[arg-type]
        file.publish()


def _result(row: RowOutcome, told: Told) -> dict[str, Any]:
    # Ids of users that a dry run creates are taken back, and nobody else's yet.
    undone = told.dry_run and row.outcome == "created"
    return {**asdict(row), **({"id": None} if undone else {})}


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
