"""What requests hold: exactly these fields, of exactly these types. Services judge the values."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import Path, Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from usermgr.errors import InvalidInput
from usermgr.formats.whens import parse_until
from usermgr.records import SCOPES, UNSET, NewToken, NewUser, Scope, UserChanges


def _unset() -> Any:
    return UNSET


def _boolean(value: Any) -> Any:
    """Only the words of JSON: what a query says is not to be guessed."""
    return (
        {"true": True, "false": False}.get(value, "no boolean") if isinstance(value, str) else value
    )


Id = Annotated[str, Path(description="The id.", pattern="^[0-9]{1,19}$")]
Boolean = Annotated[bool, BeforeValidator(_boolean)]
Limit = Annotated[int, Query(ge=1, le=1000, description="How many at most.")]
Reference = Annotated[str | int, Field(description="A name or an id.")]


class Body(BaseModel):
    """A JSON object without other fields than these."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def command_of(noun: str, changes: Body) -> str:
    """What the history calls the change: the command that changes just that, if there is one."""
    verbs = {"active": ("disable", "enable"), "protected": ("unprotect", "protect")}
    for name, (off, on) in verbs.items():
        if changes.model_fields_set == {name}:
            return f"{noun} {on if getattr(changes, name) else off}"
    return f"{noun} update"


class PasswordBody(Body):
    """A password: a plain one, a ready hash, none at all, or, without any of these, a generated
    one, which is answered once."""

    password: str | None = Field(None, repr=False)
    password_hash: str | None = Field(None, repr=False)
    no_password: bool = False


class NewUserBody(PasswordBody):
    """A user to create; role and claims by name or id."""

    name: str
    email: str
    role: Reference
    claims: list[Reference] = []
    active: bool = True

    def record(self, password_hash: str | None) -> NewUser:
        """What the user is created from."""
        claims = tuple(map(str, self.claims))
        return NewUser(self.name, self.email, str(self.role), claims, self.active, password_hash)


class UserPatch(Body):
    """Changes of a user; what is left out stays."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    name: str = Field(default_factory=_unset)
    email: str = Field(default_factory=_unset)
    role: Reference = Field(default_factory=_unset)
    active: bool = Field(default_factory=_unset)

    def record(self) -> UserChanges:
        """The changes."""
        role = str(self.role) if "role" in self.model_fields_set else UNSET
        return UserChanges(self.name, self.email, role, self.active)


class GivenPassword(Body):
    """A password that somebody says is the user's."""

    password: str = Field(repr=False)


class GrantBody(Body):
    """What is said of a grant; what is left out stays. ``expires_at`` is an RFC 3339 time, a date,
    a span such as 30d, or null for no end."""

    reason: str = Field(default_factory=_unset)
    expires_at: str | None = Field(default_factory=_unset)


class NewLabel(Body):
    """A role or a claim to create."""

    description: str


class RolePatch(Body):
    """Changes of a role; what is left out stays."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    description: str = Field(default_factory=_unset)
    protected: bool = Field(default_factory=_unset)


class ClaimPatch(RolePatch):
    """Changes of a claim; what is left out stays."""

    active: bool = Field(default_factory=_unset)


class UndoBody(Body):
    """How to undo: ``strict`` changes nothing if anything cannot be undone, ``dry_run`` does
    everything, tells it, and takes it back."""

    strict: bool = False
    dry_run: bool = False


class RotateBody(Body):
    """When the token ends: an RFC 3339 time, a date, or a span such as 30d."""

    expires_at: str = "90d"

    @property
    def until(self) -> datetime:
        """The end. Raises InvalidInput for none, and for the past."""
        until = parse_until(self.expires_at)
        if until is None:
            raise InvalidInput("a token always has an end")
        return until


class NewTokenBody(RotateBody):
    """A token to create; ``for`` is the user it acts for, by id or e-mail."""

    name: str
    scopes: list[Scope] = [scope for scope in SCOPES if scope.endswith(":read")]
    user: Reference | None = Field(None, alias="for")

    def record(self) -> NewToken:
        """What the token is created from."""
        user = None if self.user is None else str(self.user)
        return NewToken(self.name, tuple(self.scopes), self.until, user)
