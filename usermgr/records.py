"""Frozen records that cross the layers. Records that are shown have no password field."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, get_args


class Unset(enum.Enum):
    """The type of UNSET, which means "leave alone" where None would mean "clear"."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET

UserSort = Literal["id", "email", "name", "created_at"]
USER_SORTS: tuple[UserSort, ...] = ("id", "email", "name", "created_at")


@dataclass(frozen=True, slots=True)
class Role:
    """A role; ``users`` is the number of users that hold it.

    A ``protected`` one keeps its last active user, and cannot be deleted.
    """

    id: int
    description: str
    protected: bool
    users: int


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim; ``users`` is the number of users it is granted to.

    A ``protected`` one keeps its last active holder, and cannot be deleted nor disabled.
    """

    id: int
    description: str
    active: bool
    protected: bool
    users: int


@dataclass(frozen=True, slots=True)
class User:
    """A user as it is shown everywhere; ``claims`` is sorted by name, inactive claims included."""

    id: int
    name: str
    email: str
    role_id: int
    role: str
    claims: tuple[str, ...]
    active: bool
    has_password: bool
    version: int
    created_at: datetime
    updated_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewUser:
    """What a user is created from. ``role`` and ``claims`` are names or ids.

    ``password_hash`` is a hash in a recognised format, or None for "no usable password".
    """

    name: str
    email: str
    role: str
    claims: tuple[str, ...] = ()
    active: bool = True
    password_hash: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class UserChanges:
    """The changes of one update; what is UNSET stays as it is."""

    name: str | Unset = UNSET
    email: str | Unset = UNSET
    role: str | Unset = UNSET
    active: bool | Unset = UNSET


@dataclass(frozen=True, slots=True)
class Verification:
    """A password that was verified: whose it is."""

    id: int
    email: str
    verified: bool


@dataclass(frozen=True, slots=True)
class PasswordRule:
    """A rule for new passwords or for how they are kept; ``source`` says who made it so."""

    rule: str
    value: str
    source: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Calibration:
    """Argon2 parameters (KiB, passes, lanes) for this machine, and what they take here.

    ``milliseconds`` are those of one hash on one core, ``hashes_per_second`` of all cores.
    """

    argon2_memory: int
    argon2_passes: int
    argon2_lanes: int
    milliseconds: float
    target_milliseconds: int
    hashes_per_second: float


@dataclass(frozen=True, slots=True)
class PasswordGroup:
    """The users whose passwords are stored in one format and are of one strength.

    ``inactive`` are those of ``users`` that are disabled. ``unchanged_since`` is when the user of
    the group that was not changed for longest was changed, or created.
    """

    strength: str
    format: str
    users: int
    inactive: int
    unchanged_since: datetime | None
    advice: str | None


@dataclass(frozen=True, slots=True)
class StrengthenReport:
    """What ``password strengthen`` did.

    ``found`` counts the hashes below OWASP's minimum, ``formats`` by their formats; ``changed``
    those that somebody replaced meanwhile, ``left`` those that cannot be wrapped.
    ``operations`` are the ids of the first and the last.
    """

    found: int
    formats: dict[str, int]
    strengthened: int
    changed: int
    left: int
    dry_run: bool
    operations: tuple[int, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class UserFilter:
    """Which users a list or a bulk verb means; the conditions add up (AND).

    ``claims``: the user holds every one of them. ``search``: text contained in name or e-mail,
    without regard to case.
    """

    role: str | None = None
    claims: tuple[str, ...] = ()
    active: bool | None = None
    search: str | None = None
    created_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class UserPage:
    """One page of a list: ``total`` counts all that match, None where nobody wanted to know;
    ``next_cursor`` is None at the end."""

    users: tuple[User, ...]
    total: int | None
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class OperationRecord:
    """One command or request that changed something.

    ``undoes`` is the operation that it undid, None for any other than an undo.
    """

    id: int
    command: str
    actor: str
    source: str
    started_at: datetime
    finished_at: datetime
    outcome: str
    counts: dict[str, int]
    undoes: int | None


@dataclass(frozen=True, slots=True)
class Change:
    """One changed thing: its image before and after, without secrets.

    ``name`` is what it was called before the change, or after its creation; ``changed`` tells the
    difference in words; ``id`` is 0 for a creation that is told from the operation, because many
    users were created at once.
    """

    id: int
    operation_id: int
    at: datetime
    actor: str
    command: str
    entity: str
    entity_id: int
    name: str
    action: str
    changed: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None

    def __str__(self) -> str:
        told = f'{self.action} {self.entity} {self.entity_id} "{self.name}"'
        return f"{told}: {self.changed}" if self.changed else told


@dataclass(frozen=True, slots=True)
class OperationDetail:
    """An operation with its changes, in the order they were made."""

    id: int
    command: str
    actor: str
    source: str
    started_at: datetime
    finished_at: datetime
    outcome: str
    counts: dict[str, int]
    undoes: int | None
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class UndoReport:
    """What an undo did to the users, roles and claims of the operation ``undoes``.

    ``left`` counts what changed since and was left as it is. ``operation_id`` is the undo's own,
    None when nothing was changed.
    """

    undoes: int
    users_deleted: int
    users_restored: int
    users_changed: int
    roles_and_claims: int
    left: int
    dry_run: bool
    operation_id: int | None

    @property
    def users(self) -> int:
        """How many users were deleted, restored or changed."""
        return self.users_deleted + self.users_restored + self.users_changed


@dataclass(frozen=True, slots=True)
class LeftAlone:
    """One thing that an undo left as it is, and why."""

    entity: str
    id: int
    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class SweepReport:
    """What a sweep of grants removed: how many, of how many users."""

    users: int
    grants: int
    dry_run: bool
    operation_id: int | None


@dataclass(frozen=True, slots=True)
class Grant:
    """A claim that a user was granted. It counts until ``expires_at``, if that has a value."""

    claim_id: int
    claim: str
    reason: str | None
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a user holds a claim or does not.

    ``granted`` says whether there is a grant, ``counts`` whether it counts now: its time has not
    run out, and neither the user nor the claim is inactive. ``at`` to ``operation_id`` tell of the
    last grant, or of the last time it was taken away; they are None where no history tells.
    """

    user: str
    claim: str
    granted: bool
    counts: bool
    because: str
    at: datetime | None
    actor: str | None
    command: str | None
    operation_id: int | None
    reason: str | None
    expires_at: datetime | None
    user_active: bool
    claim_active: bool


