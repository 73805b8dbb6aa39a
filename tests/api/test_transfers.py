"""users:import and users:export do what the commands do, in streams."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.serving import Face, problem

HEADER = "name,email,role,claims\n"
CSV = {"Content-Type": "text/csv"}


@pytest.fixture
def role(face: Face, request: pytest.FixtureRequest) -> str:
    """A role of the test's own."""
    name: str = request.node.name.partition("[")[0].removeprefix("test_")[:60]
    if face.cli("role", "show", name).exit_code:
        assert face.cli("role", "create", name).exit_code == 0
    return name


def rows(role: str, *numbers: int, domain: str) -> str:
    return "".join(f"Ana {n},ana{n}@{domain},{role},\n" for n in numbers)


def comparable(report: dict[str, Any]) -> dict[str, Any]:
    """What does not depend on the run."""
    varying = ("operation_id", "seconds", "rows_per_second", "rejects")
    return {name: value for name, value in report.items() if name not in varying}


def test_an_import_is_the_commands(face: Face, role: str) -> None:
    by_cli, by_http = (
        HEADER + rows(role, *range(5), domain=f"{way}.example.com") for way in ("cli", "http")
    )
    told = face.cli("user", "import", "-", "-o", "json", stdin=by_cli)
    answer = face("POST", "/v1/users:import", content=by_http, headers=CSV)
    assert (told.exit_code, answer.status_code) == (0, 200)
    assert comparable(answer.json()) == comparable(told.json)
    assert answer.json()["rejects"] == []
    operation = answer.json()["operation_id"]
    done = face.cli("operation", "show", str(operation), "-o", "json").json
    assert (done["command"], done["source"]) == ("user import", "http")
    assert done["counts"] == {"user.create": 5}
    line = face.logged(answer.headers["x-request-id"])
    assert (line["route"], line["operation_id"]) == ("/v1/users:import", operation)


def test_formats_are_told_by_the_media_type(face: Face, role: str) -> None:
    person = {"name": "Bia", "email": "bia@types.example.com", "role": role}
    sent = {
        "text/tab-separated-values": "name\temail\trole\n" + "\t".join(person.values()) + "\n",
        "application/x-ndjson; charset=utf-8": json.dumps(person) + "\n",
        "application/json": json.dumps([person]),
    }
    for media_type, body in sent.items():
        path, headers = "/v1/users:import?on_conflict=update", {"Content-Type": media_type}
        report = face("POST", path, content=body, headers=headers).json()
        assert (report["read"], report["created"] + report["unchanged"]) == (1, 1)
    body = sent["application/json"]
    refused = face("POST", path, content=body, headers={"Content-Type": "text/html"})
    assert problem(refused)[::2] == (415, "the body must be csv, tsv, jsonl or json")


def test_bad_rows_stand_in_the_answer(face: Face, role: str) -> None:
    bad = HEADER + rows(role, 1, domain="bad.example.com") + "".join("x,y,z,\n" for _ in range(150))
    refused = face("POST", "/v1/users:import", content=bad, headers=CSV)
    assert problem(refused)[:2] == (422, "invalid_input")
    told = refused.json()["details"]
    assert (told["read"], told["rejected"], len(told["rejects"])) == (151, 150, 100)
    assert told["rejects"][0].keys() == {"line", "code", "reason"}
    assert told["rejects"][0]["line"] == 3
    assert refused.json()["hint"] == "correct them, or store the others with on_error skip"

    stored = face("POST", "/v1/users:import?on_error=skip", content=bad, headers=CSV).json()
    assert (stored["created"], stored["rejected"], len(stored["rejects"])) == (1, 150, 100)
    taken = face(
        *("POST", "/v1/users:import"),
        content=HEADER + rows(role, 1, domain="bad.example.com"),
        headers=CSV,
    )
    assert problem(taken)[:2] == (409, "conflict")


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("on_conflict=merge", "query.on_conflict: "),
        ("rejects=x.csv", 'the query parameter "rejects": no such parameter'),
        ("map=name", 'map "name" is not FIELD=COLUMN'),
        ("delimiter=ab", 'the delimiter "ab" is not one character'),
        ("safe=true&format=json", "safe is for csv and tsv, not for json"),
    ],
)
@pytest.mark.any_database
def test_options_are_refused_by_their_names_here(face: Face, query: str, told: str) -> None:
    refused = face("POST", f"/v1/users:import?{query}", content="x", headers=CSV)
    assert problem(refused)[0] == 422
    assert problem(refused)[2].startswith(told)


