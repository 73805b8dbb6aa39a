"""usermgr token ..."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final

import typer

from usermgr.cli.context import AppContext, app_of
from usermgr.cli.options import new_group
from usermgr.cli.output import TOKEN_TEXT
from usermgr.errors import InvalidInput
from usermgr.formats.whens import parse_until
from usermgr.records import NewToken, Token

DEFAULT_EXPIRY: Final = "90d"

app = new_group("Create, list, rotate and revoke tokens of the HTTP API.")

TokenArgument = Annotated[str, typer.Argument(metavar="TOKEN", help="Name or id.")]
Expires = Annotated[
    str,
    typer.Option(
        "--expires",
        metavar="WHEN",
        help="Until when: 2027-01-31, an RFC 3339 time, 30d or 12h from now.",
    ),
]


@app.command()
def create(
    ctx: typer.Context,
    name: Annotated[
        str, typer.Option("--name", help="What it is for; unique among those in force.")
    ],
    scopes: Annotated[
        str,
        typer.Option(
            "--scopes",
            metavar="A,B,...",
            help="What it may do: users:read, users:write, the same of roles, claims, operations"
            " and tokens; read is all that read, all is everything.",
        ),
    ] = "read",
    expires: Expires = DEFAULT_EXPIRY,
    for_: Annotated[
        str | None,
        typer.Option(
            "--for",
            metavar="USER",
            help="Whom it acts for, by id or e-mail: it works while that user is active.",
        ),
    ] = None,
) -> None:
    """Create a token, and show its text, once."""
    from usermgr.services.tokens import create_token, read_scopes

    run = app_of(ctx)
    _require_shown(run)
    new = NewToken(name, read_scopes(scopes), _until(expires), for_)
    with run.operation(ctx, shows=Token, optional=[TOKEN_TEXT]) as op:
        token, text = create_token(op, new)
    run.output.record(token, extra={TOKEN_TEXT: text})


@app.command("list")
def list_(ctx: typer.Context) -> None:
    """List every token, revoked and expired ones too."""
    from usermgr.services.tokens import list_tokens

    run = app_of(ctx)
    with run.read(shows=Token) as connection:
        run.output.records(Token, list_tokens(connection))


@app.command()
def show(ctx: typer.Context, token: TokenArgument) -> None:
    """Show one token; its text is shown by nothing."""
    from usermgr.services.tokens import find_token

    run = app_of(ctx)
    with run.read(shows=Token) as connection:
        found = find_token(connection, token)
    run.output.record(found)


@app.command()
def rotate(ctx: typer.Context, token: TokenArgument, expires: Expires = DEFAULT_EXPIRY) -> None:
    """Give a token another text, shown once, and another end; the former text stops working."""
    from usermgr.services.tokens import rotate_token

    run = app_of(ctx)
    _require_shown(run)
    until = _until(expires)
    with run.operation(ctx, shows=Token, optional=[TOKEN_TEXT]) as op:
        rotated, text = rotate_token(op, token, expires_at=until)
    run.output.record(rotated, extra={TOKEN_TEXT: text})


@app.command()
def revoke(ctx: typer.Context, token: TokenArgument) -> None:
    """Take a token's power away for good."""
    from usermgr.services.tokens import revoke_token

    run = app_of(ctx)
    with run.operation(ctx, shows=Token) as op:
        revoked = revoke_token(op, token)
    run.output.record(revoked)


def _until(text: str) -> datetime:
    until = parse_until(text)
    if until is None:
        raise InvalidInput("a token always has an end", hint="write a span such as 90d")
    return until


def _require_shown(run: AppContext) -> None:
    """The text is shown once: the command must not begin where it would be lost."""
    wanted = run.flags.get("fields")
    names: list[Any] = [] if wanted is None else [name.strip() for name in wanted.split(",")]
    if wanted is not None and TOKEN_TEXT not in names:
        raise InvalidInput(
            f"--fields {wanted} leaves out {TOKEN_TEXT}: the token's text would be lost",
            hint=f"add {TOKEN_TEXT} to --fields",
        )
