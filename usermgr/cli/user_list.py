"""usermgr user list"""

from __future__ import annotations

from typing import Annotated

import typer

from usermgr.cli.complete import complete_claims, complete_roles, complete_words
from usermgr.cli.context import AppContext, app_of
from usermgr.errors import InvalidInput
from usermgr.formats.whens import parse_when
from usermgr.names import visible
from usermgr.records import USER_SORTS, User, UserFilter, UserSort

DEFAULT_LIMIT = 100
MAX_LIMIT = 100_000

OfRole = Annotated[
    str | None,
    typer.Option("--role", help="Only users with this role.", autocompletion=complete_roles),
]
WithClaims = Annotated[
    list[str] | None,
    typer.Option(
        "--claim",
        help="Only users that hold this claim; several: all of them.",
        autocompletion=complete_claims,
    ),
]
IsActive = Annotated[
    bool | None, typer.Option("--active/--inactive", help="Only (in)active users.")
]
Containing = Annotated[
    str | None, typer.Option("--search", help="Text in the name or e-mail, in any case.")
]
CreatedSince = Annotated[
    str | None,
    typer.Option(
        "--created-since", metavar="WHEN", help="2026-01-31, an RFC 3339 time, 7d or 12h."
    ),
]


def user_filter(
    role: str | None,
    claim: list[str] | None,
    active: bool | None,
    search: str | None,
    created_since: str | None,
) -> UserFilter:
    """The filter that the options above mean. Raises InvalidInput for what is not a time."""
    return UserFilter(
        role=role,
        claims=tuple(claim or ()),
        active=active,
        search=search,
        created_since=parse_when(created_since) if created_since is not None else None,
    )


def add_list(app: typer.Typer) -> None:
    """Add the command to the group."""
    app.command("list")(list_)


def list_(
    ctx: typer.Context,
    role: OfRole = None,
    claim: WithClaims = None,
    active: IsActive = None,
    search: Containing = None,
    created_since: CreatedSince = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            min=1,
            max=MAX_LIMIT,
            help=f"Users on one page; {DEFAULT_LIMIT} unless given.",
        ),
    ] = None,
    after: Annotated[
        str | None, typer.Option("--after", metavar="CURSOR", help="Continue a list that was cut.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every user, streamed.")] = False,
    sort: Annotated[
        str,
        typer.Option(
            "--sort",
            metavar="|".join(USER_SORTS),
            help="The order.",
            autocompletion=complete_words(*USER_SORTS),
        ),
    ] = "id",
    descending: Annotated[bool, typer.Option("--descending", help="Turn the order round.")] = False,
) -> None:
    """List users. A list that was cut says so on stderr, with the cursor of the next page."""
    run = app_of(ctx)
    wanted = user_filter(role, claim, active, search, created_since)
    if everything:
        for option, value in (("--after", after), ("--limit", limit)):
            if value is not None:
                raise InvalidInput(f"--all and {option} exclude each other", hint="leave one out")
        _list_all(run, wanted, _sort(sort), descending)
    else:
        _list_page(run, wanted, _sort(sort), descending, limit or DEFAULT_LIMIT, after)


def _list_all(run: AppContext, wanted: UserFilter, sort: UserSort, descending: bool) -> None:
    from usermgr.services.lookup import iterate_users

    with run.read(shows=User) as connection:
        run.output.records(
            User, iterate_users(connection, wanted, sort=sort, descending=descending)
        )


def _list_page(
    run: AppContext,
    wanted: UserFilter,
    sort: UserSort,
    descending: bool,
    limit: int,
    after: str | None,
) -> None:
    from usermgr.services.lookup import list_users

    with run.read(shows=User) as connection:
        page = list_users(
            connection, wanted, sort=sort, descending=descending, limit=limit, after=after
        )
    run.output.records(User, page.users)
    if page.next_cursor is not None:
        run.output.note(
            f"note: {len(page.users)} of {page.total} users are shown; "
            f"the next ones: --after {page.next_cursor}, every one: --all"
        )


def _sort(text: str) -> UserSort:
    for sort in USER_SORTS:
        if text == sort:
            return sort
    raise InvalidInput(
        f'users cannot be sorted by "{visible(text)}"',
        hint="sort by " + ", ".join(USER_SORTS),
    )
