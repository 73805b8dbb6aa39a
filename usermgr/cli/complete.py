"""Shell completion of values. A completion never fails and never writes anything but values."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, MutableMapping, Sequence
from typing import Any

import typer

_PREFIX = "_USERMGR_COMPLETE_PREFIX"
_HARMLESS = re.compile(r"[\w.:/@+,][\w.:/@+,-]*")


def join_split_words(environ: MutableMapping[str, str]) -> None:
    """Join the words that bash split at ``:`` and ``=``, as in ``reports:read`` and ``--role=x``.

    bash replaces only the piece behind the last ``:`` by what is completed: that piece stays the
    word to complete, and what stands before it is kept for the functions below.
    """
    words = environ.get("COMP_WORDS", "").split("\n")[: int(environ.get("COMP_CWORD", "0")) + 1]
    joined: list[tuple[str, str]] = []
    for word in words:
        before, last = joined[-1] if joined else ("", "")
        if word and not word.strip(":") and joined:
            joined[-1] = (before + last + word, "")
        elif before and not last:
            joined[-1] = (before, word)
        elif word != "=":
            joined.append(("", word))
    if words[-1] == "=":
        joined.append(("", ""))
    environ["COMP_WORDS"] = "\n".join([*map("".join, joined[:-1]), joined[-1][1]])
    environ["COMP_CWORD"] = str(len(joined) - 1)
    environ[_PREFIX] = joined[-1][0]


def complete_words(*choices: str) -> Callable[[typer.Context, list[str], str], list[str]]:
    """The completion of a value that is one of a few words."""

    def complete(_ctx: typer.Context, _args: list[str], incomplete: str) -> list[str]:
        return [choice for choice in choices if choice.startswith(incomplete)]

    return complete


def complete_revisions(_ctx: typer.Context, _args: list[str], incomplete: str) -> list[str]:
    """The revisions that this program's migrations make."""
    from usermgr.db.revisions import revision_titles

    return [name for name in revision_titles() if name.startswith(incomplete)]


def complete_fields(ctx: typer.Context, _args: list[str], incomplete: str) -> list[str]:
    """The fields of what the command shows; the last of a comma-separated list is completed."""
    done, comma, last = incomplete.rpartition(",")
    command = ctx.command_path.split()[1:]
    names = _fields_of(["bulk"] if selects_users(ctx) else command)
    return _harmless(done + comma + name for name in names if name.startswith(last))


def complete_roles(ctx: typer.Context, incomplete: str) -> list[str]:
    """The roles in the database."""
    return _labels(ctx, "role", incomplete)


def complete_claims(ctx: typer.Context, incomplete: str) -> list[str]:
    """The claims in the database."""
    return _labels(ctx, "claim", incomplete)


def selects_users(ctx: typer.Context) -> bool:
    """Whether the line selects the users of a bulk verb, and does not name them."""
    if "dry_run" not in ctx.params or "where_role" not in ctx.params:
        return False
    chosen = ("where_role", "where_claim", "search", "active", "from_")
    return any(ctx.params.get(name) for name in chosen) or ctx.params.get("active") is False


def _fields_of(command: Sequence[str]) -> tuple[str, ...]:
    """The fields of what the command shows."""
    from usermgr import records
    from usermgr.cli.output import HIGHLIGHTED, TOKEN_TEXT
    from usermgr.cli.views import view_of

    if command == ["user", "export"]:
        from usermgr.services.exporting import FIELDS

        return FIELDS
    if command == ["audit", "export"]:
        from usermgr.services import auditing

        return auditing.FIELDS
    exceptions: dict[tuple[str, ...], type] = {
        ("bulk",): records.BulkReport,
        ("user", "history"): records.Change,
        ("user", "erase"): records.Erasure,
        ("user", "import"): records.ImportReport,
        ("user", "verify-password"): records.Verification,
        ("password", "policy"): records.PasswordRule,
        ("password", "calibrate"): records.Calibration,
        ("password", "strengthen"): records.StrengthenReport,
        ("operation", "show"): records.OperationDetail,
        ("schema", "status"): records.SchemaStatus,
        ("schema", "check"): records.Difference,
        ("config", "check"): records.CheckRow,
        ("audit", "verify"): records.AuditReport,
    }
    usual: dict[str, type] = {
        "user": records.User,
        "role": records.Role,
        "claim": records.Claim,
        "password": records.PasswordGroup,
        "operation": records.OperationRecord,
        "audit": records.Seal,
        "token": records.Token,
        "seed": records.SeedReport,
        "schema": records.SchemaReport,
        "config": records.SettingRow,
    }
    shown = exceptions.get(tuple(command)) or usual.get(next(iter(command), ""))
    if shown is None:
        return ()
    shown_once: dict[tuple[str, ...], str] = {
        ("user", "create"): HIGHLIGHTED,
        ("user", "set-password"): HIGHLIGHTED,
        ("token", "create"): TOKEN_TEXT,
        ("token", "rotate"): TOKEN_TEXT,
    }
    once = shown_once.get(tuple(command))
    return (*view_of(shown).fields, *([once] if once else []))


def _labels(ctx: typer.Context, noun: str, incomplete: str) -> list[str]:
    try:
        names = _names(ctx, noun)
    except Exception:  # noqa: BLE001 - a shell that is completing has no place for any error
        return []
    prefix = ctx.find_root().obj.environ.get(_PREFIX, "")
    matching = (name for name in names if name.startswith(prefix + incomplete))
    return [name.removeprefix(prefix) for name in _harmless(matching)]


def _harmless(values: Iterable[str]) -> list[str]:
    """The values that no shell reads as anything but one word.

    zsh evaluates what it is offered, bash expands it as file names, and both put it on the line
    without quotes.
    """
    return [value for value in values if _HARMLESS.fullmatch(value)]


def _names(ctx: typer.Context, noun: str) -> list[str]:
    from usermgr.db.engine import Database
    from usermgr.services.claims import list_claims
    from usermgr.services.roles import list_roles

    app: Any = ctx.find_root().obj
    with Database(app.settings).read() as connection:
        found = list_roles(connection) if noun == "role" else list_claims(connection)
        return [label.description for label in found]