@dataclass(frozen=True, slots=True)
class DeletedUser:
    """A deleted user in the recycle bin, and until when it is kept."""

    id: int
    name: str
    email: str
    deleted_at: datetime
    actor: str
    operation_id: int
    kept_until: datetime


@dataclass(frozen=True, slots=True)
class BinReport:
    """What was removed from the recycle bin for good."""

    users: int
    passwords: int


Scope = Literal[
    "users:read",
    "users:write",
    "roles:read",
    "roles:write",
    "claims:read",
    "claims:write",
    "operations:read",
    "operations:write",
    "tokens:read",
    "tokens:write",
]
"""What a token may do over HTTP: read or write one kind of thing."""

SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)


@dataclass(frozen=True, slots=True)
class Token:
    """A token of the HTTP API; the secret is nowhere.

    ``user_id`` is whom it acts for, None for nobody in particular. ``last_used_at`` is exact to the
    hour. It works until ``expires_at``, or until ``revoked_at`` if that has a value.
    """

    id: int
    name: str
    scopes: tuple[Scope, ...]
    user_id: int | None
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewToken:
    """What a token is created from. ``user`` is an id or e-mail."""

    name: str
    scopes: tuple[Scope, ...]
    expires_at: datetime
    user: str | None = None


@dataclass(frozen=True, slots=True)
class SeedReport:
    """What ``seed`` did: rows added and rows that were there before."""

    users_created: int
    users_existing: int
    roles_created: int
    claims_created: int
    grants_created: int
    operation_id: int | None


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did, by rows of the file; ``read`` is the sum of created to rejected.

    ``reasons`` counts the rejected rows by the code of what is wrong with them. ``operation_id`` is
    None when nothing was changed.
    """

    read: int
    created: int
    updated: int
    unchanged: int
    skipped: int
    rejected: int
    reasons: dict[str, int]
    roles_created: int
    claims_created: int
    grants_added: int
    grants_removed: int
    dry_run: bool
    operation_id: int | None
    seconds: float
    rows_per_second: int


@dataclass(frozen=True, slots=True)
class RowOutcome:
    """What became of one row of an import: created, updated, unchanged or skipped.

    ``number`` says which row it is.
    """

    number: int
    email: str
    id: int
    outcome: str


@dataclass(frozen=True, slots=True)
class BulkReport:
    """What a bulk verb did, by users; ``matched`` is the sum of changed and unchanged.

    ``operation_id`` is None when nothing was changed.
    """

    matched: int
    changed: int
    unchanged: int
    dry_run: bool
    operation_id: int | None


@dataclass(frozen=True, slots=True)
class Seal:
    """A seal over operations and their changes; ``digest`` also covers every seal before it.

    ``previous`` is the digest of the seal before, empty for the first. ``public_key`` and
    ``signature`` are in base64, None for a seal that is not signed.
    """

    id: int
    sealed_at: datetime
    operations: int
    changes: int
    previous: str
    digest: str
    public_key: str | None
    signature: str | None


@dataclass(frozen=True, slots=True)
class AuditReport:
    """A sealed history that is whole: how many rows its seals cover.

    ``erased`` counts the changes whose images were erased at a person's request, ``unsealed`` the
    operations that no seal covers yet. ``digest`` is that of the newest seal, None without one.
    """

    seals: int
    operations: int
    changes: int
    erased: int
    unsealed: int
    digest: str | None


@dataclass(frozen=True, slots=True)
class Erasure:
    """What was erased of a person. ``user`` says what is left: a pseudonymous row, or none.

    ``changes``, ``grants`` and ``recycled`` count the changes without images now, the grants that
    were removed, and the rows that left the recycle bin. ``operation_id`` is None when there was
    nothing to erase.
    """

    id: int
    user: str
    changes: int
    grants: int
    recycled: int
    operation_id: int | None


@dataclass(frozen=True, slots=True)
class SchemaReport:
    """What a schema command found and did. Revisions are None for "no schema"."""

    database: str
    outcome: str
    revision_before: str | None
    revision: str | None
    changes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SchemaStatus:
    """Where a database's schema stands against this program's."""

    database: str
    state: str
    revision: str | None
    head: str
    pending: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One setting as it stands: passwords are masked."""

    setting: str
    value: str | None
    source: str
    meaning: str


@dataclass(frozen=True, slots=True)
class CheckRow:
    """One thing that ``config check`` looked at, and what to do when it is not as it should be.

    Advice on something that is ok is a warning.
    """

    check: str
    ok: bool
    found: str
    advice: str | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference between a database and this program's tables.

    An ``addition`` is something of somebody else's that commands can live with.
    """

    difference: str
    addition: bool = False
