"""Passwords of a user cannot be guessed by asking again and again."""

from __future__ import annotations

import time
from collections.abc import Callable

from usermgr.api.load_limits import Allowance

FAILURES = 10
"""How many wrong passwords in a row may be tried at once."""

SECONDS_EACH = 30
"""After how long one more may be tried."""


class FailedLogins:
    """Counts wrong passwords for each user and token, in this process.

    NIST SP 800-63B-4, section 3.2.2, wants failures limited for each account. A token has its own
    count, so that whoever guesses with one does not lock the user out of the application.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._allowed = Allowance(SECONDS_EACH, FAILURES, clock=clock)

    def seconds_to_wait(self, user_id: int, token_id: int) -> float:
        """0 when a password may be tried; else how long that takes."""
        return self._allowed.seconds_to_wait(_key(user_id, token_id))

    def note(self, user_id: int, token_id: int, *, verified: bool) -> None:
        """Count a wrong password, or forget those before a right one."""
        key = _key(user_id, token_id)
        if verified:
            self._allowed.forget(key)
        else:
            self._allowed.take(key)


def _key(user_id: int, token_id: int) -> bytes:
    return b"%d/%d" % (user_id, token_id)
