"""The errors of an import with bad rows: how many, the first of them, and the way out."""

from __future__ import annotations

import itertools
from dataclasses import asdict

from usermgr.errors import Conflict, InvalidInput, PartialSuccess, UserMgrError
from usermgr.names import listed
from usermgr.services.import_running import Ran
from usermgr.services.problems import FIRST, Problems

_MAKES = {
    "unknown_role": "--create-roles makes the missing roles",
    "unknown_claim": "--create-claims the missing claims",
}
"""What makes the roles and claims that rows name and nobody has made."""


def import_failed(ran: Ran, *, more: str | None) -> UserMgrError:
    """The error of an import that stored nothing. ``more`` says where all bad rows can be seen."""
    report = ran.report
    only_taken = set(report.reasons) == {"taken_email"}
    hint = "correct them, or store the others with --on-error skip"
    if only_taken:
        hint = "pass over them with --on-conflict skip, or change the users with update"
    makes = [words for reason, words in _MAKES.items() if reason in report.reasons]
    if makes:
        hint = f"{' and '.join(makes)}; or {hint}"
    if more is not None:
        hint += f"; {more}"
    rows = f"{report.rejected} of {report.read} rows are bad" if report.read else "rows are bad"
    return (Conflict if only_taken else InvalidInput)(
        f"{rows}: {ran.failure}{_first(ran.problems)}", hint=hint, details=asdict(report)
    )


def import_was_partial(ran: Ran, *, more: str | None) -> PartialSuccess:
    """The error of an import that stored the good rows only."""
    report = ran.report
    return PartialSuccess(
        f"{report.rejected} of {report.read} rows were rejected{_first(ran.problems)}",
        hint=more,
        details=asdict(report),
    )


def _first(problems: Problems) -> str:
    first = itertools.islice(problems, FIRST)
    return listed((f"line {p.line}: {p.reason}" for p in first), problems.total)
