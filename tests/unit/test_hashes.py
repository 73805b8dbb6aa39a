"""Password hashes: every format as its own project publishes it, and what would cost too much."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usermgr import hashes
from usermgr.hashes import find_problems, hash_problem, is_too_costly

PUBLISHED: dict[str, list[str]] = {
    # P-H-C/phc-winner-argon2: src/test.c (version 16, written without it, and 19) and README.md.
    "argon2": [
        "$argon2i$m=65536,t=2,p=1$c29tZXNhbHQ$9sTbSlTio3Biev89thdrlKKiCaYsjjYVJxGAL3swxpQ",
        "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
        "$argon2i$v=19$m=65536,t=2,p=4$c29tZXNhbHQ$RdescudvJCsgt3ub+b+dWRWJTmaaJObG",
        # libpass, tests of its argon2 hasher.
        "$argon2d$v=19$m=102400,t=2,p=8$g2RodLh8j8WbSdCp+lUy/A$zzAJqL/HSjm809PYQu6qkA",
        # django/django, tests/auth_tests/test_hashers.py.
        (
            "argon2$argon2i$m=8,t=1,p=1$c29tZXNhbHQ$gwQOXSNhxiOxPOA0+PY10P9QFO"
            "4NAYysnqRt1GSQLE55m+2GYDt9FEjPMHhP2Cuf0nOEXXMocVrsJAtNSsKyfg"
        ),
        "argon2$argon2id$v=19$m=102400,t=2,p=8$Y041dExhNkljRUUy$TMa6A8fPJhCAUXRhJXCXdw",
    ],
    # pyca/bcrypt, tests/test_bcrypt.py, most of them from Openwall's crypt_blowfish.
    "bcrypt": [
        "$2b$04$cVWp4XaNU8a4v1uMRum2SO026BWLIoQMD/TXg5uZV.0P.uO8m3YEm",
        "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
        "$2y$05$/OK.fbVrR/bpIqNJ5ianF.Sa7shbm4.OzKpvFnX1pQLmQW96oUlCq",
        "$2b$10$keO.ZZs22YtygVF6BLfhGOI/JjshJYPp8DZsUtym6mJV2Eha2Hdd.",
        # Django writes its own name in front, and OpenLDAP that of crypt(3).
        "bcrypt$$2b$10$keO.ZZs22YtygVF6BLfhGOI/JjshJYPp8DZsUtym6mJV2Eha2Hdd.",
        "{CRYPT}$2b$10$keO.ZZs22YtygVF6BLfhGOI/JjshJYPp8DZsUtym6mJV2Eha2Hdd.",
    ],
    # Ulrich Drepper, Unix crypt using SHA-256 and SHA-512 (SHA-crypt.txt), its test vectors.
    "sha-crypt": [
        "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5",
        "$5$rounds=10000$saltstringsaltst$3xv.VbSHBb41AL9AvLeujZkZRBAwqFMz2.opqey6IcA",
        "$5$rounds=123456$asaltof16chars..$gP3VQ/6X7UUEW3HkBn2w1/Ptq2jxPyzV/cZKmF/wJvD",
        (
            "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEd"
            "FCoEOfaS35inz1"
        ),
        (
            "$6$rounds=77777$short$WuQyW2YR.hBNpjjRhpYD/ifIw05xdfeEyQoMxIXbkvr0gge1a1x3yRULJ5CCaUeO"
            "xFmtlcGZelFl5CxtgfiAc0"
        ),
        "{CRYPT}$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5",
    ],
    "pbkdf2": [
        # passlib, documentation of passlib.hash.pbkdf2_sha256.
        "$pbkdf2-sha256$6400$0ZrzXitFSGltTQnBWOsdAw$Y11AchqV4b0sUisdZd0Xr97KWoymNE0LNNrnEgY4H9M",
        # django/django, tests/auth_tests/test_hashers.py; passlib, tests of django_pbkdf2_sha1.
        "pbkdf2_sha256$390000$seasalt$8xBlGd3jVgvJ+92hWPxi5ww0uuAuAnKgC45eudxro7c=",
        "pbkdf2_sha1$10000$wz5B6WkasRoF$atJmJ1o+XfJxKq1+Nu1f1i57Z5I=",
        # pallets/werkzeug: method, salt and hexadecimal digest; here the second test vector of
        # RFC 6070, which its tests/test_security.py uses as well.
        "pbkdf2:sha1:2$salt$ea6c014dc72d6f8ccd1ed92ace1d41f0d8de8957",
    ],
    # libpass, passlib/tests/test_handlers_scrypt.py, after the paper's appendix B.
    "scrypt": [
        "$scrypt$ln=10,r=8,p=16$TmFDbA$/bq+HJ00cgB4VucZDQHp/nxq18vII3gw53N2Y0s3MWI",
        "$scrypt$ln=14,r=8,p=1$U29kaXVtQ2hsb3JpZGU$cCO9yzr9c0hGHAbNgf046/2o+7qQT44+qbVD9lRdofI",
    ],
    # pallets/werkzeug writes method, N, r and p, salt and hexadecimal digest; here the second test
    # vector of RFC 7914.
    "werkzeug-scrypt": [
        (
            "scrypt:1024:8:16$NaCl$fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162"
            "2eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640"
        ),
    ],
    # django/django, tests/auth_tests/test_hashers.py.
    "django-scrypt": [
        (
            "scrypt$16384$seasalt$8$1$Qj3+9PPyRjSJIebHnG81TMjsqtaIGxNQG/aEB/NY"
            "afTJ7tibgfYz71m0ldQESkXFRkdVCBhhY8mx7rQwite/Pw=="
        ),
    ],
    # OpenLDAP: doc/guide/admin/security.sdf, contrib/slapd-modules/passwd/sha2/README. Those with
    # SHA-2 and a salt: jsimonetti/pwscheme, ssha256_test.go and ssha512_test.go.
    "ldap": [
        "{SSHA}DkMTwBl+a/3DQTxCYEApdUtNXGgdUac3",
        "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
        "{SMD5}4QWGWZpj9GCmfuqEvm8HtZhZS6E=",
        "{MD5}Xr4ilOzQ4PCOq3aQ0qbuaQ==",
        "{SHA256}K7gNU3sdo+OL0wNhqoVWhr3g6s1xYv72ol/pe/Unols=",
        (
            "{SHA512}vSsar3708Jvp9Szi2NWZZ02Bqp1qRCFpbcTZPdBhnWgs5WtNZKnvCXdhztmeD2cmW192CF5bDufKRp"
            "ayrW/isg=="
        ),
        "{SSHA256}czO44OTV17PcF1cRxWrLZLy9xHd7CWyVYplr1rOhuMlx/7IK",
        (
            "{SSHA512}xPUl/px+1cG55rUH4rzcwxdOIPSB2TingLpiJJumN2xyDWN4Ix1WQG3ihnvHaWUE8MYNkvMi5rf0C9"
            "NYixHsE6Yh59M="
        ),
    ],
    # OpenLDAP, doc/guide/admin/security.sdf.
    "ldap-crypt": ["{CRYPT}aUihad99hmev6", "{CRYPT}$1$czBJdDqS$TmkzUAb836oMxg/BmIwN.1"],
    # OpenLDAP, contrib/slapd-modules/passwd/pbkdf2/README; libpass, passlib/tests/test_handlers.py.
    "ldap-pbkdf2": [
        "{PBKDF2}60000$Y6ZHtTTbeUgpIbIW0QDmDA$j/aU7jFKUSbH4UobNQDm9OEIwuw",
        "{PBKDF2}5000$7BvbBq.EZzz/O0HuwX3iP.nAG3s$g3oPnFFaga2BJaX5PoPRljl4XIE",
    ],
    # Openwall phpass 0.3, test.php; phpBB's form: John the Ripper, as libpass quotes it.
    "phpass": ["$P$9IQRaTwmfeRo7ud9Fh4E2PdI0S3r.L0", "$H$9PE8jEklgZhgLmZl5.HYJAzfGCQtzi1"],
    "none": ["!", "!$6$locked by an administrator"],
}
ALL = [stored for published in PUBLISHED.values() for stored in published]


def test_every_format_is_here() -> None:
    assert list(PUBLISHED) == list(hashes._FORMATS)


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
        "pbkdf2_sha256$1$seasalt$" + "A" * 173,
        "{SSHA}",
        "{CRYPT}$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7",
        "{CRYPT}anything of this length",
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
    "pbkdf2:sha512:{}$" + B64,
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
        ("scrypt:{}$" + B64, "262144:8:4", "262145:8:1"),
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
        "scrypt:262144:8:5$" + B64,
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
        ALIKE + "A" * 130,
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


OTHERS_TO_STORE = (ALIKE + "A", ALIKE + "A" * 129, ALIKE + "=", "$6$abc$" + "A" * 86)
