"""Whatever the OpenAPI document allows, and what it does not, is answered as it says.

schemathesis makes the requests, the same in every run, and looks at the answers by all its checks.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.serving import Face

CONFIG = Path(__file__).with_name("schemathesis.toml")
PURPOSE = "schema"
"""Nobody else uses that server: requests may revoke tokens, and undo that they were made."""


@pytest.mark.parametrize(("token", "examples"), [("all", "3"), ("read", "1")])
def test_every_answer_is_as_the_document_says(
    backend: str, faces: Callable[..., Face], token: str, examples: str
) -> None:
    check(faces(backend, PURPOSE), token, "--phases", "fuzzing", "--max-examples", examples)


def test_boundaries_are_where_the_document_says(faces: Callable[..., Face]) -> None:
    # Of one route with all kinds of parameters. All routes take a minute: leave out the path.
    check(
        faces("postgresql", PURPOSE), "all", "--phases", "coverage", "--include-path", "/v1/users"
    )


def check(face: Face, token: str, *options: str) -> None:
    """Run schemathesis with a token that has such scopes."""
    if face.cli("role", "show", "member").exit_code:
        assert face.cli("role", "create", "member").exit_code == 0
    name = f"schema {os.urandom(4).hex()}"
    made = face.cli("token", "create", "--name", name, "--scopes", token)
    assert made.exit_code == 0, made.stderr
    own = made.stdout.strip().split()[-1]
    program = Path(sys.executable).with_name("schemathesis")
    done = subprocess.run(
        [
            program,
            "--config-file",
            CONFIG,
            "run",
            f"{face.url}/openapi.json",
            "--generation-deterministic",
            *options,
        ],
        env={**os.environ, "SCHEMATHESIS_TOKEN": own},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    # It has not revoked itself on the way.
    assert face("GET", "/v1/users?limit=1", token=own).status_code == 200
