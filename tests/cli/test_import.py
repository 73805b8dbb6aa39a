"""user import: every row is stored or told, on both databases, by every way into the tables."""

from __future__ import annotations

import gzip
import itertools
import json
import stat
from pathlib import Path

import pytest

from tests.support.commands import Command, Result
from tests.support.consistency import broken_promises
from tests.support.people import create_company

HEADER = "name,email,role,claims,active,created_at\n"
ROWS = (
    "Carla Dias,carla@example.com,member,reports:read;reports:export,true,2026-01-31T12:00:00Z\n",
    "Davi Reis,DAVI@Example.com,admin,,false,\n",
)
HASH = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2E$" + "A" * 43


@pytest.fixture
def company(cli: Command) -> None:
    create_company(cli)


def write(name: str, text: str) -> str:
    """A file with the text, in the test's folder."""
    Path(name).write_text(text, encoding="utf-8", newline="")
    return name


def run_import(cli: Command, *words: str, stdin: str | bytes = "") -> Result:
    return cli("user", "import", *words, "-o", "json", stdin=stdin)


def counts(done: Result) -> dict[str, int]:
    """What the report says of the rows, zeros left out."""
    names = ("read", "created", "updated", "unchanged", "skipped", "rejected")
    return {name: done.json[name] for name in names if done.json[name]}


def users(cli: Command, *fields: str) -> list[list[object]]:
    listed = cli("user", "list", "--all", "-o", "json", "--fields", ",".join(fields)).json
    return [list(user.values()) for user in listed]


@pytest.mark.usefixtures("company")
def test_rows_become_users_beside_those_that_are_there(cli: Command, database_url: str) -> None:
    done = run_import(cli, write("new.csv", HEADER + "".join(ROWS)))
    assert (done.exit_code, done.stderr) == (0, "")
    assert counts(done) == {"read": 2, "created": 2}
    assert (done.json["grants_added"], done.json["reasons"]) == (2, {})
    assert users(cli, "name", "email", "role", "claims", "active")[2:] == [
        ["Carla Dias", "carla@example.com", "member", ["reports:export", "reports:read"], True],
        ["Davi Reis", "davi@example.com", "admin", [], False],
    ]
    shown = cli("user", "show", "carla@example.com", "-o", "json").json
    assert shown["created_at"] == "2026-01-31T12:00:00.000000Z"
    history = cli("user", "history", "carla@example.com", "-o", "json").json
    assert [(c["action"], c["operation_id"]) for c in history] == [
        ("create", done.json["operation_id"])
    ]
    assert broken_promises(database_url) == {}


def test_empty_tables_get_their_keys_back(cli: Command, database_url: str) -> None:
    file = write("new.csv", HEADER + "".join(ROWS))
    done = run_import(cli, file, "--create-roles", "--create-claims")
    assert (done.exit_code, counts(done)) == (0, {"read": 2, "created": 2})
    assert (done.json["roles_created"], done.json["claims_created"]) == (2, 2)
    assert cli("schema", "check").exit_code == 0
    created = cli("user", "create", "--name", "E", "--email", "e@example.com", "--role", "admin")
    assert created.exit_code == 0
    assert broken_promises(database_url) == {}


