"""The error tree: one class per way a command can end, with its code, exit status and HTTP status.

Messages are lower case, carry the offending value in quotes and end without a full stop. The way
out stands in ``hint``. Nothing secret may enter either: both are printed, logged and recorded.
"""

from __future__ import annotations

from typing import Any, ClassVar


class UserMgrError(Exception):
    """An error that is told to the person at the keyboard in one message.

    ``details`` holds values a script may want (row lists, counts); it is part of the JSON form.
    """

    code: ClassVar[str]
    exit_status: ClassVar[int]
    http_status: ClassVar[int | None]
    meaning: ClassVar[str]

    def __init__(
        self, message: str, *, hint: str | None = None, details: dict[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details or {}


class InternalError(UserMgrError):
    """Something that nobody foresaw: a bug."""

    code, exit_status, http_status = "internal", 1, 500
    meaning = "a bug in usermgr; run again with --debug and report it"


class InvalidInput(UserMgrError):
    """A value, an option or their combination is not acceptable."""

    code, exit_status, http_status = "invalid_input", 2, 422
    meaning = "wrong usage, or a value that is not acceptable"


class NotFound(UserMgrError):
    """A named user, role, claim or operation does not exist."""

    code, exit_status, http_status = "not_found", 3, 404
    meaning = "a user, role, claim or operation that was named does not exist"


class Conflict(UserMgrError):
    """The change contradicts what is stored."""

    code, exit_status, http_status = "conflict", 4, 409
    meaning = "the change contradicts what is stored (taken, in use, changed meanwhile)"


class Unavailable(UserMgrError):
    """The database cannot serve the command now."""

    code, exit_status, http_status = "unavailable", 5, 503
    meaning = (
        "no database, no privilege in it, locked, full, damaged, or its schema is missing, old or "
        "too new"
    )


class PartialSuccess(UserMgrError):
    """Some of the work was done and some was not; what was done is stored."""

    code, exit_status, http_status = "partial", 6, None
    meaning = "part of the work was done, the rest was reported"


class Forbidden(UserMgrError):
    """A guard or a missing scope forbids the change."""

    code, exit_status, http_status = "forbidden", 7, 403
    meaning = "a guard or a missing scope forbids the change"


class Mismatch(UserMgrError):
    """A password, or the sealed history, does not verify."""

    code, exit_status, http_status = "mismatch", 8, 200
    meaning = "the password, or the sealed history, does not verify"


class Cancelled(UserMgrError):
    """The person at the keyboard interrupted or declined; what was not committed is undone."""

    code, exit_status, http_status = "interrupted", 130, None
    meaning = "interrupted, or declined at the prompt; what was not committed is undone"


ERROR_CLASSES: tuple[type[UserMgrError], ...] = (
    InternalError,
    InvalidInput,
    NotFound,
    Conflict,
    Unavailable,
    PartialSuccess,
    Forbidden,
    Mismatch,
    Cancelled,
)


def exit_status_table() -> list[tuple[int, str, str]]:
    """Every exit status as (status, code, meaning), in ascending order."""
    return [
        (0, "ok", "success"),
        *((cls.exit_status, cls.code, cls.meaning) for cls in ERROR_CLASSES),
    ]
