"""usermgr help ...: topics that are not one command's."""

from __future__ import annotations

from dataclasses import dataclass

import typer

from usermgr.cli.context import app_of
from usermgr.cli.options import new_group
from usermgr.errors import exit_status_table
from usermgr.settings_table import SETTINGS

app = new_group("Topics: exit-codes, settings, fields.")


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """One exit status."""

    status: int
    code: str
    meaning: str


@dataclass(frozen=True, slots=True)
class SettingHelp:
    """One setting as it may be given."""

    variables: str
    flag: str | None
    default: str | None
    meaning: str


@dataclass(frozen=True, slots=True)
class FieldHelp:
    """The fields that one kind of record has."""

    record: str
    fields: str


@app.command("exit-codes")
def exit_codes(ctx: typer.Context) -> None:
    """What the exit statuses mean."""
    rows = [ExitStatus(*row) for row in exit_status_table()]
    app_of(ctx).output.records(ExitStatus, rows)


@app.command()
def settings(ctx: typer.Context) -> None:
    """The settings: a flag wins over the environment, that over .env, that over the default."""
    app_of(ctx).output.records(SettingHelp, setting_rows())


@app.command()
def fields(ctx: typer.Context) -> None:
    """The fields that --fields chooses from."""
    app_of(ctx).output.records(FieldHelp, field_rows())


def setting_rows() -> list[SettingHelp]:
    """Every setting as it may be given."""
    return [SettingHelp(" or ".join(s.variables), s.flag, s.default, s.meaning) for s in SETTINGS]


def field_rows() -> list[FieldHelp]:
    """The fields of what the commands show."""
    from usermgr import records
    from usermgr.cli.views import view_of

    shown = {
        "user": records.User,
        "role": records.Role,
        "claim": records.Claim,
        "operation": records.OperationDetail,
        "change": records.Change,
        "token": records.Token,
    }
    return [FieldHelp(name, ", ".join(view_of(kind).fields)) for name, kind in shown.items()]
