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
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from usermgr.errors import InvalidInput
from usermgr.formats.readers import CHUNK_ROWS
from usermgr.names import canonical_label, canonical_name
from usermgr.services.rows import Rows

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


class SeedSource:
    """The plan's users as rows to import, from the first one on, as often as they are asked for.

    Raises InvalidInput for a plan that names one thing twice, and for a locale that Faker lacks.
    """

    def __init__(self, plan: SeedPlan) -> None:
        _require_distinct(plan)
        self._plan = plan
        self._pools = [_name_pool(locale, plan.seed) for locale in plan.locales]
        self.size_bytes = plan.users * 100  # about what a file of them would have

    def refer_to(self, roles: Sequence[int], claims: Sequence[int]) -> None:
        """Let rows name roles and claims by these ids, which stand for the plan's names."""
        self._plan = replace(
            self._plan, roles=tuple(map(str, roles)), claims=tuple(map(str, claims))
        )

    def descriptors(self) -> list[int]:
        """No open file is needed."""
        return []

    def people(self) -> Iterator[Person]:
        """The plan's users, streamed, in a fixed order."""
        return _people(self._plan, self._pools)

    def rows(self, _read: Callable[[int], None]) -> Iterator[Rows]:
        """The plan's users as rows."""
        people, plan = self.people(), self._plan
        first = 1
        while chunk := list(itertools.islice(people, CHUNK_ROWS)):
            names, emails, roles, held, active, created_at = zip(*chunk, strict=True)
            claims = {picked: tuple(plan.claims[i] for i in picked) for picked in set(held)}
            nothing = [None] * len(chunk)
            numbers = range(first, first + len(chunk))
            yield Rows(
                numbers=numbers,
                lines=numbers,
                emails=emails,
                names=names,
                roles=[plan.roles[position] for position in roles],
                claims=[claims[picked] for picked in held],
                active=active,
                created_at=created_at,
                hashes=[plan.password_hash] * len(chunk) if plan.password_hash else nothing,
                secrets=nothing,
                ids=nothing,
            )
            first += len(chunk)


def _require_distinct(plan: SeedPlan) -> None:
    if not plan.roles:
        raise InvalidInput("no role was named", hint="name at least one with --roles")
    for noun, names in (("role", plan.roles), ("claim", plan.claims)):
        if len({canonical_label(name, f"{noun} name").casefold() for name in names}) < len(names):
            raise InvalidInput(f'"{", ".join(names)}" names one thing twice')


def _people(plan: SeedPlan, pools: Sequence[_NamePool]) -> Iterator[Person]:
    # Only ``random()`` is drawn: the one method whose sequence Python promises to keep for a seed.
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