@pytest.mark.usefixtures("company")
def test_one_bad_row_and_nothing_is_stored(cli: Command) -> None:
    bad = "Eva,eva@,member,,,\n,f@example.com,member,,,\nG,g@example.com,nobody,none,,\n"
    bad += "H,h@example.com\nI,ana@example.com,member,,,\nJ,carla@example.com,member,,maybe,\n"
    bad += "K,k@example.com,member,nothing,,yesterday\nL,davi@example.com,member,,,\n"
    before = users(cli, "id", "email", "version")
    done = run_import(cli, write("x.csv", HEADER + "".join(ROWS) + bad), "--rejects", "r.csv")
    assert (done.exit_code, done.stdout) == (2, "")
    error = json.loads(done.stderr)["error"]
    assert error["message"].splitlines() == [
        "8 of 10 rows are bad: nothing was stored",
        '  line 4: "eva@" is not a valid e-mail address (there must be something after the @-sign)',
        "  line 5: the name is missing",
        '  line 6: no role "nobody"',
        "  line 7: it has 2 cells, the header has 6",
        '  line 8: the e-mail "ana@example.com" is taken',
        '  line 9: active is "maybe" (write true or false)',
        '  line 10: created_at is "yesterday" (write an RFC 3339 time)',
        '  line 11: the e-mail "davi@example.com" stands on line 3 already',
    ]
    assert error["hint"].startswith(
        "--create-roles makes the missing roles; or correct them, or store"
    )
    assert error["details"]["reasons"] == {
        "invalid_active": 1,
        "invalid_created_at": 1,
        "invalid_email": 1,
        "missing_name": 1,
        "ragged_row": 1,
        "repeated_email": 1,
        "taken_email": 1,
        "unknown_role": 1,
    }
    assert users(cli, "id", "email", "version") == before
    assert cli("operation", "list", "-o", "json").json[0]["command"] != "user import"
    rejected = Path("r.csv").read_text().splitlines()
    assert rejected[0] == "line,reason,name,email,role,claims,active,created_at"
    assert [line.split(",")[0] for line in rejected[1:]] == [*"456789", "10", "11"]
    assert stat.S_IMODE(Path("r.csv").stat().st_mode) == 0o600


@pytest.mark.usefixtures("company")
def test_a_password_made_of_the_users_own_name_is_refused(cli: Command) -> None:
    text = "name,email,role,password\nEva Maria Souza,eva@example.com,member,souza-Eva-MARIA!!\n"
    done = run_import(cli, write("x.csv", text))
    assert done.exit_code == 2
    assert "line 2: the password is made of the user's own name or e-mail" in done.stderr
    assert "MARIA" not in done.stderr


@pytest.mark.usefixtures("company")
def test_rejects_have_the_delimiter_of_the_input(cli: Command) -> None:
    cli("role", "create", "member")
    text = "# people\nname;email;role\nAna;no e-mail;member\n"

    assert run_import(cli, write("x.csv", text), "--rejects", "r.csv").exit_code == 2

    assert Path("r.csv").read_text().splitlines()[0] == "line;reason;name;email;role"


@pytest.mark.usefixtures("company")
def test_rejects_can_be_corrected_and_fed_again(cli: Command, database_url: str) -> None:
    text = HEADER + ROWS[0] + 'Eva "E" Lima,eva@,member,,,\n'
    done = run_import(cli, write("x.csv", text), "--on-error", "skip", "--rejects", "r.csv")
    assert (done.exit_code, counts(done)) == (6, {"read": 2, "created": 1, "rejected": 1})
    corrected = Path("r.csv").read_text().replace("eva@,", "eva@example.com,")
    again = run_import(cli, write("y.csv", corrected))
    assert (again.exit_code, counts(again)) == (0, {"read": 1, "created": 1})
    assert cli("user", "show", "eva@example.com", "-o", "json").json["name"] == 'Eva "E" Lima'
    assert broken_promises(database_url) == {}


@pytest.mark.usefixtures("company")
def test_taken_e_mails_are_a_conflict_or_passed_over(cli: Command) -> None:
    file = write("x.csv", "name,email,role\nOther,ANA@example.com,member\n")
    assert run_import(cli, file).exit_code == 4
    skipped = run_import(cli, file, "--on-conflict", "skip")
    assert (skipped.exit_code, counts(skipped)) == (0, {"read": 1, "skipped": 1})
    assert skipped.json["operation_id"] is None
    assert cli("user", "show", "ana@example.com", "-o", "json").json["version"] == 1


