"""What is asked of an import, as options or query parameters name it, and what that means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from usermgr.config import Settings
from usermgr.errors import InvalidInput
from usermgr.formats.inputs import InputFile
from usermgr.names import visible
from usermgr.services.exporting import require_cells
from usermgr.services.import_source import ImportSource
from usermgr.services.importing import ON_CONFLICT, ON_ERROR, ImportOptions
from usermgr.services.rows import RowRules, row_fields

FORMATS: Final = ("csv", "tsv", "jsonl", "json")
PASSWORDS: Final = ("keep", "set")


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """The options of an import as they were given, not checked yet.

    ``mapping`` holds FIELD=COLUMN.
    """

    format: str | None = None
    mapping: Sequence[str] = ()
    ignored_columns: Sequence[str] = ()
    delimiter: str | None = None
    encoding: str | None = None
    on_conflict: str = "fail"
    on_error: str = "fail"
    max_errors: int | None = None
    create_roles: bool = False
    create_claims: bool = False
    default_role: str | None = None
    passwords: str = "keep"
    exclusive: bool = False
    dry_run: bool = False
    with_ids: bool = False
    safe: bool = False


def read_options(request: ImportRequest) -> ImportOptions:
    """What to do with the rows. Raises InvalidInput."""
    return ImportOptions(
        on_conflict=chosen("--on-conflict", request.on_conflict, ON_CONFLICT),
        on_error=chosen("--on-error", request.on_error, ON_ERROR),
        max_errors=request.max_errors,
        create_roles=request.create_roles,
        create_claims=request.create_claims,
        set_passwords=chosen("--passwords", request.passwords, PASSWORDS) == "set",
        with_ids=request.with_ids,
        exclusive=request.exclusive,
        default_role=request.default_role,
    )


def read_rules(request: ImportRequest, settings: Settings) -> RowRules:
    """How the rows are read. Raises InvalidInput."""
    rules = RowRules(
        password_min_length=settings.password_min_length,
        blocklist=settings.blocklist,
        costs=settings.hash_costs,
        mapping=_mapping(request.mapping, with_ids=request.with_ids),
        ignored=frozenset(request.ignored_columns),
        may_lack=_may_lack(request.on_conflict, request.default_role),
        unescape=request.safe,
        with_ids=request.with_ids,
    )
    if request.format is not None:
        chosen("--format", request.format, FORMATS)
    delimiter = request.delimiter
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
        raise InvalidInput(
            f'the delimiter "{visible(delimiter)}" is not one character',
            hint="cells are separated by tabs with --format tsv",
        )
    return rules


def make_source(request: ImportRequest, file: InputFile, rules: RowRules) -> ImportSource:
    """The rows of the file. Raises InvalidInput when its format contradicts the request."""
    source = ImportSource(file, rules, request.format, request.delimiter, request.encoding)
    if request.safe:
        require_cells(str(source.format_name))
    return source


def chosen(option: str, value: str, choices: Sequence[str]) -> Any:
    """The value, which is one of the choices. Raises InvalidInput."""
    if value not in choices:
        raise InvalidInput(
            f'{option} cannot be "{visible(value)}"', hint="choose " + ", ".join(choices)
        )
    return value


def _may_lack(on_conflict: str, default_role: str | None) -> frozenset[str]:
    if on_conflict == "update":
        return frozenset(("name", "role"))
    return frozenset() if default_role is None else frozenset(("role",))


def _mapping(pairs: Sequence[str], *, with_ids: bool) -> dict[str, str]:
    fields = row_fields(with_ids=with_ids)
    mapping: dict[str, str] = {}
    for pair in pairs:
        name, separator, column = pair.partition("=")
        if name == "id" and separator and not with_ids:
            raise InvalidInput(
                "ids are read only where they are to be kept", hint="pass --with-ids as well"
            )
        if not separator or name not in fields or not column:
            raise InvalidInput(
                f'--map "{visible(pair)}" is not FIELD=COLUMN',
                hint="the fields are " + ", ".join(fields),
            )
        if name in mapping:
            raise InvalidInput(
                f'--map names two columns for {name}: "{visible(mapping[name])}" and '
                f'"{visible(column)}"',
                hint="leave one of them out",
            )
        if column in mapping.values():
            raise InvalidInput(
                f'--map reads two fields from the column "{visible(column)}"',
                hint="leave one of them out",
            )
        mapping[name] = column
    return mapping
