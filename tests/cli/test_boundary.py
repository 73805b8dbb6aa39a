"""The last line of defence: what no one foresaw is one message and exit status 1."""

from __future__ import annotations

import io
import json

import pytest

from tests.support.commands import Command
from usermgr.cli.app import run


class BrokenStream(io.StringIO):
    """A stdout that fails in a way no command expects."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self._error = error

    def write(self, _text: str) -> int:
        raise self._error


def _run(error: BaseException, *words: str) -> tuple[int, str]:
    return _run_command(error, ("help", "exit-codes", *words), {})


def _run_command(
    error: BaseException, argv: tuple[str, ...], environ: dict[str, str]
) -> tuple[int, str]:
    stderr = io.StringIO()
    status = run(
        argv,
        environ=environ,
        stdin=io.StringIO(),
        stdout=BrokenStream(error),
        stderr=stderr,
    )
    return status, stderr.getvalue()


def test_an_unexpected_error_is_told_by_its_type_and_first_line() -> None:
    assert _run(RuntimeError("one\ntwo")) == (
        1,
        "error: unexpected RuntimeError: one\nhint: run again with --debug and report it\n",
    )


def test_an_unexpected_error_is_json_where_errors_are() -> None:
    status, told = _run(RuntimeError("one\ntwo"), "-o", "json")

    assert status == 1
    assert json.loads(told) == {
        "error": {
            "code": "internal",
            "exit_status": 1,
            "message": "unexpected RuntimeError: one",
            "hint": "run again with --debug and report it",
        }
    }


def test_debug_shows_the_trace() -> None:
    status, told = _run(RuntimeError("one"), "--debug")

    assert status == 1
    assert told.startswith("Traceback (most recent call last):\n")
    assert told.endswith(
        "error: unexpected RuntimeError: one\nhint: run again with --debug and report it\n"
    )


def test_an_interrupt_is_told_and_has_its_exit_status() -> None:
    assert _run(KeyboardInterrupt()) == (
        130,
        "error: interrupted; what was not committed is undone\n",
    )


def test_an_interrupt_after_the_commit_says_what_is_stored(cli: Command, database_url: str) -> None:
    environ = {"USERMGR_DATABASE_URL": database_url}

    status, told = _run_command(KeyboardInterrupt(), ("role", "create", "member"), environ)

    assert status == 130
    assert told.splitlines() == [
        "error: interrupted after the change was stored",
        "hint: look at it with: usermgr operation show 1",
    ]
    assert "member" in cli("role", "list").stdout


@pytest.mark.parametrize("error", [BrokenPipeError(), BrokenPipeError(32, "Broken pipe")])
def test_a_reader_that_has_left_is_success(error: BaseException) -> None:
    assert _run(error) == (0, "")
