"""One run of a bulk verb: of users that are named one by one, or of all that are selected."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from usermgr.cli.confirming import Approve, confirmed
from usermgr.cli.context import AppContext, app_of
from usermgr.cli.selection import OPTIONS, Chosen
from usermgr.errors import InvalidInput
from usermgr.records import BulkReport, User

if TYPE_CHECKING:
    from usermgr.db.engine import Operation
    from usermgr.services.bulk import Selection
    from usermgr.services.bulk_verbs import Prepare


@dataclass(frozen=True, slots=True)
class Verb:
    """What a command does: ``prepare`` for those who are selected, ``act`` for those who are named.

    ``what`` is the verb of the question, ``count`` what the operation counts. ``above`` is how many
    may be changed without a question, None where the setting decides.
    """

    what: str
    count: str
    prepare: Prepare
    act: Callable[[Operation, Sequence[str]], list[User]]
    above: int | None = None


def run_verb(
    ctx: typer.Context, named: list[str], chosen: Chosen, dry_run: bool, verb: Verb
) -> None:
    run = app_of(ctx)
    if named and chosen.is_given:
        raise InvalidInput(
            "users are named and selected at once", hint=f"leave out the users, or {OPTIONS}"
        )
    if chosen.is_given:
        with chosen.selection(run) as selection:
            run.output.report(_change_selected(ctx, selection, verb, dry_run))
        return
    if not named:
        raise InvalidInput(
            "no user was named or selected", hint=f"name users, or select them with {OPTIONS}"
        )
    if dry_run:
        from usermgr.services.bulk import Named

        run.output.report(_change_selected(ctx, Named(lambda: enumerate(named, 1)), verb, dry_run))
        return

    def attempt(approve: Approve) -> list[User]:
        with run.operation(ctx, shows=User) as op:
            changed = verb.act(op, named)
            approve(op.counts.get(verb.count, 0))
        return changed

    run.output.named(confirmed(run, verb.what, attempt, above=verb.above))


def _change_selected(
    ctx: typer.Context, selection: Selection, verb: Verb, dry_run: bool
) -> BulkReport:
    from usermgr.services.bulk import change_users

    run = app_of(ctx)

    def attempt(approve: Approve) -> BulkReport:
        with run.operation(ctx, shows=BulkReport, dry_run=dry_run) as op:
            return change_users(op, selection, verb.prepare, approve=approve, dry_run=dry_run)

    if dry_run:
        return attempt(lambda _: None)
    return confirmed(run, verb.what, attempt, above=verb.above)


def confirm_deletion(run: AppContext, references: list[str]) -> list[str]:
    """The ids of the users that are named, once the person has seen who they are and said yes."""
    from usermgr.services.lookup import find_user
    from usermgr.services.users import distinct_users

    with run.read(shows=User) as connection:
        users = [find_user(connection, user) for user in distinct_users(connection, references)]
    people = [f"user {user.id}, {user.name} <{user.email}>, {user.role}" for user in users]
    if len(people) == 1:
        run.prompts.confirm(f"Delete {people[0]}?")
    else:
        run.prompts.confirm("\n".join([*people, f"Delete these {len(people)} users?"]))
    return [str(user.id) for user in users]
