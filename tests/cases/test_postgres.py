"""The index on a PostgreSQL server: where it lies, who may enter, what it refuses."""

import json
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from postgres_server import Server
from small_stores import MODEL, corrected, lungs, names, predicted, volume
from sqlalchemy import text

from napari_covseg.cases import clock, database
from napari_covseg.cases.place import INDEX_FILE, checked_place, keep_place, place_of
from napari_covseg.cases.postgres_connections import engine_of
from napari_covseg.cases.records import CaseTaken, Decision, Kind, NewVersion, Score, State
from napari_covseg.cases.store import CaseStore
from napari_covseg.domain.errors import InputError, ResourceError, UsageError

SECRET = "s3cret-of-RA"
NASTY = "'; DROP TABLE events; -- \\ %s %(x)s :x {0} \" é 肺"
PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "many-annotators.md"


@pytest.fixture
def made(postgres: Server, tmp_path: Path):
    """A store on the server with one case, and its schema."""
    schema = postgres.schema()
    store = CaseStore.create(tmp_path / "store", author="RA", index=postgres.url(), schema=schema)
    store.add_case(volume(), author="RA")
    return store, schema


def test_the_folder_names_the_server_and_holds_the_files(made, postgres):
    store, schema = made
    content = json.loads((store.folder / INDEX_FILE).read_text())
    assert (content["postgresql"], content["schema"]) == (postgres.url(), schema)
    assert not list(store.folder.glob("*.sqlite*"))
    assert postgres.sql(f"SELECT name, state FROM {schema}.cases") == [("case_0001", "new")]
    version = corrected(store, predicted(store))
    store.accept(version.id, reader="B")
    assert store.labels_path("case_0001").is_file()
    assert CaseStore.open(store.folder).verify() == []


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://ra:{SECRET}@host/db",
        f"postgresql://host/db?password={SECRET}",
        f"postgresql://ra:{SECRET}/x@host/db",
        f"postgresql://ra:1/x?{SECRET}@host/db",
        f"postgresql://host/db?sslpassword={SECRET}",
        f"postgresql://host/db?options=-c%20x={SECRET}",
        f"postgresql://host/db#{SECRET}",
        f"mysql://ra:{SECRET}@host/db",
        f"postgresql://ra:{SECRET}@[host/db",
        "postgresql://host",
        "covseg.sqlite",
    ],
)
def test_an_address_with_a_password_is_refused_and_not_repeated(url, tmp_path):
    with pytest.raises(UsageError) as caught:
        CaseStore.create(tmp_path / "store", author="RA", index=url)
    assert SECRET not in str(caught.value)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("schema", ["x; DROP TABLE events", 'x"y', "", "Covseg", "pg_x", "é"])
def test_a_schema_is_a_plain_name(schema):
    with pytest.raises(UsageError, match="--schema"):
        checked_place("postgresql://host/db", schema)


def test_a_schema_may_be_a_word_of_sql(postgres, tmp_path):
    store = CaseStore.create(tmp_path / "s", author="RA", index=postgres.url(), schema="user")
    store.add_case(volume(), author="RA")
    assert postgres.sql('SELECT name FROM "user".cases') == [("case_0001",)]


def test_two_stores_do_not_share_a_schema(made, postgres, tmp_path):
    _, schema = made
    other = tmp_path / "other"
    with pytest.raises(UsageError, match=f"schema {schema} holds an index already"):
        CaseStore.create(other, author="RA", index=postgres.url(), schema=schema)
    assert list(other.iterdir()) == [], "to be tried again with another schema"
    second = postgres.schema()
    CaseStore.create(other, author="RA", index=postgres.url(), schema=second)
    keep_place(other, place_of(tmp_path / "store"))
    assert len(CaseStore.open(other).cases()) == 1
    wrong = json.loads((other / INDEX_FILE).read_text()) | {"schema": second}
    (other / INDEX_FILE).write_text(json.dumps(wrong))
    with pytest.raises(InputError, match="the index of another store"):
        CaseStore.open(other)


