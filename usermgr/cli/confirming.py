"""Commands that would change many users say how many, and ask, before anything is stored.

The number is known only in the middle of the operation, and no transaction may wait for a person:
it is rolled back, the question is asked, and everything begins again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from usermgr.cli.context import AppContext

T = TypeVar("T")
Approve = Callable[[int], None]
"""Is told, before the commit, how many users an operation changes; may end it with an exception."""


def confirmed(
    run: AppContext, what: str, attempt: Callable[[Approve], T], *, above: int | None = None
) -> T:
    """What ``attempt`` returns. It may change ``above`` users, or as many as were confirmed.

    ``what`` is what it does to them, such as "disable". Without ``above`` the setting decides. When
    there are more the next time than were confirmed, the person is asked again.
    """
    allowed = run.settings.confirm_above if above is None else above

    def approve(number: int) -> None:
        if number > allowed and not run.prompts.assume_yes:
            raise _Unconfirmed(number)

    while True:
        try:
            return attempt(approve)
        except _Unconfirmed as unconfirmed:
            allowed = unconfirmed.number
        run.prompts.confirm_many(what, allowed)


class _Unconfirmed(Exception):
    """Rolls the operation back."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
