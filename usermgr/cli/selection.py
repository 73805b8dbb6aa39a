"""The options by which bulk verbs select users, and the file of those that are named."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from usermgr.cli.complete import complete_claims, complete_roles
from usermgr.errors import InvalidInput
from usermgr.records import UserFilter

if TYPE_CHECKING:
    from usermgr.cli.context import AppContext
    from usermgr.services.bulk import Selection

OPTIONS = "--where-role, --where-claim, --search, --active, --inactive or --from"

WhereRole = Annotated[
    str | None,
    typer.Option(
        "--where-role", metavar="ROLE", help="All with this role.", autocompletion=complete_roles
    ),
]
WhereClaims = Annotated[
    list[str] | None,
    typer.Option(
        "--where-claim",
        metavar="CLAIM",
        help="All that hold this claim; several: all of them.",
        autocompletion=complete_claims,
    ),
]
Search = Annotated[
    str | None,
    typer.Option("--search", help="All with this text in the name or e-mail, in any case."),
]
IsActive = Annotated[bool | None, typer.Option("--active/--inactive", help="All (in)active ones.")]
From = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="FILE|-",
        help="Those in a file: an id or e-mail a line; empty lines and # comments are passed over.",
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Do everything, report the numbers, and undo it.")
]


@dataclass(frozen=True, slots=True)
class Chosen:
    """The options as they were given; those of a filter add up (AND)."""

    role: str | None
    claims: list[str] | None
    search: str | None
    active: bool | None
    file: str | None

    @property
    def filter(self) -> UserFilter:
        """The filter; an option that was not given asks for nothing."""
        return UserFilter(self.role, tuple(self.claims or ()), self.active, self.search)

    @property
    def is_given(self) -> bool:
        """Whether any of the options was."""
        return self.file is not None or self.filter != UserFilter()

    @contextlib.contextmanager
    def selection(self, run: AppContext) -> Iterator[Selection]:
        """Whom the options mean. Raises InvalidInput when they contradict each other."""
        if self.search is not None and not self.search.strip():
            raise InvalidInput(
                "the search text is empty", hint="a variable of the shell may be unset"
            )
        if self.file is None:
            yield self.filter
            return
        if self.filter != UserFilter():
            raise InvalidInput(
                "--from excludes the options that filter", hint="leave one of them out"
            )
        if not self.file:
            raise InvalidInput("no file was named", hint="name one after --from, or - for stdin")
        with _named_in(self.file, run) as selection:
            yield selection


@contextlib.contextmanager
def _named_in(name: str, run: AppContext) -> Iterator[Selection]:
    from usermgr.formats.inputs import InputFile, OverlongLine, open_input
    from usermgr.services.bulk import Named

    def lines(file: InputFile) -> Iterator[tuple[int, str]]:
        number = 0
        try:
            with file.text() as text:
                for number, line in enumerate(text, 1):
                    reference = line.strip()
                    if reference and not reference.startswith("#"):
                        yield number, reference
        except OverlongLine as error:
            raise InvalidInput(
                f'line {number + 1} of "{file.name}" is too long', hint="write one user a line"
            ) from error

    with open_input(name, run.stdin.buffer) as file:
        yield Named(lambda: lines(file), file.name)
