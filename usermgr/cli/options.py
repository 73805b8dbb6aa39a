"""The options that every command accepts, before its name and after it alike."""

from __future__ import annotations

from collections import Counter
from typing import Any, cast

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption
from typer.models import CommandInfo

from usermgr import __version__
from usermgr.cli.complete import complete_fields, complete_words
from usermgr.cli.output import write_text
from usermgr.errors import InvalidInput
from usermgr.setting_values import OUTPUT_FORMATS

PANEL = "Global options"


def _store(ctx: Any, param: Any, value: Any) -> None:
    """Keep what was given; the one nearest to the end of the line wins."""
    if value is not None and value is not False and ctx.obj is not None:
        ctx.obj.flags[param.name] = value if isinstance(value, str) else "yes"


def _print_version(ctx: Any, _param: Any, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        write_text(ctx.obj.stdout, f"usermgr {__version__}\n")
        raise typer.Exit


def _option(*declarations: str, help: str, **more: Any) -> TyperOption:
    return TyperOption(
        param_decls=list(declarations),
        help=help,
        expose_value=False,
        rich_help_panel=PANEL,
        **{"callback": _store, **more},
    )


def global_options(*, hidden: bool = False) -> list[TyperOption]:
    """The global options, for one command or group; ``hidden`` leaves them out of its help."""
    options = [
        _option("--database-url", metavar="URL", help="The database; see: usermgr help settings."),
        _option("--env-file", metavar="FILE", help="Read settings from this file, not from .env."),
        _option(
            "-o",
            "--output",
            metavar="|".join(OUTPUT_FORMATS),
            help="Output format; table on a terminal, tsv into a pipe.",
            autocompletion=complete_words(*OUTPUT_FORMATS),
        ),
        _option(
            "--fields",
            metavar="A,B,...",
            help="The fields to show, in this order.",
            autocompletion=complete_fields,
        ),
        _option("-q", "--quiet", is_flag=True, help="No notes and no reports."),
        _option("--yes", is_flag=True, help="Answer every confirmation with yes."),
        _option("--debug", is_flag=True, help="Show the trace of an unexpected error."),
        _option(
            "--version",
            is_flag=True,
            is_eager=True,
            callback=_print_version,
            help="Show the version and exit.",
        ),
    ]
    for option in options:
        option.hidden = hidden
    return options


class Group(TyperGroup):
    """A command group whose commands all accept the global options.

    The group accepts them too; its help leaves them to the root's and the commands' pages. Typer
    takes a millisecond for a command, so one is built when it is named.
    """

    shows_global_options = False

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**{**attributes, "no_args_is_help": True})
        self.params.extend(global_options(hidden=not self.shows_global_options))
        self.unbuilt: dict[str, CommandInfo] = {}

    def list_commands(self, ctx: Any) -> list[str]:
        """Every command, without building any."""
        return list(self.unbuilt)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command, or None."""
        if cmd_name not in self.unbuilt:
            self.commands = {name: self._built(name) for name in self.unbuilt}  # to suggest one
        elif cmd_name not in self.commands:
            self.commands[cmd_name] = self._built(cmd_name)
        return self.commands.get(cmd_name)

    def _built(self, name: str) -> Any:
        info = self.unbuilt[name]
        info.cls = Command
        alone = typer.Typer(add_completion=False)
        alone.registered_commands.append(info)
        command = typer.main.get_command(alone)
        command.name = name
        return command


class Command(TyperCommand):
    """A command, which accepts the global options, and each of its own once."""

    def __init__(self, *arguments: Any, **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self.params.extend(global_options())

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the line. Raises InvalidInput for an option that is given twice.

        The last one would win, and the first, a filter perhaps, be dropped without a word.
        """
        if not ctx.resilient_parsing:
            _, _, given = self.make_parser(ctx).parse_args(args=list(args))
            for option, times in Counter(filter(_has_one_value, given)).items():
                if times > 1:
                    name = max(option.opts, key=len)
                    raise InvalidInput(f"{name} was given twice", hint="leave one of them out")
        return super().parse_args(ctx, args)


def _has_one_value(param: Any) -> bool:
    # The global options are given twice on purpose: the one nearest to the end wins.
    is_own = isinstance(param, TyperOption) and param.expose_value
    return is_own and not (param.multiple or param.is_flag or param.count)


def new_group(help: str) -> typer.Typer:
    """A Typer application for one noun."""
    return typer.Typer(cls=Group, help=help, add_completion=False)


def build(app: typer.Typer) -> Any:
    """The command of an application, or its group, whose commands are built when they are named."""
    if app.info.cls is not Group:
        return typer.main.get_command(app)
    group = cast(Group, typer.main.get_group(new_group(cast(str, app.info.help))))
    for info in app.registered_commands:
        name = info.name or cast(Any, info.callback).__name__.replace("_", "-")
        group.unbuilt[name] = info
    return group
