"""usermgr user enable, disable, delete, grant, revoke and set-role: of users that are named one by
one, or of all that are selected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from usermgr.cli.bulk_run import Verb, confirm_deletion, run_verb
from usermgr.cli.complete import complete_claims, complete_roles, selects_users
from usermgr.cli.context import app_of
from usermgr.cli.selection import (
    OPTIONS,
    Chosen,
    DryRun,
    From,
    IsActive,
    Search,
    WhereClaims,
    WhereRole,
)
from usermgr.errors import InvalidInput
from usermgr.formats.whens import parse_until
from usermgr.records import UNSET, User, UserChanges

if TYPE_CHECKING:
    from usermgr.db.engine import Operation

Users = Annotated[
    list[str] | None,
    typer.Argument(metavar="[USER...]", help="Ids or e-mails; all are done, or none."),
]


def _complete_first(ctx: typer.Context, incomplete: str) -> list[str]:
    """The first word is a claim where users are selected, and else a user."""
    return complete_claims(ctx, incomplete) if selects_users(ctx) else []


User_ = Annotated[
    str | None,
    typer.Argument(
        metavar="[USER]",
        help="Id or e-mail; left out where users are selected.",
        autocompletion=_complete_first,
    ),
]
Claims = Annotated[
    list[str] | None,
    typer.Argument(metavar="CLAIM...", help="Names or ids.", autocompletion=complete_claims),
]


def add_bulk(app: typer.Typer) -> None:
    """Add the commands to the group."""
    for command in (enable, disable, delete, grant, revoke):
        app.command()(command)
    app.command("set-role")(set_role)


def enable(
    ctx: typer.Context,
    users: Users = None,
    where_role: WhereRole = None,
    where_claim: WhereClaims = None,
    search: Search = None,
    active: IsActive = None,
    from_: From = None,
    dry_run: DryRun = False,
) -> None:
    """Enable users."""
    chosen = Chosen(where_role, where_claim, search, active, from_)
    _set_active(ctx, users or [], chosen, dry_run, active=True)


def disable(
    ctx: typer.Context,
    users: Users = None,
    where_role: WhereRole = None,
    where_claim: WhereClaims = None,
    search: Search = None,
    active: IsActive = None,
    from_: From = None,
    dry_run: DryRun = False,
) -> None:
    """Disable users; they keep role, claims and password."""
    chosen = Chosen(where_role, where_claim, search, active, from_)
    _set_active(ctx, users or [], chosen, dry_run, active=False)


def delete(
    ctx: typer.Context,
    users: Users = None,
    where_role: WhereRole = None,
    where_claim: WhereClaims = None,
    search: Search = None,
    active: IsActive = None,
    from_: From = None,
    dry_run: DryRun = False,
) -> None:
    """Delete users with their grants. Asks on a terminal; needs --yes without one."""
    from usermgr.services.bulk_verbs import deleting
    from usermgr.services.users import delete_users

    run = app_of(ctx)
    named = users or []
    chosen = Chosen(where_role, where_claim, search, active, from_)
    if named and not chosen.is_given and not dry_run:
        if run.prompts.must_confirm():
            named = confirm_deletion(run, named)
        with run.operation(ctx, shows=User) as op:
            deleted = delete_users(op, named)
        run.output.named(deleted)
        return
    verb = Verb("delete", "user.delete", deleting, delete_users, above=0)
    run_verb(ctx, named, chosen, dry_run, verb)


def grant(
    ctx: typer.Context,
    user: User_ = None,
    claims: Claims = None,
    reason: Annotated[str | None, typer.Option("--reason", help="Why, in one line.")] = None,
    expires: Annotated[
        str | None,
        typer.Option(
            "--expires",
            metavar="WHEN",
            help="Until when: 2027-01-31, an RFC 3339 time, 30d or 12h from now; never.",
        ),
    ] = None,
    where_role: WhereRole = None,
    where_claim: WhereClaims = None,
    search: Search = None,
    active: IsActive = None,
    from_: From = None,
    dry_run: DryRun = False,
) -> None:
    """Grant claims to a user, or to all that are selected.

    What is held already stays, and gets the reason and the end that are given here.
    """
    from usermgr.services.bulk_verbs import granting
    from usermgr.services.grants import ending, grant_claims
    from usermgr.services.references import resolve_claims

    chosen = Chosen(where_role, where_claim, search, active, from_)
    named, wanted = _user_and_claims(user, claims or [], chosen)
    until = UNSET if expires is None else parse_until(expires)
    why = UNSET if reason is None else reason
    ends: list[str] = []

    def act(op: Operation, users: Sequence[str]) -> list[User]:
        # By id: another command may rename one while this one waits.
        ids = [str(claim.id) for claim in resolve_claims(op.connection, wanted)]
        updated = grant_claims(op, users[0], ids, reason=why, expires_at=until)
        if until is UNSET:
            ends[:] = ending(op.connection, str(updated.id), ids)
        return [updated]

    prepare = granting(wanted, reason=why, expires_at=until)
    run_verb(ctx, named, chosen, dry_run, Verb("grant claims to", "user.grant", prepare, act))
    if ends:
        app_of(ctx).output.note(
            f"note: the user holds {', '.join(ends)}; to take the end away: --expires never"
        )


def revoke(
    ctx: typer.Context,
    user: User_ = None,
    claims: Claims = None,
    where_role: WhereRole = None,
    where_claim: WhereClaims = None,
    search: Search = None,
    active: IsActive = None,
    from_: From = None,
    dry_run: DryRun = False,
) -> None:
    """Revoke claims from a user, or from all that are selected."""
    from usermgr.services.bulk_verbs import revoking
    from usermgr.services.users import revoke_claims

    chosen = Chosen(where_role, where_claim, search, active, from_)
    named, unwanted = _user_and_claims(user, claims or [], chosen)
    verb = Verb(
        "revoke claims from",
        "user.revoke",
        revoking(unwanted),
        lambda op, users: [revoke_claims(op, users[0], unwanted)],
    )
    run_verb(ctx, named, chosen, dry_run, verb)


def set_role(
    ctx: typer.Context,
    role: Annotated[
        str, typer.Argument(metavar="ROLE", help="Name or id.", autocompletion=complete_roles)
    ],
    users: Users = None,
    where_role: WhereRole = None,
    where_claim: WhereClaims = None,
    search: Search = None,
    active: IsActive = None,
    from_: From = None,
    dry_run: DryRun = False,
) -> None:
    """Give users another role."""
    from usermgr.services.bulk_verbs import setting_role
    from usermgr.services.users import update_users

    chosen = Chosen(where_role, where_claim, search, active, from_)
    verb = Verb(
        "give another role to",
        "user.update",
        setting_role(role),
        lambda op, users: update_users(op, users, UserChanges(role=role)),
    )
    run_verb(ctx, users or [], chosen, dry_run, verb)


def _set_active(
    ctx: typer.Context, named: list[str], chosen: Chosen, dry_run: bool, *, active: bool
) -> None:
    from usermgr.services.bulk_verbs import disabling, enabling
    from usermgr.services.users import update_users

    verb = Verb(
        "enable" if active else "disable",
        "user.update",
        enabling if active else disabling,
        lambda op, users: update_users(op, users, UserChanges(active=active)),
    )
    run_verb(ctx, named, chosen, dry_run, verb)


def _user_and_claims(
    user: str | None, claims: list[str], chosen: Chosen
) -> tuple[list[str], list[str]]:
    """The user who is named, if any, and the claims; every word is a claim where users are
    selected."""
    if chosen.is_given:
        return [], claims if user is None else [user, *claims]
    if user is not None and not claims:
        raise InvalidInput(
            "no claim was named",
            hint=f"name the user and the claims, or select users with {OPTIONS}",
        )
    return [] if user is None else [user], claims
