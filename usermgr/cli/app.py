"""The root command: loads only the group that was named, and is the one boundary for errors."""

from __future__ import annotations

import contextlib
import errno
import functools
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final, TextIO, cast

import typer
from typer.core import TyperGroup

from usermgr.cli.complete import join_split_words
from usermgr.cli.context import AppContext
from usermgr.cli.options import Group, build
from usermgr.cli.output import ReaderLeft, write_error, write_trace
from usermgr.errors import InternalError, InvalidInput, Unavailable, UserMgrError
from usermgr.names import visible

PROGRAM = "usermgr"
COMPLETE_VARIABLE = "_USERMGR_COMPLETE"
_UNWRITABLE: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)

GROUPS: dict[str, tuple[str, str]] = {
    "user": ("usermgr.cli.user", "Create, find, list, change and delete users."),
    "role": ("usermgr.cli.role", "Create, list, rename, protect and delete roles."),
    "claim": (
        "usermgr.cli.claim",
        "Create, list, rename, enable, disable, protect and delete claims.",
    ),
    "password": (
        "usermgr.cli.password",
        "Rules for passwords, how strong the stored ones are, and making them stronger.",
    ),
    "operation": ("usermgr.cli.operation", "What was changed, when, by whom."),
    "undo": ("usermgr.cli.undo", "Undo an operation."),
    "bin": ("usermgr.cli.bin", "The recycle bin: what was deleted and can be brought back."),
    "why": ("usermgr.cli.why", "Explain why a user holds a claim or does not."),
    "audit": ("usermgr.cli.audit", "Seal the history, verify it, write it for a SIEM."),
    "token": ("usermgr.cli.token", "Create, list, rotate and revoke tokens of the HTTP API."),
    "serve": ("usermgr.cli.serve", "Serve the HTTP API."),
    "seed": ("usermgr.cli.seed", "Fill a database with believable users."),
    "schema": ("usermgr.cli.schema", "Create, adopt, upgrade and check the database schema."),
    "config": ("usermgr.cli.config", "Show and check the settings."),
    "help": ("usermgr.cli.help", "Topics: exit-codes, settings, fields."),
}


