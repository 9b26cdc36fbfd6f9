"""``covseg dataset init --index`` and ``migrate-index``; how long a case is kept."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from postgres_server import Server, postgres  # noqa: F401
from small_stores import new_store

from napari_covseg.cases.store import CaseStore
from napari_covseg.cli.main import main


def test_a_store_on_a_server_and_back(tmp_path, postgres: Server, capsys):  # noqa: F811
    folder, schema = tmp_path / "store", postgres.schema()
    at = ("--schema", schema, "--author", "A")
    assert main(["dataset", "init", str(folder), "--index", postgres.url(), *at]) == 0
    assert (folder / "covseg-index.json").is_file()
    assert main(["dataset", "init", str(folder), "--index", postgres.url(), *at]) == 2
    assert main(["dataset", "migrate-index", str(folder), "--to", postgres.url(), *at]) == 2
    assert "the index lies on a server; move it --to sqlite first" in capsys.readouterr().err
    back = ["dataset", "migrate-index", str(folder), "--to", "sqlite", "--author", "A"]
    assert main([*back, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["index"], told["before"]) == (
        "covseg.sqlite",
        f"schema {schema} of PostgreSQL on this computer/covseg",
    )
    assert main(back) == 2
    other = ("--schema", postgres.schema(), "--author", "A")
    assert main(["dataset", "migrate-index", str(folder), "--to", postgres.url(), *other]) == 0
    assert "The former one is kept, out of use: covseg-2" in capsys.readouterr().out
    assert [one.kind for one in CaseStore.open(folder).events()] == [
        *("store created", "index moved", "index moved")
    ]


def test_an_address_with_a_password_is_refused(tmp_path, capsys):
    new_store(tmp_path / "store")
    url = "postgresql://ra:s3cret@host/db"
    for verb, option in (("migrate-index", "--to"), ("init", "--index")):
        folder = str(tmp_path / ("store" if verb == "migrate-index" else "new"))
        assert main(["dataset", verb, folder, option, url, "--author", "A"]) == 2
        said = capsys.readouterr()
        assert "leave the password out of the address" in said.err
        assert "s3cret" not in said.err + said.out


def test_a_server_that_is_not_there(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("napari_covseg.cases.postgres.RETRY_SECONDS", 0.2)
    url = f"postgresql:///covseg?host={tmp_path}"
    pytest.importorskip("psycopg")
    assert main(["dataset", "init", str(tmp_path / "new"), "--index", url, "--author", "A"]) == 4
    said = capsys.readouterr().err
    assert said.startswith("covseg: new: PostgreSQL on this computer/covseg does not answer")
    assert said.count("\n") == 1
    assert list((tmp_path / "new").iterdir()) == []


def test_for_how_long_a_case_is_kept(tmp_path, capsys):
    store = new_store(tmp_path / "store", cases=2)
    folder = str(store.folder)
    assert main(["dataset", "claim", folder, "case_0001", "--author", "A", "--hours", "5"]) == 0
    assert main(["dataset", "next", folder, "--author", "B", "--hours", "0.5"]) == 0
    hours = [(one.claimed_until - datetime.now(UTC)) / timedelta(hours=1) for one in store.cases()]
    assert hours == pytest.approx([5.0, 0.5], abs=0.1)
    assert main(["dataset", "claim", folder, "case_0001", "--author", "B"]) == 3
    assert "A has it in work since" in capsys.readouterr().err
    assert main(["dataset", "claim", folder, "case_0001", "--author", "A", "--hours", "0"]) == 2
    assert main(["dataset", "list", folder]) == 0
    assert f"A until {store.case('case_0001').claimed_until:%H:%M} UTC" in capsys.readouterr().out