@pytest.mark.usefixtures("company")
def test_an_update_changes_what_differs_and_nothing_else(cli: Command, database_url: str) -> None:
    bruno = cli("user", "show", "bruno@example.com", "-o", "json").json
    text = "name,email,role,claims\nAna S.,ana@example.com,admin,reports:export\n"
    text += "Bruno Lima,bruno@example.com,member,\nNew,new@example.com,member,reports:read\n"
    file = write("x.csv", text)
    done = run_import(cli, file, "--on-conflict", "update")
    assert (done.exit_code, done.stderr) == (0, "")
    assert counts(done) == {"read": 3, "created": 1, "updated": 1, "unchanged": 1}
    assert (done.json["grants_added"], done.json["grants_removed"]) == (2, 1)
    assert cli("user", "show", "bruno@example.com", "-o", "json").json == bruno
    ana = cli("user", "show", "ana@example.com", "-o", "json").json
    assert (ana["name"], ana["claims"], ana["version"]) == ("Ana S.", ["reports:export"], 2)
    change = cli("user", "history", "ana@example.com", "-o", "json").json[-1]
    assert change["changed"] == "name: Ana Souza -> Ana S., +reports:export, -reports:read"
    assert {**ana, "grants": change["after"]["grants"]} == change["after"]
    again = run_import(cli, file, "--on-conflict", "update")
    assert counts(again) == {"read": 3, "unchanged": 3}
    assert again.json["operation_id"] is None
    assert broken_promises(database_url) == {}


@pytest.mark.usefixtures("company")
def test_what_the_file_lacks_stays(cli: Command) -> None:
    file = write("x.csv", "email,active\nana@example.com,false\n")
    done = run_import(cli, file, "--on-conflict", "update")
    assert (done.exit_code, counts(done)) == (0, {"read": 1, "updated": 1})
    ana = cli("user", "show", "ana@example.com", "-o", "json").json
    assert (ana["name"], ana["claims"], ana["active"]) == ("Ana Souza", ["reports:read"], False)
    new = write("y.csv", "email,active\nnobody@example.com,true\n")
    refused = run_import(cli, new, "--on-conflict", "update")
    assert refused.exit_code == 2
    assert "line 2: the name is missing" in refused.stderr


@pytest.mark.usefixtures("company")
@pytest.mark.parametrize("on_conflict", ["fail", "skip", "update"])
def test_the_default_role_is_for_new_users(
    cli: Command, database_url: str, on_conflict: str
) -> None:
    text = "name,email,role\nNew,new@example.com,\nOther,other@example.com,admin\n"
    if on_conflict != "fail":
        text += "Ana Souza,ana@example.com,\n"
    before = cli("user", "show", "ana@example.com", "-o", "json").json
    words = (write("x.csv", text), "--on-conflict", on_conflict, "--default-role", "MEMBER")
    done = run_import(cli, *words)
    assert (done.exit_code, done.stderr, done.json["created"]) == (0, "", 2)
    assert cli("user", "show", "ana@example.com", "-o", "json").json == before
    assert before["role"] != "member"
    assert users(cli, "email", "role")[2:] == [
        ["new@example.com", "member"],
        ["other@example.com", "admin"],
    ]
    assert broken_promises(database_url) == {}


@pytest.mark.parametrize("on_conflict", ["fail", "update"])
def test_a_default_role_that_is_missing_is_told_once_or_created(
    cli: Command, on_conflict: str
) -> None:
    people = "".join(f"P,p{n}@example.com\n" for n in range(3))
    file = write("x.csv", "name,email\n" + people)
    words = (file, "--on-conflict", on_conflict, "--default-role", "guest")
    done = run_import(cli, *words)
    assert (done.exit_code, done.stdout) == (3, "")
    assert done.stderr.count('no role \\"guest\\"') == 1
    done = run_import(cli, *words, "--create-roles")
    assert (done.exit_code, done.json["roles_created"], done.json["created"]) == (0, 1, 3)
    assert users(cli, "role") == [["guest"]] * 3


