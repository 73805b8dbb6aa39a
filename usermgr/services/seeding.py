"""Seeding: the people of a plan, stored by the way of an import, where they are missing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from usermgr.db.engine import Operation
from usermgr.records import SeedReport
from usermgr.services.claims import create_claim
from usermgr.services.importing import Import, ImportOptions, Way
from usermgr.services.problems import Problems
from usermgr.services.roles import create_role
from usermgr.services.row_process import frame_source
from usermgr.services.seed_people import SeedPlan, SeedSource

OPTIONS = ImportOptions(on_conflict="skip")


def seed(op: Operation, plan: SeedPlan, way: Way, *, progress: Callable[[int], None]) -> SeedReport:
    """Create the plan's roles, claims and users where they are missing; nothing else is touched.

    ``way`` is what ``importing.choose_way`` found for OPTIONS. ``progress`` is told the number of
    users that are done so far. Raises InvalidInput for a locale that Faker does not have.
    """
    source = SeedSource(plan)
    roles = [create_role(op, name, if_not_exists=True) for name in plan.roles]
    claims = [create_claim(op, name, if_not_exists=True) for name in plan.claims]
    # By id, because the stored names may differ in case.
    source.refer_to([role.id for role, _ in roles], [claim.id for claim, _ in claims])
    with (
        closing(Problems()) as problems,
        frame_source(source, read=lambda _: None) as frames,
    ):
        run = Import(op, frames, OPTIONS, problems, progress=progress)
        imported = run.run(way)
    counts = imported.counts
    return SeedReport(
        users_created=counts["created"],
        users_existing=counts["skipped"],
        roles_created=sum(made for _, made in roles),
        claims_created=sum(made for _, made in claims),
        grants_created=counts["grants_added"],
        operation_id=op.id if op.counts else None,
    )
