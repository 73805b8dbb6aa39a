"""Believable users for development and CI: the same for the same seed, on every machine.

Names come from Faker's lists for the chosen locales; e-mails lie in the domains that RFC 2606
reserves for examples, so that no message can ever reach anybody. User number N is the same whatever
the number of users asked for: seeding 200 after 100 adds the second hundred.
"""

from __future__ import annotations

import itertools
import random
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import insert, select

from usermgr.db.engine import Operation
from usermgr.db.models import user_claims, users
from usermgr.db.sql import insert_new
from usermgr.errors import InvalidInput
from usermgr.names import canonical_label, canonical_name
from usermgr.passwords import UNUSABLE
from usermgr.records import SeedReport
from usermgr.services.claims import create_claim
from usermgr.services.roles import create_role

DEFAULT_ROLES = ("admin", "manager", "support", "member")
DEFAULT_CLAIMS = (
    "users:read",
    "users:write",
    "reports:read",
    "reports:export",
    "billing:read",
    "billing:refund",
)
DEFAULT_LOCALE = "en_US"
DOMAINS = ("example.com", "example.net", "example.org")
POOL = 600
BATCH = 1_000
FIRST_DAY = datetime(2020, 1, 1, tzinfo=UTC)
DAYS = 2_000
ACTIVE_SHARE = 0.96
_FAMILY_NAME_FIRST = {"hu": " ", "ja": " ", "ko": "", "zh": ""}


@dataclass(frozen=True, slots=True)
class SeedPlan:
    """What to seed. ``password_hash`` is shared by every new user; None means no password."""

    users: int
    seed: int = 0
    locales: tuple[str, ...] = (DEFAULT_LOCALE,)
    roles: tuple[str, ...] = DEFAULT_ROLES
    claims: tuple[str, ...] = DEFAULT_CLAIMS
    password_hash: str | None = field(default=None, repr=False)


class Person(NamedTuple):
    """One generated user; ``role`` and ``claims`` are positions in the plan's lists."""

    name: str
    email: str
    role: int
    claims: tuple[int, ...]
    active: bool
    created_at: datetime


def seed(op: Operation, plan: SeedPlan, *, progress: Callable[[int], None]) -> SeedReport:
    """Create the plan's roles, claims and users where they are missing; nothing else is touched.

    ``progress`` is called with the number of users done since the last call. Raises InvalidInput
    for a locale that Faker does not have.
    """
    people = generate(plan)
    roles = [create_role(op, name, if_not_exists=True) for name in plan.roles]
    claims = [create_claim(op, name, if_not_exists=True) for name in plan.claims]
    role_ids = [role.id for role, _ in roles]
    claim_ids = [claim.id for claim, _ in claims]
    created = granted = 0
    while batch := list(itertools.islice(people, BATCH)):
        new = _insert_users(op, batch, role_ids, plan.password_hash or UNUSABLE)
        granted += _insert_grants(op, batch, new, claim_ids)
        created += len(new)
        progress(len(batch))
    op.count("user.create", created)
    op.count("grant.create", granted)
    return SeedReport(
        users_created=created,
        users_existing=plan.users - created,
        roles_created=sum(made for _, made in roles),
        claims_created=sum(made for _, made in claims),
        grants_created=granted,
        operation_id=op.id if op.counts else None,
    )


def generate(plan: SeedPlan) -> Iterator[Person]:
    """The plan's users, streamed, in a fixed order. Only ``random()`` is drawn from the generator:
    the one method whose sequence Python promises to keep for a seed."""
    if not plan.roles:
        raise InvalidInput("no role was named", hint="name at least one with --roles")
    for noun, names in (("role", plan.roles), ("claim", plan.claims)):
        if len({canonical_label(name, f"{noun} name").casefold() for name in names}) < len(names):
            raise InvalidInput(f'"{", ".join(names)}" names one thing twice')
    pools = [_name_pool(locale, plan.seed) for locale in plan.locales]
    return _people(plan, pools)


def _people(plan: SeedPlan, pools: Sequence[_NamePool]) -> Iterator[Person]:
    draw = random.Random(plan.seed).random  # noqa: S311 - test data, not a secret
    tag = f"+s{plan.seed}" if plan.seed else ""
    for number in range(1, plan.users + 1):
        pool = pools[int(draw() * len(pools))]
        first = pool.first[int(draw() * len(pool.first))]
        last = pool.last[int(draw() * len(pool.last))]
        domain = DOMAINS[int(draw() * len(DOMAINS))]
        # Squaring makes the later roles, which are the humbler ones, the common ones.
        role = len(plan.roles) - 1 - int(draw() ** 2 * len(plan.roles))
        share = draw() ** 2
        yield Person(
            name=pool.join(first.name, last.name),
            email=f"{first.slug}.{last.slug}{number}{tag}@{domain}",
            role=role,
            claims=tuple(i for i in range(len(plan.claims)) if draw() < share),
            active=draw() < ACTIVE_SHARE,
            created_at=FIRST_DAY + timedelta(seconds=int(draw() * DAYS * 86_400)),
        )


class _Part(NamedTuple):
    name: str
    slug: str


class _NamePool(NamedTuple):
    first: list[_Part]
    last: list[_Part]
    family_name_first: str | None

    def join(self, first: str, last: str) -> str:
        if self.family_name_first is None:
            return f"{first} {last}"
        return f"{last}{self.family_name_first}{first}"


def _name_pool(locale: str, seed_value: int) -> _NamePool:
    from faker import Faker

    try:
        fake = Faker(locale)
    except (AttributeError, ValueError) as error:
        raise InvalidInput(
            f'no locale "{locale}"', hint="give one that Faker has, such as en_US, pt_BR or ja_JP"
        ) from error
    fake.seed_instance(seed_value)
    return _NamePool(
        [_part(fake.first_name(), "user") for _ in range(POOL)],
        [_part(fake.last_name(), "x") for _ in range(POOL)],
        _FAMILY_NAME_FIRST.get(locale[:2]),
    )


def _part(name: str, fallback: str) -> _Part:
    name = canonical_name(name, "name")
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return _Part(name, re.sub(r"[^a-z0-9]+", "", plain)[:20] or fallback)


def _insert_users(
    op: Operation, batch: Sequence[Person], role_ids: Sequence[int], password: str
) -> dict[str, int]:
    """Insert those whose e-mail is new; returns their ids by e-mail."""
    emails = [person.email for person in batch]
    there = op.connection.execute(select(users.c.email).where(users.c.email.in_(emails)))
    known = set(there.scalars())
    rows: list[dict[str, Any]] = [
        {
            "name": person.name,
            "email": person.email,
            "password": password,
            "role_id": role_ids[person.role],
            "active": person.active,
            "created_at": person.created_at,
            "created_in": op.id,
        }
        for person in batch
        if person.email not in known
    ]
    if not rows:
        return {}
    statement = insert_new(op.connection, users).returning(users.c.email, users.c.id)
    return {row.email: row.id for row in op.connection.execute(statement, rows)}


def _insert_grants(
    op: Operation, batch: Sequence[Person], new: dict[str, int], claim_ids: Sequence[int]
) -> int:
    rows = [
        {"user_id": new[person.email], "claim_id": claim_ids[position]}
        for person in batch
        if person.email in new
        for position in person.claims
    ]
    if rows:
        op.connection.execute(insert(user_claims), rows)
    return len(rows)
