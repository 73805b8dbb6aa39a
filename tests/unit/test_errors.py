"""The error tree: the table of codes and exit statuses is a contract with scripts."""

from __future__ import annotations

from usermgr import errors
from usermgr.errors import ERROR_CLASSES, UserMgrError, exit_status_table


def test_every_error_has_the_exit_status_and_the_http_status_that_are_promised():
    table = {cls.code: (cls.exit_status, cls.http_status) for cls in ERROR_CLASSES}

    assert table == {
        "internal": (1, 500),
        "invalid_input": (2, 422),
        "not_found": (3, 404),
        "conflict": (4, 409),
        "unavailable": (5, 503),
        "partial": (6, None),
        "forbidden": (7, 403),
        "mismatch": (8, 200),
        "interrupted": (130, None),
    }


def test_every_class_of_the_module_is_in_the_table():
    found = {
        thing
        for thing in vars(errors).values()
        if isinstance(thing, type) and issubclass(thing, UserMgrError) and thing is not UserMgrError
    }

    assert found == set(ERROR_CLASSES)


def test_exit_statuses_and_codes_are_unique_and_in_order():
    statuses = [status for status, _, _ in exit_status_table()]
    codes = [code for _, code, _ in exit_status_table()]

    assert statuses == sorted(set(statuses)) == [0, 1, 2, 3, 4, 5, 6, 7, 8, 130]
    assert len(set(codes)) == len(codes)


def test_the_meanings_are_written_like_messages():
    for _, _, meaning in exit_status_table():
        assert meaning == meaning.strip().rstrip(".")
        assert meaning[0].islower()