@pytest.mark.usefixtures("company")
@pytest.mark.parametrize(
    ("stored", "meant"),
    [
        ("Read", "READ"),
        ("É", "é"),
        ("É", "E\u0301"),
        ("ΑΣ", "ας"),
        ("ας", "ΑΣ"),
        ("İ", "i"),
        ("i\u0307", "İ"),
        ("Straße", "STRASSE"),
        ("x", "2"),
        ("x", "77"),
    ],
)
def test_a_name_means_what_it_means_to_other_commands(
    cli: Command, stored: str, meant: str
) -> None:
    """Which letters differ in case only is what the database says, and digits are an id."""
    assert cli("claim", "create", stored).exit_code == 0
    file = write("x.jsonl", json.dumps({"email": "bruno@example.com", "claims": [meant]}))
    words = (file, "--on-conflict", "update")
    for more in ((), ("--create-claims",)):
        known = cli("claim", "show", meant, "-o", "json")
        done = run_import(cli, *words, *more)
        if more and meant != "77":
            known = cli("claim", "show", meant, "-o", "json")
            assert known.exit_code == 0
        held = cli("user", "show", "bruno@example.com", "-o", "json").json["claims"]
        if known.exit_code == 0:
            assert (done.exit_code, held) == (0, [known.json["description"]])
        else:
            assert (done.exit_code, held) == (2, [])
            assert "line 1: no claim" in done.stderr


@pytest.mark.usefixtures("company")
@pytest.mark.parametrize("on_conflict", ["skip", "update"])
def test_a_dry_run_reports_the_same_and_changes_nothing(cli: Command, on_conflict: str) -> None:
    text = HEADER + "".join(ROWS) + "Ana X,ana@example.com,member,,,\nbad,bad,member,,,\n"
    words = (write("x.csv", text), "--on-conflict", on_conflict, "--on-error", "skip")
    before = users(cli, "id", "name", "email", "claims", "version")
    tried = run_import(cli, *words, "--dry-run")
    assert users(cli, "id", "name", "email", "claims", "version") == before
    done = run_import(cli, *words)
    varying = ("dry_run", "operation_id", "seconds", "rows_per_second")
    reports = [{k: v for k, v in r.json.items() if k not in varying} for r in (tried, done)]
    assert reports[0] == reports[1]
    assert (tried.exit_code, done.exit_code) == (6, 6)
    assert tried.json["dry_run"] is True
    assert tried.json["operation_id"] is None


@pytest.mark.usefixtures("company")
def test_hashes_are_kept_and_plain_passwords_hashed(cli: Command) -> None:
    secret = "correct horse battery"
    text = "name,email,role,password_hash,password\n"
    text += f'H,h@example.com,member,"{HASH}",\nP,p@example.com,member,,{secret}\n'
    text += "N,n@example.com,member,,\n"
    done = run_import(cli, write("x.csv", text))
    assert (done.exit_code, counts(done)) == (0, {"read": 3, "created": 3})
    verified = cli("user", "verify-password", "p@example.com", "--password-stdin", stdin=secret)
    assert verified.exit_code == 0
    exported = cli("user", "export", "--with-password-hashes", "--format", "jsonl").stdout
    hashes = {
        json.loads(line)["email"]: json.loads(line)["password_hash"]
        for line in exported.splitlines()
    }
    assert (hashes["h@example.com"], hashes["n@example.com"]) == (HASH, "!")


@pytest.mark.usefixtures("company")
def test_passwords_of_users_stay_unless_they_are_to_be_set(cli: Command) -> None:
    file = write("x.csv", "email,password\nana@example.com,another long passphrase\n")
    keep = run_import(cli, file, "--on-conflict", "update")
    assert counts(keep) == {"read": 1, "unchanged": 1}
    set_ = run_import(cli, file, "--on-conflict", "update", "--passwords", "set")
    assert counts(set_) == {"read": 1, "updated": 1}
    words = ("user", "verify-password", "ana@example.com", "--password-stdin")
    assert cli(*words, stdin="another long passphrase").exit_code == 0


