"""The commands that take a password: create, set-password, verify-password.

A password never stands on the command line: it is generated, typed, piped, or read from a file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from usermgr.cli.complete import complete_claims, complete_roles
from usermgr.cli.context import AppContext, app_of
from usermgr.cli.output import HIGHLIGHTED
from usermgr.cli.prompts import read_password_file
from usermgr.errors import InvalidInput, UserMgrError
from usermgr.records import NewUser, User, Verification

if TYPE_CHECKING:
    from usermgr.services.password_verification import StoredPassword

FromStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from stdin, one line.")
]
FromPrompt = Annotated[
    bool, typer.Option("--password-prompt", help="Ask for the password on the terminal.")
]
FromFile = Annotated[
    Path | None,
    typer.Option("--password-file", metavar="FILE", help="Read the password from a file."),
]
NoPassword = Annotated[
    bool, typer.Option("--no-password", help="The user gets no usable password.")
]


class Password(NamedTuple):
    """The hash to store (None: no usable password), and the text that was given or generated."""

    hash: str | None
    given: str | None
    generated: str | None


@dataclass(frozen=True, slots=True)
class PasswordChoice:
    """Where the password comes from; with nothing chosen one is generated."""

    stdin: bool
    prompt: bool
    file: Path | None
    none: bool

    @property
    def generates(self) -> bool:
        """Whether a password is generated and has to be shown."""
        return not (self.stdin or self.prompt or self.file or self.none)

    def obtain(self, run: AppContext) -> Password:
        """The password, read or generated.

        Raises InvalidInput for a password that is not acceptable, and when more than one source
        is chosen.
        """
        from usermgr.passwords import check_password, generate_password, hash_password

        if sum((self.stdin, self.prompt, self.file is not None, self.none)) > 1:
            raise InvalidInput(
                "more than one password option was given",
                hint="choose one of --password-stdin, --password-prompt, --password-file, "
                "--no-password",
            )
        if self.none:
            return Password(None, None, None)
        settings = run.settings
        if self.generates:
            generated = generate_password()
            return Password(hash_password(generated, settings.hash_costs), None, generated)
        given = check_password(
            self._read(run),
            min_length=settings.password_min_length,
            blocklist=settings.blocklist,
        )
        return Password(hash_password(given, settings.hash_costs), given, None)

    def _read(self, run: AppContext) -> str:
        if self.file is not None:
            return read_password_file(self.file)
        if self.prompt:
            return run.prompts.ask_password(twice=True)
        return run.prompts.read_password()


def add_create(app: typer.Typer) -> None:
    """Add ``create`` to the group."""
    app.command("create")(create)


def add_passwords(app: typer.Typer) -> None:
    """Add ``set-password`` and ``verify-password`` to the group."""
    app.command("set-password")(set_password)
    app.command("verify-password")(verify_password)


def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Option("--name", help="The person's name.")],
    email: Annotated[str, typer.Option("--email", help="The e-mail, unique in any case.")],
    role: Annotated[
        str, typer.Option("--role", help="The role, by name or id.", autocompletion=complete_roles)
    ],
    claim: Annotated[
        list[str] | None,
        typer.Option(
            "--claim", help="A claim to grant; may be repeated.", autocompletion=complete_claims
        ),
    ] = None,
    password_stdin: FromStdin = False,
    password_prompt: FromPrompt = False,
    password_file: FromFile = None,
    no_password: NoPassword = False,
    inactive: Annotated[bool, typer.Option("--inactive", help="Create the user disabled.")] = False,
    if_not_exists: Annotated[
        bool,
        typer.Option("--if-not-exists", help="Accept a user with this e-mail, and leave it alone."),
    ] = False,
) -> None:
    """Create a user. Without a password option one is generated and shown, once."""
    from usermgr.services.users import create_user, ensure_user

    run = app_of(ctx)
    choice = PasswordChoice(password_stdin, password_prompt, password_file, no_password)
    _require_shown(run, choice)
    password = choice.obtain(run)
    new = NewUser(name, email, role, tuple(claim or ()), not inactive, password.hash)
    with run.operation(ctx, shows=User, optional=[HIGHLIGHTED]) as op:
        if if_not_exists:
            user, created = ensure_user(op, new, given=password.given)
        else:
            user, created = create_user(op, new, given=password.given), True
    if not created:
        run.output.note(f'note: the user "{user.email}" exists already; it was left as it is')
    run.output.record(user, extra={HIGHLIGHTED: password.generated if created else None})


def set_password(
    ctx: typer.Context,
    user: Annotated[str, typer.Argument(metavar="USER", help="Id or e-mail.")],
    password_stdin: FromStdin = False,
    password_prompt: FromPrompt = False,
    password_file: FromFile = None,
    no_password: NoPassword = False,
) -> None:
    """Set a user's password. Without a password option one is generated and shown, once."""
    from usermgr.services.users import set_password as store_password

    run = app_of(ctx)
    choice = PasswordChoice(password_stdin, password_prompt, password_file, no_password)
    _require_shown(run, choice)
    password = choice.obtain(run)
    with run.operation(ctx, shows=User, optional=[HIGHLIGHTED]) as op:
        updated = store_password(op, user, password.hash, given=password.given)
    run.output.record(updated, extra={HIGHLIGHTED: password.generated})


def verify_password(
    ctx: typer.Context,
    user: Annotated[str, typer.Argument(metavar="USER", help="Id or e-mail.")],
    password_stdin: FromStdin = False,
) -> None:
    """Check a password: exit status 0 when it matches, 8 when it does not.

    A hash of a right password that is weaker than the parameters in force is replaced by argon2id.
    """
    from usermgr.services.password_verification import find_stored, verify

    run = app_of(ctx)
    prompts, costs = run.prompts, run.settings.hash_costs
    given = prompts.read_password() if password_stdin else prompts.ask_password(twice=False)
    with run.read(shows=Verification) as connection:
        stored = find_stored(connection, user)
    verified, weak = verify(stored, user, given, costs)
    if weak and stored is not None:
        _rehash(ctx, run, stored, given)
    run.output.record(verified)


def _rehash(ctx: typer.Context, run: AppContext, stored: StoredPassword, given: str) -> None:
    """Replace a weak hash, if that is possible now: a right password stays right if it is not."""
    from usermgr.passwords import hash_password
    from usermgr.services.password_verification import replace_hash

    costs = run.settings.hash_costs
    try:
        new_hash = hash_password(given, costs)
        with run.operation_beside(ctx) as op:
            replace_hash(op, stored, new_hash, "rehash", costs)
    except Exception as error:  # noqa: BLE001 - whatever it is, the password was right
        reason = error.message if isinstance(error, UserMgrError) else type(error).__name__
        run.output.note(
            f'note: the hash of "{stored.email}" is weak, and could not be replaced: {reason}'
        )


def _require_shown(run: AppContext, choice: PasswordChoice) -> None:
    """A generated password is shown once: the command must not begin where it would be lost."""
    wanted = run.flags.get("fields")
    names: list[Any] = [] if wanted is None else [name.strip() for name in wanted.split(",")]
    if choice.generates and wanted is not None and HIGHLIGHTED not in names:
        raise InvalidInput(
            f"--fields {wanted} leaves out {HIGHLIGHTED}: the generated password would be lost",
            hint=f"add {HIGHLIGHTED} to --fields, or choose a password option",
        )