def test_what_an_interrupted_creation_left_makes_way(postgres, tmp_path, monkeypatch):
    schema, folder = postgres.schema(), tmp_path / "store"

    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(database, "keep_place", die)
        with pytest.raises(Killed):
            CaseStore.create(folder, author="RA", index=postgres.url(), schema=schema)
    for one in folder.iterdir():
        one.rmdir()
    store = CaseStore.create(folder, author="RA", index=postgres.url(), schema=schema)
    assert postgres.sql(f"SELECT value FROM {schema}.meta WHERE key = 'schema'") == [("1",)]
    assert store.cases() == []


def test_versions_of_the_store_are_told_apart(made, postgres, monkeypatch):
    store, schema = made

    def become(version: str) -> None:
        postgres.sql(f"UPDATE {schema}.meta SET value = '{version}' WHERE key = 'schema'")

    become("99")
    for use in (lambda: CaseStore.open(store.folder), lambda: predicted(store)):
        with pytest.raises(InputError, match=r"newer napari-covseg \(store version 99"):
            use()
    become("0")
    with pytest.raises(InputError, match="too old"):
        CaseStore.open(store.folder)

    def works(connection) -> None:
        connection.execute(text("ALTER TABLE cases ADD COLUMN extra TEXT"))
        connection.execute(text("UPDATE cases SET comment = comment || 'migrated'"))

    monkeypatch.setattr(database, "MIGRATIONS", {0: works})
    assert CaseStore.open(store.folder).case("case_0001").comment == "migrated"
    assert CaseStore.open(store.folder).case("case_0001").comment == "migrated", "once"
    postgres.sql(f"DROP TABLE {schema}.reviews, {schema}.meta")
    with pytest.raises(InputError, match="is damaged; restore it"):
        CaseStore.open(store.folder)


def test_texts_are_never_statements(made):
    store, _ = made
    first = store.save_version(
        "case_0001",
        lungs(),
        NewVersion(author=NASTY, kind=Kind.IMPORT, reviewed=[0], comment=NASTY),
    ).version
    store.accept(first.id, reader=NASTY, comment=NASTY)
    store.claim("case_0001", NASTY)
    store.record_scores([Score("case_0001", NASTY, 1.0, detail={NASTY: NASTY})])
    store.record_event(NASTY, actor=NASTY, detail={"x": float("nan")})
    assert (first.author, first.comment) == (NASTY, NASTY)
    assert store.case("case_0001").claimed_by == NASTY
    assert store.scores(NASTY)["case_0001"].detail == {NASTY: NASTY}
    assert [one.actor for one in store.events(kind=NASTY)] == [NASTY]
    for use in (store.case, store.history, store.version, store.model):
        with pytest.raises(InputError):
            use(NASTY)
    with pytest.raises(InputError, match="cannot keep such a text") as caught:
        store.flag("case_0001", reader="RA", comment="private\0words")
    assert "private" not in str(caught.value)
    assert store.case("case_0001").state is State.ACCEPTED


def test_a_password_opens_and_is_told_nowhere(made, postgres, monkeypatch, caplog):
    """Of a role that must give one; the first matching line of ``pg_hba.conf`` counts."""
    store, schema = made
    role = f"ra_{schema}"
    postgres.sql(f"CREATE ROLE {role} LOGIN SUPERUSER PASSWORD '{SECRET}'")
    rules = postgres.folder / "data" / "pg_hba.conf"
    rules.write_text(f"local all {role} scram-sha-256\n{rules.read_text()}")
    postgres.sql("SELECT pg_reload_conf()")
    place = place_of(store.folder)
    assert place is not None
    address = postgres.url().replace("boss@", "")
    keep_place(store.folder, type(place)(address, schema, place.store))
    monkeypatch.setenv("PGUSER", role)
    for given, said in ((None, "no password supplied"), ("wrong", "authentication failed")):
        if given is not None:
            monkeypatch.setenv("PGPASSWORD", given)
        with pytest.raises(InputError, match=f"lets you not in .*{said}.*PGPASSWORD") as caught:
            CaseStore.open(store.folder)
        assert "\n" not in str(caught.value)
        assert "wrong" not in str(caught.value)
    monkeypatch.setenv("PGPASSWORD", SECRET)
    with caplog.at_level("DEBUG"):
        opened = CaseStore.open(store.folder)
        assert names(opened.cases()) == ["case_0001"]
    known = place_of(store.folder)
    assert known is not None
    told = [repr(opened), repr(known), str(engine_of(known).url), caplog.text]
    told += [one.read_text(errors="replace") for one in store.folder.rglob("*") if one.is_file()]
    assert not [one for one in told if SECRET in one]
    engine_of(known).dispose()


