"""What is wrong with a request in general: paths, methods, parameters; and its id."""

from __future__ import annotations

import re

import pytest

from tests.support.serving import Face, problem


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "detail"),
    [
        ("GET", "/v1/users/x", 404, "not_found", 'no path "/v1/users/x"'),
        ("GET", "/v1/users/1/", 404, "not_found", 'no path "/v1/users/1/"'),
        ("GET", "/v1/users/" + "9" * 5000, 404, "not_found", f'no path "/v1/users/{"9" * 70}…"'),
        (*("GET", "/v1/users/9223372036854775808", 404, "not_found"), 'no user "92233720368…'),
        ("GET", "/v1/users/999999", 404, "not_found", 'no user "999999"'),
        ("GET", "/%00", 404, "not_found", r'no path "/\x00"'),
        ("LINK", "/v1/users/1", 405, "method_not_allowed", "the path does not know LINK"),
        (*("GET", "/v1/users/1?fields=id", 422, "invalid_input"), 'the query parameter "fields"…'),
    ],
)
def test_requests_that_mean_nothing(
    face: Face, method: str, path: str, status: int, code: str, detail: str
) -> None:
    told = problem(face(method, path))

    assert told[:2] == (status, code)
    assert told[2] == detail or told[2].startswith(detail.rstrip("…"))


def test_a_request_has_the_id_of_its_client_if_that_is_harmless(face: Face) -> None:
    for given, kept in (("Abc-1.2_3", True), ("a b", False), ("x" * 65, False), ('"', False)):
        answered = face("GET", "/v1/users/999999", headers={"X-Request-Id": given})
        told = answered.headers["x-request-id"]
        assert told == given if kept else re.fullmatch("[0-9a-f]{16}", told)
        assert problem(answered)[0] == 404
