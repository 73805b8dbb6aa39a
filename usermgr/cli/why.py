"""usermgr why"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from usermgr.cli.complete import complete_claims
from usermgr.cli.context import app_of
from usermgr.cli.options import Command
from usermgr.records import Explanation

app = typer.Typer(add_completion=False)


@app.command(cls=Command)
def why(
    ctx: typer.Context,
    user: Annotated[str, typer.Argument(metavar="USER", help="Id or e-mail.")],
    claim: Annotated[
        str, typer.Argument(metavar="CLAIM", help="Name or id.", autocompletion=complete_claims)
    ],
) -> None:
    """Explain why a user holds a claim or does not: since when, by whom, why, until when."""
    from usermgr.services.explaining import explain_grant

    run = app_of(ctx)
    with run.read(shows=Explanation) as connection:
        found = explain_grant(connection, user, claim, datetime.now(UTC))
    run.output.record(found)