@pytest.mark.usefixtures("company")
def test_generated_passwords_are_written_once_for_created_users(cli: Command) -> None:
    text = "name,email,role\nAna,ana@example.com,member\nNew,new@example.com,member\n"
    words = (write("x.csv", text), "--on-conflict", "skip", "--generate-passwords", "p.csv")
    assert run_import(cli, *words).exit_code == 0
    assert stat.S_IMODE(Path("p.csv").stat().st_mode) == 0o600
    header, *rows = Path("p.csv").read_text().splitlines()
    assert (header, [row.split(",")[0] for row in rows]) == ("email,password", ["new@example.com"])
    password = rows[0].split(",")[1]
    checked = cli("user", "verify-password", "new@example.com", "--password-stdin", stdin=password)
    assert checked.exit_code == 0
    refused = run_import(cli, *words)
    assert refused.exit_code == 2
    assert 'the file \\"p.csv\\" exists already' in refused.stderr


@pytest.mark.usefixtures("company")
def test_no_password_reaches_reports_rejects_or_history(cli: Command) -> None:
    secret = "hunter2hunter2hunter2"
    text = f"name,email,role,password\nA,a@,member,{secret}\nB,b@example.com,member,{secret}\n"
    text += f"C,c@example.com,member,{secret},{secret}\nD,d@example.com,{secret}\n"
    words = (write("x.csv", text), "--on-error", "skip", "--rejects", "r.csv", "--results", "o.csv")
    done = run_import(cli, *words)
    assert done.exit_code == 6
    told = done.stdout + done.stderr + Path("r.csv").read_text() + Path("o.csv").read_text()
    told += cli("user", "history", "b@example.com", "-o", "json").stdout
    assert secret not in told


@pytest.mark.usefixtures("company")
def test_results_tell_what_became_of_every_row(cli: Command) -> None:
    text = "name,email,role\nAna X,ana@example.com,admin\nNew,new@example.com,member\n"
    text += "Bruno Lima,bruno@example.com,member\n"
    words = (write("x.csv", text), "--on-conflict", "update", "--results", "out.csv")
    assert run_import(cli, *words).exit_code == 0
    new = cli("user", "show", "new@example.com", "-o", "json").json["id"]
    assert Path("out.csv").read_text().splitlines() == [
        "email,id,outcome",
        "ana@example.com,1,updated",
        f"new@example.com,{new},created",
        "bruno@example.com,2,unchanged",
    ]


@pytest.mark.usefixtures("company")
@pytest.mark.parametrize("name", ["out.csv", "out.json"])
def test_results_of_a_dry_run_hold_no_ids_of_new_users(cli: Command, name: str) -> None:
    text = "name,email,role\nAna X,ana@example.com,admin\nNew,new@example.com,member\n"
    words = (write("x.csv", text), "--on-conflict", "update", "--dry-run", "--results", name)
    assert run_import(cli, *words).exit_code == 0
    found = Path(name).read_text()
    if name == "out.csv":
        assert found.splitlines()[1:] == ["ana@example.com,1,updated", "new@example.com,,created"]
    else:
        assert [row["id"] for row in json.loads(found)] == [1, None]


@pytest.mark.usefixtures("company")
def test_sqlite_knows_no_exclusive_import(cli: Command, backend: str) -> None:
    text = "name,email,role\nNew,new@example.com,member\n"
    done = run_import(cli, write("x.csv", text), "--exclusive")
    assert done.exit_code == (2 if backend == "sqlite" else 0)
    assert ("--exclusive is for PostgreSQL" in done.stderr) == (backend == "sqlite")


