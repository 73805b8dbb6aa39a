"""Who is recorded for a change: the setting, the CI job, or the operating-system user."""

from __future__ import annotations

import getpass
import os

import pytest

from tests.support.commands import Command, run_inside

pytestmark = pytest.mark.any_database

GITHUB = {"GITHUB_RUN_ID": "77", "GITHUB_REPOSITORY": "acme/app"}
GITLAB = {"CI_JOB_ID": "5", "CI_PROJECT_PATH": "acme/app"}


@pytest.mark.parametrize(
    ("environment", "actor"),
    [
        ({"USERMGR_ACTOR": "Ana Souza", **GITHUB}, "Ana Souza"),
        (GITHUB, "github:acme/app#77"),
        (GITLAB, "gitlab:acme/app#5"),
        ({"BUILD_TAG": "jenkins-app-9", "JOB_NAME": "app"}, "jenkins:app#jenkins-app-9"),
        ({"GITHUB_RUN_ID": "77"}, "github:#77"),
        ({}, getpass.getuser()),
        ({"SUDO_USER": getpass.getuser()}, getpass.getuser()),
        ({"SUDO_USER": "a\udcff\x1b"}, f"a\\udcff\\x1b (as {getpass.getuser()})"),
        ({"GITHUB_RUN_ID": "7", "GITHUB_REPOSITORY": "\udcff"}, "github:\\udcff#7"),
        ({"SUDO_USER": "somebody"}, f"somebody (as {getpass.getuser()})"),
    ],
)
def test_the_actor_is_recorded(
    migrated_sqlite_url: str, environment: dict[str, str], actor: str
) -> None:
    env = {"USERMGR_DATABASE_URL": migrated_sqlite_url, **environment}

    assert run_inside(("role", "create", "admin"), "", env).exit_code == 0

    (operation,) = run_inside(("operation", "list", "-o", "json"), "", env).json
    assert (operation["actor"], operation["command"]) == (actor, "role create")


@pytest.mark.parametrize("variable", ["LOGNAME", "USER"])
def test_a_user_name_that_is_no_text_is_recorded_in_an_escaped_form(
    cli_process: Command, variable: str
) -> None:
    env = {"USERMGR_ACTOR": "", "LOGNAME": "", "USER": "", variable: os.fsdecode(b"an\xff")}

    assert cli_process("role", "create", "admin", env=env).exit_code == 0

    (operation,) = cli_process("operation", "list", "-o", "json").json
    assert operation["actor"] == "an\\udcff"


def test_an_actor_that_could_steer_a_terminal_is_refused(migrated_sqlite_url: str) -> None:
    env = {"USERMGR_DATABASE_URL": migrated_sqlite_url, "USERMGR_ACTOR": "a\x1b[1mb"}

    done = run_inside(("role", "create", "admin"), "", env)

    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == (
        'error: "a\\x1b[1mb" (environment USERMGR_ACTOR) contains a character that is not '
        "printable\n"
    )
