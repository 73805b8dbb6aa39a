"""Settings: flag > environment > .env > default, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from usermgr.config import load_settings, render_settings
from usermgr.errors import InvalidInput
from usermgr.settings_table import SETTINGS
from usermgr.urls import describe_database, mask_url, normalise_database_url, url_has_password

OTHER = {
    "database_url": ("sqlite:///a.db", "sqlite:///b.db", "sqlite:///c.db"),
    "db_schema": ("a", "b", "c"),
    "output": ("csv", "json", "yaml"),
    "actor": ("ana", "bruno", "carla"),
    "connect_timeout": ("1", "2", "3"),
    "statement_timeout": ("1", "2", "3"),
    "lock_timeout": ("1", "2", "3"),
    "password_min_length": ("8", "9", "10"),
    "confirm_above": ("0", "1", "2"),
    "retention_days": ("1", "2", "3"),
    "password_blocklist": ("a.txt", "b.txt", "c.txt"),
    "argon2_memory": ("19457", "20000", "65536"),
    "argon2_passes": ("3", "4", "5"),
    "argon2_lanes": ("2", "3", "4"),
    "http_body_max": ("1024", "2000", "3000"),
    "http_client_timeout": ("1", "2", "3"),
    "http_requests": ("1", "2", "3"),
    "http_rate": ("0", "1", "2"),
    "http_hashes_waiting": ("0", "1", "2"),
    "http_require_match": ("1", "1", "1"),
    "http_cors_origins": ("https://a", "http://b:1,https://c", "https://d"),
}


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: s.name)
def test_a_flag_wins_over_the_environment_that_over_the_file_that_over_the_default(
    setting, tmp_path: Path
) -> None:
    flag, environ, dotenv = OTHER[setting.name]
    variable = setting.variables[0]
    (tmp_path / ".env").write_text(f"{variable}={dotenv}\n")

    def value(**sources) -> tuple[str | None, str]:
        loaded = load_settings(**sources)
        rendered = {row[0]: row for row in render_settings(loaded)}
        return rendered[setting.name][1], rendered[setting.name][2]

    in_environ = {variable: environ}
    in_flags = {setting.name: flag}
    assert value(flags=in_flags, environ=in_environ) == (flag, f"flag {setting.flag}")
    assert value(environ=in_environ) == (environ, f"environment {variable}")
    assert value(environ={}) == (dotenv, f".env {variable}")
    (tmp_path / ".env").unlink()
    assert value(environ={}) == (setting.default, "default")


def test_an_empty_variable_counts_as_not_set() -> None:
    loaded = load_settings(environ={"USERMGR_DATABASE_URL": "", "DATABASE_URL": "sqlite:///x.db"})
    assert loaded.database_url == "sqlite:///x.db"
    assert loaded.sources["database_url"] == "environment DATABASE_URL"


def test_our_variable_wins_over_the_general_one() -> None:
    environ = {"DATABASE_URL": "sqlite:///general.db", "USERMGR_DATABASE_URL": "sqlite:///ours.db"}
    assert load_settings(environ=environ).database_url == "sqlite:///ours.db"


def test_another_env_file_is_read_instead(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("USERMGR_ACTOR=wrong\n")
    other = tmp_path / "ci.env"
    other.write_text("\ufeffUSERMGR_ACTOR='pipe line'\n", encoding="utf-8")
    assert load_settings(environ={}, env_file=other).actor == "pipe line"


def test_an_env_file_that_is_named_must_exist(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as raised:
        load_settings(environ={}, env_file=tmp_path / "none.env")
    assert raised.value.message == f'the environment file "{tmp_path}/none.env" does not exist'


def test_an_env_file_may_be_a_pipe() -> None:
    """What a shell writes for ``--env-file <(decrypt e.env)``."""
    read, write = os.pipe()
    os.write(write, b"USERMGR_ACTOR=ana\n")
    os.close(write)
    try:
        assert load_settings(environ={}, env_file=Path(f"/dev/fd/{read}")).actor == "ana"
    finally:
        os.close(read)


def test_a_folder_is_no_env_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as raised:
        load_settings(environ={}, env_file=tmp_path)
    assert raised.value.message.startswith(f'the environment file "{tmp_path}" cannot be read: ')


def test_a_dollar_sign_in_a_password_is_a_dollar_sign(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("USERMGR_DATABASE_URL=postgresql://u:a${HOME}b@h/d\n")
    url = "postgresql+psycopg2://u:a${HOME}b@h/d"
    assert load_settings(environ={}).database_url == url


def test_libpq_variables_of_the_file_reach_the_connection_unless_the_environment_has_them(
    tmp_path: Path,
) -> None:
    (tmp_path / ".env").write_text("PGHOST=from-file\nPGPASSWORD=secret\nPGSSLMODE=require\n")
    loaded = load_settings(environ={"PGHOST": "from-environment"})
    assert loaded.libpq == {"password": "secret", "sslmode": "require"}
    assert "secret" not in repr(loaded)


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ("postgres://u@h/d", "postgresql+psycopg2://u@h/d"),
        (
            "postgresql://u@h:5433/d?sslmode=require",
            "postgresql+psycopg2://u@h:5433/d?sslmode=require",
        ),
        ("postgresql+psycopg2://u@h/d", "postgresql+psycopg2://u@h/d"),
        ("postgresql://", "postgresql+psycopg2://"),
        ("postgresql:///d?host=/run/postgresql", "postgresql+psycopg2:///d?host=/run/postgresql"),
        ("sqlite:///a.db", "sqlite:///a.db"),
        ("sqlite:////var/a.db", "sqlite:////var/a.db"),
    ],
)
def test_urls_that_are_understood(given: str, normal: str) -> None:
    assert normalise_database_url(given) == normal


@pytest.mark.parametrize(
    "given",
    [
        "mysql://root:secret@h/d",
        "postgresql+psycopg://u:secret@h/d",
        "postgresql://u:secret@h:port/d",
        "postgresql://u:sec#ret@h/d",
        "secret",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///a.db?mode=ro",
        "",
    ],
)
def test_urls_that_are_refused_without_telling_the_password(given: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        normalise_database_url(given, source="environment X")
    assert raised.value.hint
    assert "secret" not in raised.value.message
    assert "ret@" not in raised.value.message


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("postgresql://u:p@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u:p%40:/x@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u:p@ss@h/d", "postgresql://u:***@h/d"),
        ("postgresql:///d?user=u&password=p&x=1", "postgresql:///d?user=u&password=***&x=1"),
        ("postgresql://u@h/d", "postgresql://u@h/d"),
        ("sqlite:///a.db", "sqlite:///a.db"),
    ],
)
def test_passwords_in_urls_are_masked(url: str, masked: str) -> None:
    assert mask_url(url) == masked
    assert url_has_password(url) == (url != masked)


@pytest.mark.parametrize(
    ("url", "description"),
    [
        ("postgresql+psycopg2://u:p@h:5433/d", "postgresql://h:5433/d"),
        ("postgresql+psycopg2:///d?host=/run/pg", "postgresql:///d?host=/run/pg"),
        ("sqlite:///a.db", "sqlite:///a.db"),
    ],
)
def test_a_database_is_described_without_user_and_password(url: str, description: str) -> None:
    assert describe_database(url) == description


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("USERMGR_OUTPUT", "xml", 'unknown output format "xml" (environment USERMGR_OUTPUT)'),
        ("USERMGR_LOCK_TIMEOUT", "-1", '"-1" (environment USERMGR_LOCK_TIMEOUT) is not a number'),
        ("USERMGR_CONNECT_TIMEOUT", "nan", '"nan" (environment USERMGR_CONNECT_TIMEOUT) is not'),
        ("USERMGR_PASSWORD_MIN_LENGTH", "7", '"7" (environment USERMGR_PASSWORD_MIN_LENGTH) is'),
        ("USERMGR_DB_SCHEMA", "a;b", '"a;b" (environment USERMGR_DB_SCHEMA) is not a schema name'),
        ("USERMGR_DB_SCHEMA", "pg_foo", 'the schema "pg_foo" (environment USERMGR_DB_SCHEMA) is'),
        ("USERMGR_DB_SCHEMA", "pg_temp", 'the schema "pg_temp" (environment USERMGR_DB_SCHEMA) is'),
        (
            *("USERMGR_DB_SCHEMA", "information_schema"),
            'the schema "information_schema" (environment USERMGR_DB_SCHEMA) is one of PostgreSQL',
        ),
        (
            *("USERMGR_HTTP_BODY_MAX", "1023"),
            '"1023" (environment USERMGR_HTTP_BODY_MAX) is not a number of bytes',
        ),
        (
            *("USERMGR_HTTP_CORS_ORIGINS", "https://a, *"),
            '"*" (environment USERMGR_HTTP_CORS_ORIGINS) is not an origin',
        ),
        ("USERMGR_ACTOR", "a\nb", '"a\\nb" (environment USERMGR_ACTOR) contains a character'),
    ],
)
def test_a_value_that_is_refused_is_named_with_its_source(
    variable: str, value: str, message: str
) -> None:
    with pytest.raises(InvalidInput) as raised:
        load_settings(environ={variable: value})
    assert raised.value.message.startswith(message)


def test_the_example_file_names_every_setting_with_its_default() -> None:
    from io import StringIO

    from dotenv import dotenv_values

    from tests.support.commands import PROJECT

    text = (PROJECT / ".env.example").read_text(encoding="utf-8")
    before_examples = text.partition("# The challenge's flow")[0]
    settings = before_examples.replace("\n#USERMGR", "\nUSERMGR")
    named = dotenv_values(stream=StringIO(settings))
    assert named == {s.variables[0]: s.default or "" for s in SETTINGS}
    loaded = load_settings(environ={k: v for k, v in named.items() if v is not None})
    assert loaded.database_url == "sqlite:///usermgr.db"


@pytest.mark.parametrize("variable", ["PGHOST", "PGPORT", "PGDATABASE", "PGUSER", "PGSERVICE"])
def test_libpq_variables_choose_postgresql_where_no_url_is_given(
    tmp_path: Path, variable: str
) -> None:
    loaded = load_settings(environ={variable: "x"})
    assert loaded.database_url == "postgresql+psycopg2://"
    assert loaded.sources["database_url"] == f"environment {variable}"
    assert not loaded.is_embedded_default
    with_url = load_settings(environ={variable: "x", "DATABASE_URL": "sqlite:///a.db"})
    assert with_url.database_url == "sqlite:///a.db"
    (tmp_path / ".env").write_text(f"{variable}=x\n")
    assert load_settings(environ={}).sources["database_url"] == f".env {variable}"


def test_a_line_of_the_env_file_that_is_not_understood_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text('USERMGR_ACTOR=ana\nbad line = = "\n')
    with pytest.raises(InvalidInput) as raised:
        load_settings(environ={})
    assert raised.value.message == 'line 2 of the environment file ".env" is not understood'


def test_a_nul_in_the_env_file_is_told_by_its_line(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PGUSER=ana\nPGPASSWORD=sEc\0ReT\n")
    with pytest.raises(InvalidInput) as raised:
        load_settings(environ={})
    assert raised.value.message == 'line 2 of the environment file ".env" is not understood'


@pytest.mark.parametrize(
    ("memory", "passes", "lanes"),
    [("47104", "1", "1"), ("12288", "3", "1"), ("7168", "5", "1"), ("262144", "4", "64")],
)
def test_argon2_parameters_between_the_minimum_and_the_caps(
    memory: str, passes: str, lanes: str
) -> None:
    loaded = load_settings(environ=_argon2(memory, passes, lanes))
    assert str(loaded.hash_costs) == f"m={memory},t={passes},p={lanes}"


@pytest.mark.parametrize(
    ("memory", "passes", "lanes", "told"),
    [
        ("19456", "1", "1", "the password hash m=19456,t=1,p=1 is below OWASP's minimum"),
        ("7167", "9", "1", "the password hash m=7167,t=9,p=1 is below OWASP's minimum"),
        ("262144", "5", "1", "the password hash m=262144,t=5,p=1 would take too much memory"),
        ("262145", "1", "1", '"262145" (environment USERMGR_ARGON2_MEMORY) is not a memory size'),
        ("19456", "0", "1", '"0" (environment USERMGR_ARGON2_PASSES) is not a number of passes'),
        ("19456", "2", "65", '"65" (environment USERMGR_ARGON2_LANES) is not a number of lanes'),
        ("19456", "two", "1", '"two" (environment USERMGR_ARGON2_PASSES) is not a number of'),
    ],
)
def test_argon2_parameters_that_are_refused(
    memory: str, passes: str, lanes: str, told: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        load_settings(environ=_argon2(memory, passes, lanes))
    assert refused.value.message.startswith(told)


def _argon2(memory: str, passes: str, lanes: str) -> dict[str, str]:
    names = ("MEMORY", "PASSES", "LANES")
    values = (memory, passes, lanes)
    return {f"USERMGR_ARGON2_{name}": text for name, text in zip(names, values, strict=True)}