def test_a_missing_driver_is_told(made, monkeypatch):
    import sys

    store, _ = made
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(InputError, match=r"pip install 'napari-covseg\[postgres\]'"):
        CaseStore.open(store.folder)


def test_the_servers_clock_counts(made, monkeypatch):
    """An annotator whose computer is a day ahead takes nobody's case."""
    store, _ = made

    class Ahead(datetime):
        @classmethod
        def now(cls, zone=None):
            return datetime.now(zone) + timedelta(days=1)

    store.claim("case_0001", "A")
    until = store.case("case_0001").claimed_until
    assert timedelta(minutes=115) < until - datetime.now(UTC) < timedelta(minutes=121)
    monkeypatch.setattr(clock, "datetime", Ahead)
    with pytest.raises(CaseTaken, match="A has it in work"):
        store.claim("case_0001", "B")
    version = corrected(store, predicted(store), author="B")
    assert abs(version.created - datetime.now(UTC)) < timedelta(minutes=1)
    assert store.case("case_0001").claimed_by == "A"


def test_the_grants_of_the_docs_are_enough_and_no_more(made, postgres, monkeypatch):
    store, schema = made
    (block,) = re.findall(r"```sql\n(.*?)```", PAGE.read_text(), re.DOTALL)
    role = f"ann_{schema}"
    for name in ("annotators", "anna"):
        block = re.sub(rf"\b{name}\b", f"{name}_{schema}", block)
    postgres.sql(
        block.replace("SCHEMA covseg", f"SCHEMA {schema}").replace("covseg.", f"{schema}.")
    )
    role = f"anna_{schema}"
    place = place_of(store.folder)
    assert place is not None
    keep_place(store.folder, type(place)(postgres.url(user=role), schema, place.store))
    as_role = CaseStore.open(store.folder)
    assert as_role.next_case("A").name == "case_0001"
    drawn = corrected(as_role, predicted(as_role), author="A")
    as_role.save_version(
        "case_0001", lungs(size=5), NewVersion(author="B", kind=Kind.IMPORT, reviewed=[1])
    )
    beside = [one.id for one in as_role.branches(drawn.id)]
    review = as_role.accept(drawn.id, reader="A", instead_of=beside)
    assert review.decision is Decision.ACCEPT
    as_role.add_case(volume(3), author="A", patient="P")
    as_role.record_scores([Score("case_0002", MODEL, 1.0)])
    as_role.forget_scores(MODEL)
    as_role.finish_run(as_role.start_run(by="A", settings={}), outcome="done")
    assert as_role.verify() == []
    for refused in (
        "UPDATE meta SET value = 'x'",
        "DELETE FROM events",
        "UPDATE versions SET author = 'x'",
        "DELETE FROM cases",
        "DROP TABLE claims",
        "CREATE TABLE mine (id INT)",
    ):
        with (
            pytest.raises(ResourceError, match="may not be written to"),
            as_role._db.write() as session,
        ):
            session.execute(text(refused))


def test_a_number_of_a_new_row_is_free_after_a_failure(made):
    """Sequences leave gaps; what people see has none."""
    store, _ = made
    for _ in range(3):
        with pytest.raises(InputError):
            store.add_case(volume(), author="RA")
    assert store.add_case(volume(7), author="RA").name == "case_0002"
    assert [one.patient for one in store.cases()] == ["patient_0001", "patient_0002"]


def test_a_damaged_address_is_told(made):
    store, _ = made
    for content in ("", "[]", "{}", '{"format": 1, "postgresql": "http://x/y"}', "\xff\xfe"):
        (store.folder / INDEX_FILE).write_text(content)
        with pytest.raises(InputError, match="does not say where"):
            CaseStore.open(store.folder)
    (store.folder / INDEX_FILE).write_text('{"format": 2, "of": "the future"}')
    with pytest.raises(InputError, match="newer napari-covseg"):
        CaseStore.open(store.folder)
    assert os.listdir(store.folder / "imagesTr")
