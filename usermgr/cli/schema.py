"""usermgr schema ..."""

from __future__ import annotations

from typing import Annotated

import typer

from usermgr.cli.complete import complete_revisions, complete_words
from usermgr.cli.context import AppContext, app_of
from usermgr.cli.options import new_group
from usermgr.cli.views import view_of
from usermgr.errors import InvalidInput, Unavailable
from usermgr.names import visible
from usermgr.records import Difference, SchemaReport, SchemaStatus

app = new_group("Create, adopt, upgrade and check the database schema.")

DIALECTS = ("postgresql", "sqlite")
Revision = Annotated[
    str,
    typer.Argument(
        metavar="[REVISION]",
        help="Such as 0002, or head.",
        autocompletion=complete_revisions,
    ),
]
MergeRoles = Annotated[
    bool,
    typer.Option(
        "--merge-roles", help="Join roles whose names differ only in case or outer spaces."
    ),
]
MergeClaims = Annotated[
    bool,
    typer.Option(
        "--merge-claims", help="Join claims whose names differ only in case or outer spaces."
    ),
]


@app.command()
def init(
    ctx: typer.Context,
    create_schema: Annotated[
        bool, typer.Option("--create-schema", help="Create the schema of USERMGR_DB_SCHEMA.")
    ] = False,
    merge_roles: MergeRoles = False,
    merge_claims: MergeClaims = False,
) -> None:
    """Create the tables; adopt the challenge's tables, or upgrade, where they are there already.

    May be repeated: a database that is up to date is left as it is.
    """
    from usermgr.db.schema import init as init_schema

    run = _run(ctx, SchemaReport)
    _report(
        run,
        init_schema(
            run.raw_database,
            create_schema=create_schema,
            merge_roles=merge_roles,
            merge_claims=merge_claims,
            actor=run.actor,
        ),
    )


@app.command()
def upgrade(ctx: typer.Context, revision: Revision = "head") -> None:
    """Bring the schema up to this program's revision. Two at once both end well."""
    from usermgr.db.schema import upgrade as upgrade_schema

    run = _run(ctx, SchemaReport)
    _report(run, upgrade_schema(run.raw_database, revision, actor=run.actor))


@app.command()
def downgrade(
    ctx: typer.Context,
    revision: Annotated[
        str,
        typer.Argument(
            metavar="REVISION",
            help="Such as 0002; base removes everything.",
            autocompletion=complete_revisions,
        ),
    ],
) -> None:
    """Take the schema back to an older revision; what only newer ones hold is lost."""
    from usermgr.db.schema import downgrade as downgrade_schema

    run = _run(ctx, SchemaReport)
    lost = "what only newer revisions hold is lost"
    if revision == "base":
        lost = "ALL users, roles, claims and their history are deleted with their tables"
    description = run.raw_database.description
    run.prompts.confirm(f'Downgrade "{description}" to {visible(revision)}: {lost}. Go on?')
    _report(run, downgrade_schema(run.raw_database, revision))


@app.command()
def status(ctx: typer.Context) -> None:
    """Show the schema's revision; exit status 5 when it is not this program's."""
    from usermgr.db.connections import stale_schema, unmanaged_tables
    from usermgr.db.schema import status as schema_status

    run = _run(ctx, SchemaStatus)
    found = schema_status(run.raw_database)
    run.output.record(found)
    if found.state == "unmanaged":
        raise unmanaged_tables(found.database)
    if found.state != "current":
        raise stale_schema(found.database, found.revision, schema=run.settings.db_schema)


@app.command()
def check(ctx: typer.Context) -> None:
    """Compare the database with this program's tables; exit status 5 when they differ.

    What others added beside them is told, and is no difference that matters. Stored values that
    cannot be read are differences.
    """
    from usermgr.db.schema import check as check_schema

    run = _run(ctx, Difference)
    differences = check_schema(run.raw_database)
    run.output.records(Difference, differences)
    wrong = [difference for difference in differences if not difference.addition]
    if wrong:
        raise Unavailable(
            f'the schema of "{run.raw_database.description}" differs from this program\'s '
            f"in {len(wrong)} places",
            hint="somebody changed it by hand: take that back, or restore a backup",
        )
    beside = f", beside {len(differences)} additions" if differences else ""
    run.output.note(
        f'note: the schema of "{run.raw_database.description}" is as it should be{beside}'
    )


@app.command()
def ddl(
    ctx: typer.Context,
    dialect: Annotated[
        str,
        typer.Option(
            "--dialect",
            metavar="|".join(DIALECTS),
            help="For which database.",
            autocompletion=complete_words(*DIALECTS),
        ),
    ] = "postgresql",
) -> None:
    """Print the whole schema as a SQL script, for people who create it with a SQL client."""
    if dialect not in DIALECTS:
        raise InvalidInput(
            f'no dialect "{visible(dialect)}"', hint="the dialects are " + " and ".join(DIALECTS)
        )
    from usermgr.db.schema import ddl as schema_ddl

    app_of(ctx).output.text(schema_ddl(dialect))


def _run(ctx: typer.Context, shows: type) -> AppContext:
    run = app_of(ctx)
    run.output.check_fields(view_of(shows))
    return run


def _report(run: AppContext, report: SchemaReport) -> None:
    run.output.report(report)
