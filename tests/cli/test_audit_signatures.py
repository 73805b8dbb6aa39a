"""Signed seals: Ed25519 keys as openssl makes them."""

from __future__ import annotations

import subprocess
from base64 import b64decode
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from tests.support.commands import Command
from tests.support.people import create_company
from tests.support.tampering import tamper

pytestmark = pytest.mark.any_database

MAKE_ONE = "hint: make one with: openssl genpkey -algorithm ed25519 -out FILE\n"
PUBLISH = "hint: make it from the key with: openssl pkey -in KEY -pubout -out FILE\n"
PEM = serialization.Encoding.PEM


def _write(name: str, key: PrivateKeyTypes, *, password: bytes | None = None) -> None:
    """The key in NAME.pem, and its public half in NAME.pub."""
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password:
        encryption = serialization.BestAvailableEncryption(password)
    pem = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, encryption)
    Path(f"{name}.pem").write_bytes(pem)
    public = key.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    Path(f"{name}.pub").write_bytes(public)


@pytest.fixture(autouse=True)
def keys() -> None:
    """In the test's folder: two keys, one that is encrypted, one of another kind, and no key."""
    for name in ("ours", "theirs"):
        _write(name, ed25519.Ed25519PrivateKey.generate())
    _write("locked", ed25519.Ed25519PrivateKey.generate(), password=b"secret")
    _write("other", ec.generate_private_key(ec.SECP256R1()))
    Path("text.pem").write_text("no key\n")


def test_a_signed_seal(cli: Command) -> None:
    create_company(cli)

    done = cli("audit", "seal", "--key", "ours.pem", "-o", "json")

    assert (done.exit_code, done.stderr) == (0, "")
    key = serialization.load_pem_public_key(Path("ours.pub").read_bytes())
    assert isinstance(key, ed25519.Ed25519PublicKey)
    assert b64decode(done.json["public_key"]) == key.public_bytes_raw()
    signed = f"usermgr seal {done.json['digest']}".encode()
    key.verify(b64decode(done.json["signature"]), signed)
    verified = cli("audit", "verify", "--public-key", "ours.pub", "-o", "json")
    assert (verified.exit_code, verified.stderr) == (0, "")
    assert verified.json["digest"] == done.json["digest"]


def test_only_the_newest_seal_has_to_be_signed(cli: Command) -> None:
    create_company(cli)
    cli("audit", "seal")
    cli("user", "disable", "1")
    cli("audit", "seal", "--key", "ours.pem")
    assert cli("audit", "verify", "--public-key", "ours.pub").exit_code == 0

    cli("user", "enable", "1")
    cli("audit", "seal")

    done = cli("audit", "verify", "--public-key", "ours.pub", "-o", "json")
    assert (done.exit_code, done.stdout) == (8, "")
    assert '"message": "seal 3, the newest, is not signed"' in done.stderr


def test_a_seal_that_is_there_already_is_not_signed_later(cli: Command) -> None:
    create_company(cli)
    cli("audit", "seal")

    done = cli("audit", "seal", "--key", "ours.pem", "-o", "json")

    assert (done.exit_code, done.json["signature"]) == (0, None)
    assert done.stderr == (
        "note: nothing to seal since seal 1, which is not signed: it stays so until something"
        " changes\n"
    )
    cli("user", "disable", "1")
    cli("audit", "seal", "--key", "ours.pem")
    again = cli("audit", "seal", "--key", "ours.pem")
    assert again.stderr == "note: nothing to seal since seal 2\n"


@pytest.mark.parametrize(
    "words", [("--public-key", "ours.pub"), ("--anchor", "0" * 64)], ids=["key", "anchor"]
)
def test_a_database_without_a_seal_is_not_accused(cli: Command, words: tuple[str, ...]) -> None:
    create_company(cli)
    done = cli("audit", "verify", *words)
    assert (done.exit_code, done.stdout) == (8, "")
    assert done.stderr == (
        "error: this database has no seal\n"
        "hint: look whether it is the right one with: usermgr config show; the first seal is made"
        " by usermgr audit seal\n"
    )


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("UPDATE seals SET signature = NULL", "is not signed"),
        ("UPDATE seals SET signature = 'QUJD'", "has a signature of another key"),
        ("UPDATE seals SET signature = '§'", "has a signature of another key"),
    ],
)
def test_signatures_that_are_none(
    cli: Command, database_url: str, statement: str, told: str
) -> None:
    create_company(cli)
    cli("audit", "seal", "--key", "ours.pem")
    tamper(database_url, statement)
    done = cli("audit", "verify", "--public-key", "ours.pub")
    assert (done.exit_code, done.stdout) == (8, "")
    assert done.stderr.splitlines()[0] == f"error: seal 1, the newest, {told}"


