"""The wheel works where the checkout is not, and the source distribution makes the same wheel."""

from __future__ import annotations

import email
import json
import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import usermgr
from tests.support.commands import PROJECT

DDL = "1_create_database_ddl.sql"


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source distribution of the checkout."""
    return _build(PROJECT, tmp_path_factory.mktemp("dist"), "sdist", "wheel")


def test_the_wheel_holds_the_package_the_migrations_and_the_ddl(distributions: Path):
    packaged = _files(PROJECT / "usermgr", "usermgr")
    packaged |= _files(PROJECT / "migrations", "usermgr/_migrations")
    packaged[f"usermgr/_migrations/{DDL}"] = (PROJECT / DDL).read_bytes()

    assert "usermgr/_migrations/env.py" in packaged
    assert "usermgr/api/assets/swagger-ui-bundle.js" in packaged
    assert _wheel_content(distributions) == packaged


def test_the_source_distribution_makes_the_same_wheel(distributions: Path, tmp_path: Path):
    with tarfile.open(next(distributions.glob("*.tar.gz"))) as archive:
        archive.extractall(tmp_path, filter="data")
    source = tmp_path / f"usermgr-{usermgr.__version__}"

    rebuilt = _build(source, tmp_path / "rebuilt", "wheel")

    assert _wheel_content(rebuilt) == _wheel_content(distributions)
    for name in ("README.md", "CHANGELOG.md", "LICENSE", ".env.example", "tests/conftest.py"):
        assert (source / name).read_bytes() == (PROJECT / name).read_bytes()


def test_the_installed_wheel_creates_and_lists_users_outside_the_checkout(
    distributions: Path, tmp_path: Path
):
    environment = tmp_path / "environment"
    _install(next(distributions.glob("*.whl")), environment)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    def installed(*argv: str) -> str:
        done = subprocess.run(
            [environment / "bin" / "usermgr", *argv],
            capture_output=True,
            text=True,
            env=_clean_environment() | {"USERMGR_DATABASE_URL": "sqlite:///users.db"},
            cwd=elsewhere,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    installed("schema", "init")
    installed("role", "create", "editor")
    installed("user", "create", "--name=Ada", "--email=ada@example.org", "--role=editor")

    assert installed("--version") == f"usermgr {usermgr.__version__}\n"
    assert installed("schema", "ddl") == (PROJECT / DDL).read_text()
    listed = json.loads(installed("user", "list", "-o", "json", "--fields", "email,role"))
    assert listed == [{"email": "ada@example.org", "role": "editor"}]


def _build(project: Path, folder: Path, *targets: str) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    for target in targets:
        command += ["-t", target]
    subprocess.run(command, check=True, cwd=project, env=_clean_environment(), capture_output=True)
    return folder


def _install(wheel: Path, environment: Path) -> None:
    """Make an environment of the wheel and of what it requires, which pip looks through.

    What it requires is here already, so there is nothing to fetch; nothing else that is here can be
    imported there.
    """
    venv.create(environment)
    python = environment / "bin" / "python"
    asked = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    packages = Path(subprocess.check_output(asked, text=True).strip())
    for path in set(_installed(*_requirements(wheel))):
        (packages / path.name).symlink_to(path)
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    install = [*pip, "install", "--quiet", "--no-index", str(wheel)]
    subprocess.run(install, check=True, env=_clean_environment())


def _requirements(wheel: Path) -> list[str]:
    """What the metadata of the wheel asks for."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        found = email.message_from_bytes(archive.read(name)).get_all("Requires-Dist")
    assert found
    return found


def _installed(*requirements: str) -> Iterator[Path]:
    """Where the required packages stand here, and all that they require in turn."""
    asked, seen = [(Requirement(text), "") for text in requirements], set()
    while asked:
        requirement, extra = asked.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        distribution = metadata.distribution(requirement.name)
        for wanted in ("", *requirement.extras):
            if (distribution.name, wanted) not in seen:
                seen.add((distribution.name, wanted))
                asked += [(Requirement(text), wanted) for text in distribution.requires or []]
        tops = {file.parts[0] for file in distribution.files or []} - {"..", "__pycache__"}
        yield from (Path(str(distribution.locate_file(top))) for top in tops)


def _clean_environment() -> dict[str, str]:
    """Ours, in which pip finds its settings, without the way to the checkout."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}


def _files(folder: Path, prefix: str) -> dict[str, bytes]:
    """Every file of a folder of the checkout, but what Python compiled."""
    return {
        f"{prefix}/{path.relative_to(folder).as_posix()}": path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def _wheel_content(folder: Path) -> dict[str, bytes]:
    """Every file of the wheel but its metadata."""
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        return {name: wheel.read(name) for name in wheel.namelist() if ".dist-info/" not in name}