@pytest.mark.any_database
def test_what_a_token_may_not_make_an_import_does_not_make(face: Face) -> None:
    for query, scope in (("create_roles", "roles:write"), ("create_claims", "claims:write")):
        path = f"/v1/users:import?{query}=true"
        refused = face("POST", path, token="users:write", content=HEADER, headers=CSV)
        assert problem(refused)[::2] == (403, f'the token lacks the scope "{scope}"')
    refused = face(
        "POST", "/v1/users:import", content=HEADER, headers={**CSV, "Idempotency-Key": "1"}
    )
    assert problem(refused)[::2] == (400, "Idempotency-Key is not for what streams")


def test_a_dry_run_leaves_nothing(face: Face, role: str) -> None:
    text = HEADER + rows(role, 1, 2, domain="dry.example.com")
    report = face("POST", "/v1/users:import?dry_run=true", content=text, headers=CSV).json()
    assert (report["created"], report["dry_run"], report["operation_id"]) == (2, True, None)
    assert face("GET", "/v1/users?search=dry.example.com").json()["items"] == []


def test_passwords_are_hashed_on_the_way(face: Face, role: str) -> None:
    text = f"name,email,role,password\nCid,cid@hash.example.com,{role},tall ships sail slowly\n"
    assert face("POST", "/v1/users:import", content=text, headers=CSV).json()["created"] == 1
    (user,) = face("GET", "/v1/users?search=cid@hash").json()["items"]
    path, right = f"/v1/users/{user['id']}/password:verify", {"password": "tall ships sail slowly"}
    assert face("POST", path, json=right).json()["verified"] is True


def test_much_is_streamed_in_and_out(face: Face, role: str) -> None:
    def parts() -> Iterator[bytes]:
        yield HEADER.encode()
        for first in range(0, 40_000, 2_000):
            numbers = range(first, first + 2_000)
            yield rows(role, *numbers, domain="much.example.com").encode()

    before = _memory(face)
    report = face("POST", "/v1/users:import", content=parts(), headers=CSV).json()
    assert (report["read"], report["created"]) == (40_000, 40_000)
    for name in ("csv", "tsv", "jsonl", "json"):
        with face.client.stream(
            *("GET", f"/v1/users:export?role={role}&format={name}&fields=email"),
            headers={"Authorization": f"Bearer {face.tokens['users:read']}"},
        ) as answer:
            assert answer.status_code == 200
            assert "content-length" not in answer.headers
            text = answer.read().decode()
        assert len(_emails(name, text)) == 40_000
    assert _memory(face) - before < 60_000


def _emails(name: str, text: str) -> set[str]:
    if name in ("csv", "tsv"):
        table = csv.DictReader(io.StringIO(text), delimiter="," if name == "csv" else "\t")
        return {row["email"] for row in table}
    records = json.loads(text) if name == "json" else map(json.loads, text.splitlines())
    return {record["email"] for record in records}


def _memory(face: Face) -> int:
    """KiB that the server holds."""
    status = Path(f"/proc/{face.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def test_an_export_is_the_commands(face: Face, role: str) -> None:
    text = HEADER + rows(role, 1, 2, domain="out.example.com")
    assert face("POST", "/v1/users:import", content=text, headers=CSV).status_code == 200
    for name in ("csv", "jsonl"):
        told = face.cli("user", "export", "--format", name, "--role", role, "--with-ids").stdout
        answer = face("GET", f"/v1/users:export?format={name}&role={role}&with_ids=true")
        assert answer.text == told
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert face("GET", "/v1/users:export?search=nobody-has-this", token="read").status_code == 200


def test_an_export_that_cannot_be_is_told_before_it_begins(face: Face) -> None:
    for query, status, code in (
        ("role=nobody-made-this", 404, "not_found"),
        ("fields=shoe_size", 422, "invalid_input"),
        ("fields=password_hash", 422, "invalid_input"),
        ("safe=true&format=json", 422, "invalid_input"),
        ("created_since=soon", 422, "invalid_input"),
    ):
        assert problem(face("GET", f"/v1/users:export?{query}"))[:2] == (status, code)
    hashes = face("GET", "/v1/users:export?with_password_hashes=true", token="read")
    assert problem(hashes)[:2] == (403, "forbidden")


def test_a_client_that_leaves_an_export_ends_it(face: Face) -> None:
    with face.client.stream(
        *("GET", "/v1/users:export"), headers={"Authorization": f"Bearer {face.tokens['all']}"}
    ) as answer:
        next(answer.iter_raw())
    line = face.logged(answer.headers["x-request-id"])
    assert line["status"] == 200
    assert face("GET", "/readyz").status_code == 200