@pytest.mark.usefixtures("company")
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.tsv", "name\temail\trole\nE\\\\F\te@example.com\tmember\n"),
        ("x.jsonl", '{"name": "E\\\\F", "email": "e@example.com", "role": "member"}\n'),
        ("x.json", '[{"name": "E\\\\F", "email": "e@example.com", "role": "member"}]'),
        ("noname", '[\n{"name": "E\\\\F", "email": "e@example.com", "role": 2}\n]\n'),
        ("x.csv", "\ufeffname;email;role\nE\\F;e@example.com;member\n"),
        ("crlf.csv", '"name",email,role\r\nE\\F,e@example.com,member\r\n'),
    ],
)
def test_formats_are_recognised(cli: Command, name: str, text: str) -> None:
    for words, stdin in (((write(name, text),), ""), (("-",), text)):
        done = run_import(cli, *words, stdin=stdin)
        assert (done.exit_code, done.stderr) == (0, "")
        assert cli("user", "show", "e@example.com", "-o", "json").json["name"] == "E\\F"
        assert cli("user", "delete", "e@example.com", "--yes").exit_code == 0


@pytest.mark.usefixtures("company")
def test_compressed_files_are_known_by_their_content(cli: Command) -> None:
    from backports import zstd

    text = (HEADER + "".join(ROWS)).encode()
    Path("a").write_bytes(gzip.compress(text))
    Path("b.csv.zst").write_bytes(zstd.compress(text))
    assert counts(run_import(cli, "a")) == {"read": 2, "created": 2}
    again = run_import(cli, "b.csv.zst", "--on-conflict", "update")
    assert counts(again) == {"read": 2, "unchanged": 2}
    Path("c.gz").write_bytes(gzip.compress(text)[:-10])
    cut = run_import(cli, "c.gz")
    assert (cut.exit_code, cut.stdout) == (2, "")
    assert '"c.gz\\" is cut off' in cut.stderr


def test_unknown_columns_are_named(cli: Command) -> None:
    file = write("x.csv", "Full Name,email,role,phone\nE,e@example.com,member,1\n")
    refused = run_import(cli, file, "--create-roles")
    assert refused.exit_code == 2
    assert 'unknown columns \\"Full Name\\", \\"phone\\"' in refused.stderr
    words = ("--create-roles", "--map", "name=Full Name", "--ignore-column", "phone")
    assert counts(run_import(cli, file, *words)) == {"read": 1, "created": 1}


@pytest.mark.parametrize("number", [2, 60_000])
def test_what_is_created_is_spelt_as_where_it_stands_first(cli: Command, number: int) -> None:
    spellings = ("Guest", "GUEST", "guest", "gUEST", "guesT")
    people = "".join(
        f"P,p{n}@example.com,{name},{('A:b', 'a:B')[n % 2]};{name}\n"
        for n, name in zip(range(number), itertools.cycle(spellings), strict=False)
    )
    done = run_import(
        cli,
        *(write("x.csv", "name,email,role,claims\n" + people), "--create-roles"),
        "--create-claims",
    )
    assert (done.exit_code, done.json["roles_created"], done.json["claims_created"]) == (0, 1, 2)
    assert [role["description"] for role in cli("role", "list", "-o", "json").json] == ["Guest"]
    claims = [claim["description"] for claim in cli("claim", "list", "-o", "json").json]
    assert sorted(claims) == ["A:b", "Guest"]


@pytest.mark.parametrize("name", ["csv", "jsonl"])
def test_the_template_can_be_imported(cli: Command, name: str) -> None:
    template = cli("user", "import", "--template", name)
    assert (template.exit_code, template.stderr) == (0, "")
    done = run_import(
        cli, "-", "--format", name, "--create-roles", "--create-claims", stdin=template.stdout
    )
    assert (done.exit_code, counts(done)) == (0, {"read": 2, "created": 2})


@pytest.mark.usefixtures("company")
def test_line_numbers_are_right_behind_quoted_line_ends(cli: Command) -> None:
    text = 'name,email,role\n"A\nB\r\nC",a@example.com,member\n\nX,x@,member\n'
    refused = run_import(cli, write("x.csv", text))
    assert refused.exit_code == 2
    assert "line 2: " in refused.stderr
    assert "line 6: " in refused.stderr