class LazyGroup(Group):
    """The root group: a command's module is imported when the command is named."""

    shows_global_options = True

    def list_commands(self, ctx: Any) -> list[str]:
        """Every command, without importing any."""
        return list(GROUPS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command; for the root's own help and completion a stand-in with name and help."""
        if cmd_name not in GROUPS:
            return None
        if self._only_listing(ctx):
            return TyperGroup(name=cmd_name, help=GROUPS[cmd_name][1])
        if cmd_name not in self.commands:
            self.commands[cmd_name] = load_command(cmd_name)
        return self.commands[cmd_name]

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Resolve the command that is to run."""
        ctx.meta["usermgr.resolving"] = True
        if args and args[0] not in GROUPS and not ctx.resilient_parsing:
            raise _no_such_command(args[0])
        return super().resolve_command(ctx, args)

    @staticmethod
    def _only_listing(ctx: Any) -> bool:
        return "usermgr.resolving" not in ctx.meta


def load_command(name: str) -> Any:
    """Import and build one command or group of the root."""
    module = importlib.import_module(GROUPS[name][0])
    command = build(module.app)
    command.name = name
    return command


def _no_such_command(name: str) -> InvalidInput:
    from difflib import get_close_matches

    near = get_close_matches(name, GROUPS)
    hint = f"did you mean {near[0]}?" if near else "the commands are " + ", ".join(GROUPS)
    return InvalidInput(f'no command "{visible(name)}"', hint=hint)


root = typer.Typer(
    cls=LazyGroup,
    name=PROGRAM,
    help="Administer the users, roles and claims that live in a SQL database.",
    epilog="Exit statuses: usermgr help exit-codes. Settings: usermgr help settings.",
)


@root.callback()
def _root() -> None:
    """Typer makes a group of the root because of this; the global options do the work."""


def main() -> None:
    """The program's entry point: ends the process with the documented exit status."""
    _replace_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", newline="\n")
    status = run(
        sys.argv[1:],
        environ=os.environ,
        stdin=sys.stdin,
        stdout=sys.stdout,
        stderr=sys.stderr,
    )
    _flush_or_forget()
    sys.exit(status)


def run(
    argv: Sequence[str],
    *,
    environ: Mapping[str, str],
    stdin: TextIO,
    stdout: TextIO,
    stderr: TextIO,
) -> int:
    """Run one command line; returns its exit status. Every error ends here, in one message."""
    app = AppContext(environ, stdin, stdout, stderr)
    try:
        with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
            return _invoke(list(argv), app)
    except UserMgrError as error:
        return _fail(app, argv, error)
    except typer.TyperException as error:
        if not error.format_message():  # a group alone on the line: its help has been printed
            return InvalidInput.exit_status
        return _fail(app, argv, _usage_error(error))
    except typer.Exit as exit_:
        return exit_.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return _fail(app, argv, app.interrupted())
    except (ReaderLeft, BrokenPipeError):
        return 0
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            return _unexpected(app, argv, error)
        return _fail(app, argv, Unavailable(f"the output cannot be written: {error.strerror}"))
    except Exception as error:  # noqa: BLE001 - the last line of defence, told as a bug
        return _unexpected(app, argv, error)


@functools.cache
def _built() -> Any:
    """The root as a command, which keeps the commands that it has built."""
    return typer.main.get_command(root)


def _invoke(argv: list[str], app: AppContext) -> int:
    command = _built()
    if os.environ.get(COMPLETE_VARIABLE):
        if os.environ[COMPLETE_VARIABLE] == "complete_bash":
            join_split_words(os.environ)
        command.main(argv, prog_name=PROGRAM, complete_var=COMPLETE_VARIABLE, obj=app)
    try:
        with command.make_context(PROGRAM, argv, obj=app) as ctx:
            command.invoke(ctx)
    except SystemExit as exit_:
        # This is how Rich ends a table or a page of help that nobody reads.
        if isinstance(exit_.__context__, BrokenPipeError):
            raise ReaderLeft from exit_
        raise
    return 0


def _fail(app: AppContext, argv: Sequence[str], error: UserMgrError) -> int:
    as_json = app.error_format_is_json() or _asks_for_json(argv)
    if "debug" in app.flags and error.__cause__ is not None:
        write_trace(app.stderr, error.__cause__)
    write_error(app.stderr, error, as_json=as_json)
    return error.exit_status


def _asks_for_json(argv: Sequence[str]) -> bool:
    """Whether a line that could not be parsed asks for JSON."""
    for word, following in zip(argv, [*argv[1:], ""], strict=False):
        if word in ("-ojson", "-ojsonl", "--output=json", "--output=jsonl"):
            return True
        if word in ("-o", "--output") and following in ("json", "jsonl"):
            return True
    return False


def _usage_error(error: typer.TyperException) -> InvalidInput:
    message = error.format_message().rstrip(".").replace("a valid int range", "a whole number")
    message = message[:1].lower() + message[1:]
    ctx = getattr(error, "ctx", None)
    path = ctx.command_path if ctx is not None else PROGRAM
    if message.startswith("got unexpected extra argument") and _takes_password(ctx):
        message = message.partition(" (")[0]  # the word too many may be the password
    return InvalidInput(message.replace("'", '"'), hint=f"see: {path} --help")


def _takes_password(ctx: Any) -> bool:
    return ctx is None or any("password" in (param.name or "") for param in ctx.command.params)


def _unexpected(app: AppContext, argv: Sequence[str], error: Exception) -> int:
    first_line = next(iter(str(error).splitlines()), "")
    told = f"{type(error).__name__}: {first_line}" if _is_safe(error) else type(error).__name__
    bug = InternalError(f"unexpected {told}", hint="run again with --debug and report it")
    bug.__cause__ = error
    return _fail(app, argv, bug)


def _is_safe(error: Exception) -> bool:
    """Texts of database errors can hold statements and personal data; others are ours or
    Python's."""
    return not type(error).__module__.startswith(("sqlalchemy", "psycopg2", "sqlite3"))


def _replace_closed_streams() -> None:
    """Give a stream that the caller closed its number back: a database file or a connection that
    is opened later would get it. Nothing is read there, and writing to stdout is an error."""
    if sys.stdin is None:
        sys.stdin = _null(os.O_RDONLY, "r")
    if sys.stdout is None:
        sys.stdout = _null(os.O_RDONLY, "w")
    if sys.stderr is None:
        sys.stderr = _null(os.O_WRONLY, "w")


def _null(flags: int, mode: str) -> TextIO:
    stream: Any = os.fdopen(os.open(os.devnull, flags), mode, encoding="utf-8")
    return cast(TextIO, stream)


def _flush_or_forget() -> None:
    """Flush here, so that a reader who left is not reported by the interpreter at its end."""
    for name in ("stdout", "stderr"):
        try:
            getattr(sys, name).flush()
        except OSError:
            setattr(sys, name, _null(os.O_WRONLY, "w"))
