"""usermgr user erase"""

from __future__ import annotations

from typing import Annotated

import typer

from usermgr.cli.context import AppContext, app_of
from usermgr.records import Erasure

_LEFT = {
    True: "note: free space of the file may hold older copies until VACUUM; backups hold theirs",
    False: "note: dead rows hold the data until VACUUM, write-ahead log, replicas and backups as"
    " long as they are kept",
}


def add_erase(app: typer.Typer) -> None:
    """Add the command to the group."""
    app.command("erase")(erase)


def erase(
    ctx: typer.Context,
    user: Annotated[
        str,
        typer.Argument(metavar="USER", help="Id or e-mail, also a former one or a deleted user's."),
    ],
) -> None:
    """Erase a person for good, at their request. Asks on a terminal; needs --yes without one.

    Name, e-mail, password and grants go, and everything about the person in the history and in the
    recycle bin; a pseudonym stays, disabled, with the id and the role. Nothing brings it back: no
    undo, no restore. Seals stay valid.
    """
    from usermgr.services.erasing import erase_user

    run = app_of(ctx)
    if not run.prompts.assume_yes:
        user = _confirmed(run, user)
    with run.operation(ctx, shows=Erasure) as op:
        erased = erase_user(op, user)
    if erased.operation_id is None:
        run.output.note(f"note: user {erased.id} is erased already")
    else:
        run.output.note(_LEFT[run.database.is_sqlite])
    run.output.record(erased)


def _confirmed(run: AppContext, reference: str) -> str:
    """The id of the person, once somebody has seen who it is and said yes."""
    from usermgr.services.erasing import find_person

    with run.read(shows=Erasure) as connection:
        person = find_person(connection, reference)
    run.prompts.must_confirm(
        f"would erase user {person.id} for good, which cannot be undone: it asks for confirmation"
    )
    who = f"user {person.id}, {person.name} <{person.email}>,"
    if person.email is None:
        who = f"the deleted user {person.id}"
    run.prompts.confirm(
        f"Erase {who} from the users, the history and the recycle bin?"
        " This CANNOT BE UNDONE, not by undo and not by restore."
    )
    return str(person.id)