@pytest.mark.usefixtures("company")
def test_rows_of_one_line_are_not_taken_for_each_other(cli: Command, database_url: str) -> None:
    people = [
        {"name": "C", "email": "c@example.com", "role": "member", "claims": ["reports:read"]},
        {"name": "D", "email": "d@", "role": "member", "claims": []},
        {"name": "E", "email": "e@example.com", "role": "member", "claims": ["reports:export"]},
        {"name": "Ana Souza", "email": "ana@example.com", "role": "admin", "claims": []},
        {"name": "F", "email": "e@example.com", "role": "member", "claims": ["reports:read"]},
        {"name": "G", "email": "g@example.com", "role": "member", "claims": []},
    ]
    words: tuple[str, ...] = ("--on-conflict", "update", "--on-error", "skip")
    words += ("--rejects", "r.json", "--results", "out.csv", "--generate-passwords", "p.csv")
    done = run_import(cli, write("x.json", "\n" + json.dumps(people)), *words)
    assert done.exit_code == 6
    assert counts(done) == {"read": 6, "created": 3, "updated": 1, "rejected": 2}
    assert (done.json["grants_added"], done.json["grants_removed"]) == (2, 1)
    assert users(cli, "email", "claims") == [
        ["ana@example.com", []],
        ["bruno@example.com", []],
        ["c@example.com", ["reports:read"]],
        ["e@example.com", ["reports:export"]],
        ["g@example.com", []],
    ]
    rejected = [(row["line"], row["name"]) for row in json.loads(Path("r.json").read_text())]
    assert rejected == [(2, "D"), (2, "F")]
    assert (
        'line 2: the e-mail "e@example.com" stands on line 2 already'
        in json.loads(done.stderr)["error"]["message"]
    )
    outcomes = [line.split(",") for line in Path("out.csv").read_text().splitlines()[1:]]
    assert [(email, outcome) for email, _, outcome in outcomes] == [
        ("c@example.com", "created"),
        ("e@example.com", "created"),
        ("ana@example.com", "updated"),
        ("g@example.com", "created"),
    ]
    made = [line.split(",") for line in Path("p.csv").read_text().splitlines()[1:]]
    assert [email for email, _ in made] == ["c@example.com", "e@example.com", "g@example.com"]
    for email, password in made:
        checked = cli("user", "verify-password", email, "--password-stdin", stdin=password)
        assert checked.exit_code == 0
    assert broken_promises(database_url) == {}


@pytest.mark.usefixtures("company")
def test_too_many_bad_rows_end_the_import(cli: Command) -> None:
    text = "name,email,role\n" + "".join(f"A,bad{i},member\n" for i in range(20))
    refused = run_import(cli, write("x.csv", text), "--max-errors", "3", "--on-error", "skip")
    assert refused.exit_code == 2
    assert "more than --max-errors 3; nothing was stored" in refused.stderr


def test_a_large_file_is_read_by_a_process_of_its_own(cli: Command, database_url: str) -> None:
    """The file is larger than what is read in this process, by two chunks and more."""
    number = 30_000
    lines = [
        f"Përson {i} {'x' * 60},p{i}@example.com,role{i % 3},c{i % 5},,\n" for i in range(number)
    ]
    lines[20_000] = "bad,bad,role0,,,\n"
    file = write("big.csv", HEADER + "".join(lines))
    words = (file, "--create-roles", "--create-claims", "--on-error", "skip")
    done = run_import(cli, *words)
    assert done.exit_code == 6, done.stderr
    assert counts(done) == {"read": number, "created": number - 1, "rejected": 1}
    assert (done.json["roles_created"], done.json["claims_created"]) == (3, 5)
    assert done.json["grants_added"] == number - 1
    assert broken_promises(database_url) == {}
