"""usermgr config ..."""

from __future__ import annotations

import typer

from usermgr.cli.context import app_of
from usermgr.cli.options import new_group
from usermgr.cli.views import view_of
from usermgr.config import render_settings
from usermgr.errors import Unavailable
from usermgr.records import CheckRow, SettingRow

app = new_group("Show and check the settings.")


@app.command()
def show(ctx: typer.Context) -> None:
    """Show every setting, its value (passwords masked) and where it came from."""
    run = app_of(ctx)
    run.output.records(SettingRow, [SettingRow(*row) for row in render_settings(run.settings)])


@app.command()
def check(ctx: typer.Context) -> None:
    """Connect, check versions, schema and privileges; exit status 5 when something is amiss."""
    from usermgr.db.diagnosis import diagnose

    run = app_of(ctx)
    run.output.check_fields(view_of(CheckRow))
    rows = diagnose(run.raw_database)
    run.output.records(CheckRow, rows)
    failed = [row for row in rows if not row.ok]
    if failed:
        raise Unavailable(
            f'the database "{run.raw_database.description}" is not ready: '
            + "; ".join(f"{row.check}: {row.found}" for row in failed),
            hint=failed[0].advice,
        )
