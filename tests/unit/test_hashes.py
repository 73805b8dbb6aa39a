"""Password hashes: every format as its own project publishes it, and what would cost too much."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.published_hashes import PUBLISHED_HASHES
from usermgr.hash_limits import DEFAULT_COSTS
from usermgr.hashes import find_problems, hash_problem, is_too_costly
from usermgr.hashes.deriving import matches
from usermgr.hashes.reading import Hash
from usermgr.hashes.recipes import Recipe
from usermgr.hashes.strength import Strength, assess
from usermgr.passwords import verify_password, wrap_hash

ALL = [*PUBLISHED_HASHES, "!", "!$6$locked by an administrator"]


@pytest.mark.parametrize("stored", ALL)
def test_what_is_published_is_recognised(stored: str) -> None:
    assert hash_problem(stored) is None
    assert find_problems([stored, stored]) == {}


@pytest.mark.parametrize(
    "stored",
    [
        "",
        "plain text",
        "*",
        "$2b$12$tooshort",
        "$2z$04$cVWp4XaNU8a4v1uMRum2SO026BWLIoQMD/TXg5uZV.0P.uO8m3YEm",
        "$argon2x$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
        "$argon2id$v=19$m=65536,t=2$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
        "$argon2id$v=19$m=٦٥,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
        "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY",
        "$5$:alt$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5",
        "$pbkdf2-sha256$6400$0ZrzXitFSGltTQnBWOsdAw$",
        "pbkdf2_sha256$" + "9" * 11 + "$seasalt$8xBlGd3jVgvJ+92hWPxi5ww0uuAuAnKgC45eudxro7c=",
        "pbkdf2_sha256$1$seasalt$" + "A" * 172,
        "{SSHA}",
        "{CRYPT}$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7",
        "{CRYPT}anything of this length",
        "5f4dcc3b5aa765d61d8327deb882cf99",
        "5baa61e4c9b93f3f0682250b6cf8331b7ee68fd8",
        "{MD5}5f4dcc3b5aa765d61d8327deb882cf9",
        "{SHA}5en6G6MezRroT3XKqkdPOmY/Bf",
        "{SSHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
        "{CRYPT}$2z$04$cVWp4XaNU8a4v1uMRum2SO026BWLIoQMD/TXg5uZV.0P.uO8m3YEm",
        "$pbkdf2-sha3$6400$0ZrzXitFSGltTQnBWOsdAw$Y11AchqV4b0sUisdZd0Xr97KWoymNE0LNNrnEgY4H9M",
        "pbkdf2:sha1:2$salt$not hexadecimal at all",
        # dotnet/aspnetcore, PasswordHasherTest.cs: too short, and with data at the end.
        "AAABAgMEBQYHCAkKCwwNDg+ukCEMDf0yyQ29NYubggE=",
        "AAABAgMEBQYHCAkKCwwNDg+ukCEMDf0yyQ29NYubggHIVY0sdEUfdyeM+E1LtH1uJgAAAAAAAAAAAAA=",
        "AQAAAAIAAAAyAAAAEOMwvh3+FZxqkdMBz2ekgGhwQ4A=",
        '{"credentialData": {}, "secretData": {}}',
        '{"credentialData": 1, "secretData": "a text that is no JSON"}',
        '{"name": "an object of somebody else"}',
        (
            '{"credentialData": {"algorithm": "pbkdf2", "hashIterations": 1e999}, "secretData": '
            '{"value": "aGFzaA==", "salt": "c2FsdA=="}}'
        ),
        (
            '{"credentialData": {"algorithm": "argon2", "hashIterations": 1, '
            '"additionalParameters": {"type": [], "memory": ["-1"]}}, '
            '"secretData": {"value": "aGFzaA==", "salt": "c2FsdA=="}}'
        ),
        "{" * 1500,
        "[" * 1500,
        "$P$9IQRaTwmfeRo7ud9Fh4E2PdI0S3r!L0",
        "!\x7f",
        "!é",
    ],
)
def test_what_is_in_no_format_is_refused_and_not_shown(stored: str) -> None:
    reason = "the password hash is in no format that is recognised"
    assert hash_problem(stored) == reason
    assert find_problems([ALL[0], stored]) == {1: reason}
    assert is_too_costly(stored) is False


@pytest.mark.parametrize("stored", ALL)
def test_nothing_may_stand_around_a_hash(stored: str) -> None:
    assert hash_problem(" " + stored) is not None
    for end in ("\n", "\r", "\t", "\x00", "\u2028", "\n" + stored):
        assert hash_problem(stored + end) is not None
        assert find_problems([stored, stored + end]) != {}


B64 = "c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA"
ROUNDS = [
    "$pbkdf2-sha256${}$" + B64,
    "$pbkdf2${}$" + B64,
    "pbkdf2_sha256${}$" + B64,
    "pbkdf2:sha512:{}$c2FsdHNhbHQ$" + "0a" * 20,
    "$pbkdf2-sha512$i={},l=20$" + B64,
    "{{PBKDF2-SHA512}}{}$" + B64,
    "$5$rounds={}$salt$" + "a" * 43,
    "$6$rounds={}$salt$" + "a" * 86,
    "{{CRYPT}}$6$rounds={}$salt$" + "a" * 86,
]


@pytest.mark.parametrize("form", ROUNDS)
def test_five_million_rounds_are_the_most(form: str) -> None:
    assert hash_problem(form.format(5_000_000)) is None
    for rounds in (5_000_001, 9_999_999_999):
        stored = form.format(rounds)
        told = f"the {rounds} rounds of the password hash are more than 5000000"
        assert hash_problem(stored) == told
        assert find_problems([form.format(1), stored]) == {1: told}
        assert is_too_costly(stored)


@pytest.mark.parametrize(
    "stored",
    [
        "$firebase-scrypt$m=2000000000,r=0,sk=aa,ss=$" + B64,
        "$firebase-scrypt$r=0,m=64,sk=aa,ss=$" + B64,
        "$firebase-scrypt$r=8,m=0,sk=aa,ss=$" + B64,
        "$scrypt$ln=9999999999,r=0,p=1$" + B64,
        "$scrypt$ln=0,r=8,p=1$" + B64,
        "$scrypt$ln=14,r=8,p=0$" + B64,
        "scrypt:0:8:1$salt$" + "0a" * 20,
        "scrypt$16384$salt$0$1$aGFzaA==",
        "$argon2id$v=19$m=19456,t=0,p=1$" + B64,
        "$argon2id$v=19$m=0,t=2,p=1$" + B64,
        "$argon2id$v=19$m=19456,t=2,p=0$" + B64,
        "$2b$03$" + "a" * 53,
        "$usermgr-wrap$firebase-scrypt$r=0,m=2000000000,sk=aa,ss=,s=$argon2id$v=19$m=8,t=1,p=1$"
        + B64,
        *(form.format(0) for form in ROUNDS),
    ],
)
def test_costs_that_make_no_sense_are_refused(stored: str) -> None:
    assert hash_problem(stored) == "the password hash is in no format that is recognised"
    assert find_problems([ALL[0], stored]) != {}
    assert verify_password(stored, "secret") is False
    assert assess(stored, DEFAULT_COSTS).strength is Strength.UNRECOGNISED


@pytest.mark.parametrize("costs", ["m=2000000000,r=8", "r=8,m=64"])
def test_what_is_too_costly_is_described_without_computing_it(costs: str) -> None:
    for stored in (
        f"$firebase-scrypt${costs},sk=aa,ss=${B64}",
        f"$scrypt$ln=9999999999,r=1,p=1${B64}",
    ):
        assert assess(stored, DEFAULT_COSTS).strength is Strength.TOO_COSTLY


@pytest.mark.parametrize("number", [2**60, 2**400])
def test_memory_that_is_not_there_matches_nothing(number: int) -> None:
    costs = {"n": str(number), "r": "8", "p": "1", "l": "32"}
    assert matches(Hash(Recipe("scrypt", costs, b"salt"), bytes(32)), b"secret") is False


def _aspnet(rounds: int) -> str:
    head = bytes([1]) + b"".join(number.to_bytes(4, "big") for number in (2, rounds, 16))
    return base64.b64encode(head + bytes(16) + bytes(32)).decode()


def _keycloak(algorithm: str, rounds: int, **more: str) -> str:
    data = {
        "algorithm": algorithm,
        "hashIterations": rounds,
        "additionalParameters": {name: [value] for name, value in more.items()},
    }
    secret = {"value": "aGFzaA==", "salt": "c2FsdHNhbHQ="}
    return json.dumps({"credentialData": json.dumps(data), "secretData": json.dumps(secret)})


def test_a_number_of_many_digits_is_told_shortly() -> None:
    stored = _keycloak("pbkdf2", int("7" * 1800))
    told = "the 7e1799 rounds of the password hash are more than 5000000"
    assert hash_problem(stored) == told
    assert find_problems([ALL[0], stored]) == {1: told}


def _long_keycloak(size: int) -> str:
    return _keycloak("pbkdf2", 1).replace("aGFzaA==", base64.b64encode(bytes(size)).decode())


def _long_aspnet(size: int) -> str:
    head = bytes([1]) + b"".join(number.to_bytes(4, "big") for number in (2, 1000, 16))
    return base64.b64encode(head + bytes(16) + bytes(size)).decode()


@pytest.mark.parametrize(
    "form",
    [
        _long_keycloak,
        _long_aspnet,
        lambda size: "pbkdf2:sha512:1$salt$" + "0a" * size,
        lambda size: "$pbkdf2-sha512$1$c2FsdA$" + base64.b64encode(bytes(size)).decode(),
        lambda size: "{PBKDF2}1$c2FsdA$" + base64.b64encode(bytes(size)).decode().rstrip("="),
    ],
)
def test_a_digest_has_128_bytes_at_most(form: Callable[[int], str]) -> None:
    assert hash_problem(form(128)) is None
    assert hash_problem(wrap_hash(form(128)) or "") is None
    for size in (129, 136):
        told = "the password hash is in no format that is recognised"
        assert hash_problem(form(size)) == told
        assert find_problems([form(128), form(size)]) == {1: told}
        assert wrap_hash(form(size)) is None


def test_what_could_not_be_read_again_is_not_wrapped() -> None:
    stored = _keycloak("pbkdf2", 1).replace("c2FsdHNhbHQ=", "c2Fs" * 150)
    assert hash_problem(stored) is None
    assert wrap_hash(stored) is None


def test_a_recipe_in_the_alphabet_of_urls_is_wrapped() -> None:
    wrapped = wrap_hash("$firebase-scrypt$r=1,m=4,sk=a_-b,ss=_-$" + B64)
    assert hash_problem(wrapped or "") is None


AROUND = "$argon2id$v=19$m=19456,t=2,p=1$" + B64


@pytest.mark.parametrize(
    ("good", "bad", "told"),
    [
        (_aspnet(5_000_000), _aspnet(5_000_001), "5000001 rounds"),
        (_aspnet(1), _aspnet(2**30 - 1), "1073741823 rounds"),
        (_keycloak("pbkdf2", 5_000_000), _keycloak("pbkdf2-sha512", 5_000_001), "5000001 rounds"),
        (
            _keycloak("argon2", 4, type="id", version="1.3", memory="262144", parallelism="1"),
            _keycloak("argon2", 1, type="id", version="1.3", memory="262145", parallelism="1"),
            "256 MiB",
        ),
        (
            "$firebase-scrypt$r=8,m=18,sk=aa,ss=$" + B64,
            "$firebase-scrypt$r=9,m=18,sk=aa,ss=$" + B64,
            "256 MiB",
        ),
        (
            "$firebase-scrypt$r=8,m=1,sk=aa,ss=Bw==$" + B64,
            "$firebase-scrypt$m=9999999999,r=1,sk=aa,ss=Bw==$" + B64,
            "256 MiB",
        ),
        (
            "$usermgr-wrap$pbkdf2$d=sha1,i=5000000,l=20,s=" + AROUND,
            "$usermgr-wrap$pbkdf2$d=sha1,i=5000001,l=20,s=" + AROUND,
            "5000001 rounds",
        ),
        (
            "$usermgr-wrap$phpass$c=22,s=" + AROUND,
            "$usermgr-wrap$phpass$c=23,s=" + AROUND,
            "8388608 rounds",
        ),
        (
            "$usermgr-wrap$bcrypt$v=2b,c=15,s=" + AROUND,
            "$usermgr-wrap$bcrypt$v=2b,c=16,s=" + AROUND,
            "cost 16",
        ),
        (
            "$usermgr-wrap$scrypt$n=262144,r=8,p=4,l=32,s=" + AROUND,
            "$usermgr-wrap$scrypt$n=262144,r=8,p=5,l=32,s=" + AROUND,
            "too many passes",
        ),
        (
            "$usermgr-wrap$digest$d=md5,s=" + AROUND,
            "$usermgr-wrap$digest$d=md5,s=" + AROUND.replace("m=19456", "m=1945600"),
            "256 MiB",
        ),
    ],
)
def test_so_are_those_inside_of_structures(good: str, bad: str, told: str) -> None:
    assert hash_problem(good) is None
    assert not is_too_costly(good)
    assert told in (hash_problem(bad) or "")
    assert find_problems([good, bad]) == {1: hash_problem(bad)}
    assert is_too_costly(bad)
    assert verify_password(bad, "secret") is False


@pytest.mark.parametrize("form", ["$P${}", "$H${}"])
def test_so_they_are_where_a_letter_stands_for_them(form: str) -> None:
    """2 to the power of the letter's place in ./0-9A-Za-z, says Openwall's phpass."""
    assert hash_problem(form.format("K" + "a" * 30)) is None
    told = "the 8388608 rounds of the password hash are more than 5000000"
    assert hash_problem(form.format("L" + "a" * 30)) == told
    assert is_too_costly(form.format("S" + "a" * 30))


@pytest.mark.parametrize("form", ["$2b${}$", "$2a${}$", "bcrypt$$2b${}$", "{{CRYPT}}$2y${}$"])
def test_fifteen_is_the_highest_cost_of_bcrypt(form: str) -> None:
    assert hash_problem(form.format("15") + "a" * 53) is None
    stored = form.format("16") + "a" * 53
    assert hash_problem(stored) == "the bcrypt cost 16 of the password hash is above 15"
    assert is_too_costly(stored)


@pytest.mark.parametrize(
    ("form", "good", "bad"),
    [
        ("$argon2id$v=19${}$" + B64, "m=262144,t=4,p=1", "m=262145,t=1,p=1"),
        ("argon2$argon2i${}$" + B64, "m=262144,t=4,p=1", "m=9999999999,t=1,p=1"),
        ("$scrypt${}$" + B64, "ln=18,r=8,p=4", "ln=18,r=9,p=1"),
        ("$scrypt${}$" + B64, "ln=20,r=2,p=1", "ln=9999999999,r=8,p=1"),
        ("$scrypt${}$" + B64, "ln=1,r=1,p=99", "ln=1,r=1,p=2097153"),
        ("scrypt:{}$salt$" + "0a" * 20, "262144:8:4", "262145:8:1"),
        ("scrypt${}$" + B64.partition("$")[2], "262144$salt$8$4", "262144$99$9$1"),
        ("scrypt${}$" + B64.partition("$")[2], "262144$99999999999$8$4", "524288$salt$8$1"),
    ],
)
def test_a_quarter_of_a_gigabyte_is_the_most(form: str, good: str, bad: str) -> None:
    assert hash_problem(form.format(good)) is None
    told = "the password hash needs more than 256 MiB of memory"
    assert hash_problem(form.format(bad)) == told
    assert find_problems([form.format(good), form.format(bad)]) == {1: told}
    assert is_too_costly(form.format(bad))


@pytest.mark.parametrize(
    "stored",
    [
        "$argon2id$v=19$m=262144,t=5,p=1$" + B64,
        "$argon2d$v=19$m=8,t=9999999999,p=1$" + B64,
        "$argon2d$v=19$m=65536,t=1,p=65$" + B64,
        "$scrypt$ln=18,r=8,p=5$" + B64,
        "scrypt:262144:8:5$salt$" + "0a" * 20,
        "scrypt$262144$salt$8$5$aGFzaA==",
    ],
)
def test_a_second_is_the_most(stored: str) -> None:
    assert hash_problem(stored) == "the password hash takes too many passes or threads"
    assert is_too_costly(stored)


COSTLY = ["$2b$16$" + "a" * 53, "pbkdf2_sha256$5000001$" + B64, "plain", "!\n", ALL[0] + "\n"]


@given(st.lists(st.sampled_from(ALL[:6] + COSTLY)) | st.lists(st.sampled_from(ALL + COSTLY)))
def test_many_are_told_what_each_is_told(stored: list[str]) -> None:
    told = {position: hash_problem(one) for position, one in enumerate(stored)}
    assert find_problems(stored) == {at: problem for at, problem in told.items() if problem}


ALIKE = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$" + "A" * 43


@pytest.mark.parametrize(
    "other",
    [
        ALIKE.replace("c2Fsd", "Zm9vY"),
        ALIKE + "A",
        ALIKE.replace("c2FsdHNhbHQ", ""),
        ALIKE.replace("A" * 43, ""),
        ALIKE.replace("$c2F", "c2F"),
        ALIKE.replace("c2F", "c$2F"),
        ALIKE.replace("c2F", "c=2F"),
        ALIKE.replace("c2F", "é"),
        ALIKE.replace("m=19456", "m=1945600"),
        ALIKE + "A" * 128,
        ALIKE + "A" * 129,
        ALIKE + "=",
        ALIKE + "\n",
        f"{ALIKE}\n{ALIKE}",
        " " + ALIKE,
        "$6$abc$" + "A" * 86,
        "",
    ],
)
@pytest.mark.parametrize("many", [1, 3])
def test_many_at_once_are_judged_as_one_by_one(other: str, many: int) -> None:
    hashes = [ALIKE] * many + [other] + [ALIKE] * many

    problem = hash_problem(other)

    assert find_problems(hashes) == ({many: problem} if problem else {})
    assert (problem is None) == (other in (ALIKE.replace("c2Fsd", "Zm9vY"), *OTHERS_TO_STORE))


OTHERS_TO_STORE = (ALIKE + "A", ALIKE + "A" * 128, ALIKE + "=", "$6$abc$" + "A" * 86)
