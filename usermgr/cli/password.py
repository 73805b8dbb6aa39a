"""usermgr password ..."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Annotated

import typer

from usermgr.cli.context import AppContext, app_of
from usermgr.cli.options import new_group
from usermgr.cli.views import view_of
from usermgr.hash_limits import MEMORY_MAX
from usermgr.records import Calibration, PasswordGroup, PasswordRule, StrengthenReport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from usermgr.db.engine import Operation
    from usermgr.services.password_verification import StoredPassword

app = new_group("Rules for passwords, how strong the stored ones are, and making them stronger.")


@app.command()
def policy(ctx: typer.Context) -> None:
    """Show the rules that are in force for passwords, and where they come from."""
    from usermgr.services.password_policy import password_rules

    run = app_of(ctx)
    run.output.check_fields(view_of(PasswordRule))
    run.output.records(PasswordRule, password_rules(run.settings))


@app.command()
def calibrate(
    ctx: typer.Context,
    target_ms: Annotated[
        int,
        typer.Option("--target-ms", min=10, max=5000, help="Milliseconds that one hash may take."),
    ] = 250,
    memory: Annotated[
        int,
        typer.Option(
            "--memory", min=7168, max=MEMORY_MAX // 1024, help="KiB that one hash may take."
        ),
    ] = 65_536,
) -> None:
    """Measure this machine, and print the settings of argon2 parameters for it."""
    from usermgr.services.calibrating import calibrate as measure

    run = app_of(ctx)
    run.output.check_fields(view_of(Calibration))
    found = measure(target_ms=target_ms, memory=memory)
    run.output.note(
        f"note: a hash takes {found.milliseconds:g} ms on one core here, and all cores make "
        f"{found.hashes_per_second:g} a second"
    )
    if found.milliseconds > 1.5 * target_ms:
        run.output.note("note: this is longer than asked for, but OWASP's minimum")
    if run.output.format_chosen or "fields" in run.flags:
        run.output.record(found)
        return
    names = ("argon2_memory", "argon2_passes", "argon2_lanes")
    lines = [f"USERMGR_{name.upper()}={getattr(found, name)}\n" for name in names]
    run.output.text("".join(lines))


@app.command()
def report(ctx: typer.Context) -> None:
    """Count the users by strength and format of their passwords."""
    from usermgr.services.password_report import report_passwords

    run = app_of(ctx)
    with run.read(shows=PasswordGroup) as connection:
        groups = report_passwords(connection, run.settings.hash_costs)
    run.output.records(PasswordGroup, groups)
    if legacy := sum(group.users for group in groups if group.strength == "legacy"):
        run.output.note(
            f"note: the hashes of {legacy} users are below OWASP's minimum; "
            "usermgr password strengthen wraps them"
        )


@app.command()
def strengthen(
    ctx: typer.Context,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count what would be done, and do nothing.")
    ] = False,
    batch: Annotated[
        int, typer.Option("--batch", min=1, max=10_000, help="Users in one operation.")
    ] = 500,
) -> None:
    """Wrap hashes below OWASP's minimum inside argon2id, without waiting for anybody to log in.

    Asks for more than USERMGR_CONFIRM_ABOVE users (100); needs --yes then without a terminal. May
    be interrupted, and run again for the rest.
    """
    from usermgr.services.password_report import count_legacy

    run = app_of(ctx)
    started = time.monotonic()
    with run.read(shows=StrengthenReport) as connection:
        formats = count_legacy(connection, run.settings.hash_costs)
    found = formats.total()
    work = _Strengthening(ctx, run, batch)
    if not dry_run and found:
        if found > run.settings.confirm_above:
            _confirm(run, found)
        with _resumable(run), run.output.progress("strengthening", found) as progress:
            work.go(progress)
    _tell_of_bin(run)
    if work.left:
        run.output.note(
            f"note: hashes that cannot be wrapped, and stay as they are: {work.left}; only a new "
            "password replaces them: usermgr user set-password"
        )
    run.output.report(
        StrengthenReport(
            found=found,
            formats=dict(sorted(formats.items())),
            strengthened=work.strengthened,
            changed=work.changed,
            left=work.left,
            dry_run=dry_run,
            operations=tuple(dict.fromkeys([*work.operations[:1], *work.operations[-1:]])),
            seconds=round(time.monotonic() - started, 3),
        )
    )


def _tell_of_bin(run: AppContext) -> None:
    from usermgr.services.password_report import count_legacy_in_bin

    with run.read(shows=StrengthenReport) as connection:
        kept = count_legacy_in_bin(connection, run.settings.hash_costs)
    if kept:
        run.output.note(
            f"note: hashes below OWASP's minimum that the recycle bin keeps as they are: {kept}; "
            "usermgr bin sweep --older-than 0 removes them, and with them the way back"
        )


def _confirm(run: AppContext, found: int) -> None:
    from usermgr.services.hashing import measure_rate

    if run.prompts.assume_yes:
        return
    if not run.prompts.on_terminal:
        run.prompts.confirm_many("strengthen the password hashes of", found)
    minutes, seconds = divmod(round(found / measure_rate(run.settings.hash_costs)), 60)
    run.prompts.confirm(
        f"Wrap the password hashes of {found} users inside argon2id, in about "
        f"{minutes}:{seconds:02} minutes? Only a new password takes that back."
    )


@contextlib.contextmanager
def _resumable(run: AppContext) -> Iterator[None]:
    """Say how to go on after what ends the work in its middle."""
    try:
        yield
    except BaseException:
        run.output.note(
            "note: it ended before the last user; each hash is the old one or a whole wrapped one, "
            "and running usermgr password strengthen again does the rest"
        )
        raise


class _Strengthening:
    """One run: batches that are hashed outside of any transaction and stored in one each."""

    def __init__(self, ctx: typer.Context, run: AppContext, batch: int) -> None:
        self._ctx, self._run, self._batch = ctx, run, batch
        self.strengthened = self.changed = self.left = 0
        self.operations: list[int] = []

    def go(self, progress: Callable[[int], None]) -> None:
        """Wrap everything, in the order of the ids."""
        from usermgr.services.password_report import next_legacy

        costs, after = self._run.settings.hash_costs, 0
        while True:
            with self._run.read(shows=StrengthenReport) as connection:
                found = next_legacy(connection, costs, after=after, limit=self._batch)
            if not found:
                return
            after = found[-1].user_id
            wrapped = self._wrap(found, progress)
            with self._run.operation(self._ctx, shows=StrengthenReport) as op:
                stored = self._store(op, found, wrapped)
            self.strengthened += stored
            self.changed += len(found) - wrapped.count(None) - stored
            self.left += wrapped.count(None)
            if stored:
                self.operations = [*self.operations[:1], op.id]

    def _wrap(
        self, found: list[StoredPassword], progress: Callable[[int], None]
    ) -> list[str | None]:
        from usermgr.passwords import wrap_hash
        from usermgr.services.hashing import on_all_cores

        costs = self._run.settings.hash_costs
        done = self.strengthened + self.changed + self.left

        def count(number: int) -> None:
            nonlocal done
            done += number
            progress(done)

        hashes = ((None, stored.hash) for stored in found)
        wrapped = on_all_cores(lambda text: wrap_hash(text, costs), hashes, progress=count)
        return [new for _, new in wrapped]

    def _store(self, op: Operation, found: list[StoredPassword], wrapped: list[str | None]) -> int:
        from usermgr.services.password_verification import replace_hash

        costs = self._run.settings.hash_costs
        return sum(
            replace_hash(op, stored, new, "strengthen", costs)
            for stored, new in zip(found, wrapped, strict=True)
            if new is not None
        )
