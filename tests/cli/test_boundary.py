"""The last line of defence: what no one foresaw is one message and exit status 1."""

from __future__ import annotations

import io
import json

import pytest

from usermgr.cli.app import run


class BrokenStream(io.StringIO):
    """A stdout that fails in a way no command expects."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self._error = error

    def write(self, _text: str) -> int:
        raise self._error


def _run(error: BaseException, *words: str) -> tuple[int, str]:
    stderr = io.StringIO()
    status = run(
        ("help", "exit-codes", *words),
        environ={},
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


@pytest.mark.parametrize("error", [BrokenPipeError(), BrokenPipeError(32, "Broken pipe")])
def test_a_reader_that_has_left_is_success(error: BaseException) -> None:
    assert _run(error) == (0, "")