def test_seals_that_were_made_anew_have_a_signature_of_another_key(
    cli: Command, database_url: str
) -> None:
    create_company(cli)
    cli("audit", "seal", "--key", "ours.pem")
    tables = ("seals", "seal_blocks", "sealed_operations")
    tamper(
        database_url,
        "UPDATE operations SET actor = 'mallory'",
        *(f"DELETE FROM {table}" for table in tables),
    )
    none = cli("audit", "verify", "--public-key", "ours.pub")
    assert (none.exit_code, none.stderr.splitlines()[0]) == (8, "error: this database has no seal")
    cli("audit", "seal", "--key", "theirs.pem")
    assert cli("audit", "verify", "--public-key", "theirs.pub").exit_code == 0

    done = cli("audit", "verify", "--public-key", "ours.pub")

    assert (done.exit_code, done.stdout) == (8, "")
    assert done.stderr == (
        "error: seal 1, the newest, has a signature of another key\n"
        "hint: look whether this is the key; if it is, somebody else has made the seals anew\n"
    )


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE seals SET signature = 'QUJD' WHERE id = 1",
        "UPDATE seals SET public_key = 'QUJD'",
        "UPDATE users SET created_in = 1",
    ],
)
def test_what_no_digest_covers_is_as_documented(
    cli: Command, database_url: str, statement: str
) -> None:
    """docs/security.md says so outright; where that ends, it has to say something else."""
    create_company(cli)
    cli("audit", "seal", "--key", "ours.pem")
    cli("user", "disable", "1")
    cli("audit", "seal", "--key", "ours.pem")
    tamper(database_url, statement)
    assert cli("audit", "verify", "--public-key", "ours.pub").exit_code == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("seal", "--key", "text.pem"),
            f'"text.pem" holds no private Ed25519 key in PEM\n{MAKE_ONE}',
        ),
        (
            ("seal", "--key", "ours.pub"),
            f'"ours.pub" holds no private Ed25519 key in PEM\n{MAKE_ONE}',
        ),
        (
            ("seal", "--key", "other.pem"),
            f'"other.pem" holds no private Ed25519 key in PEM\n{MAKE_ONE}',
        ),
        (
            ("seal", "--key", "locked.pem"),
            (
                'the key in "locked.pem" is encrypted\n'
                "hint: pass an unencrypted one, readable to nobody else\n"
            ),
        ),
        (
            ("seal", "--key", "none.pem"),
            (
                'the key file "none.pem" cannot be read: No such file or directory\n'
                "hint: check its name, and that it is a file you may read\n"
            ),
        ),
        (
            ("verify", "--public-key", "ours.pem"),
            f'"ours.pem" holds no public Ed25519 key in PEM\n{PUBLISH}',
        ),
        (
            ("verify", "--public-key", "other.pub"),
            f'"other.pub" holds no public Ed25519 key in PEM\n{PUBLISH}',
        ),
    ],
)
def test_files_without_the_key(cli: Command, words: tuple[str, ...], message: str) -> None:
    create_company(cli)
    done = cli("audit", *words)
    assert (done.exit_code, done.stdout, done.stderr) == (2, "", f"error: {message}")
    assert cli("audit", "verify", "-o", "json").json["seals"] == 0


def test_a_key_that_openssl_made(cli: Command) -> None:
    made = ["openssl", "genpkey", "-algorithm", "ed25519", "-out", "key.pem"]
    try:
        subprocess.run(made, check=True, capture_output=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("there is no openssl here")
    public = ["openssl", "pkey", "-in", "key.pem", "-pubout", "-out", "key.pub"]
    subprocess.run(public, check=True, capture_output=True, timeout=60)
    create_company(cli)
    assert cli("audit", "seal", "--key", "key.pem").exit_code == 0
    assert cli("audit", "verify", "--public-key", "key.pub").exit_code == 0
