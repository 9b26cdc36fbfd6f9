import io
import json
from pathlib import Path

import pytest
from toy_stores import SETTINGS, toy_store, untrained

from napari_covseg.cases.gate import GateDecision, Way, judge
from napari_covseg.cases.store import CaseStore
from napari_covseg.cli.gate_table import decision_text
from napari_covseg.cli.main import main

WHO = ("--author", "RA")


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict:
    """What a command prints as JSON; it must end well."""
    capsys.readouterr()
    code = main([*arguments, "--json"])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    return json.loads(printed.out)


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What it prints for people."""
    capsys.readouterr()
    assert main(list(arguments)) == 0
    return capsys.readouterr().out


@pytest.mark.slow
def test_from_a_first_model_to_a_better_one_and_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = str(toy_store(tmp_path / "store", 5).folder)
    assert "live  shipped  with the package" in shown(capsys, "models", "list", store)
    base = said(capsys, "models", "add", store, str(untrained(tmp_path / "base")), *WHO)["sha256"]
    first = ("models", "promote", store, base[:8], "--why", "to start with", *WHO)
    assert said(capsys, *first)["forced"]
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    done = said(capsys, "retrain", store, *settings, "--device", "cpu", *WHO)
    assert done["promoted"], done["decision"]["reason"]
    assert (done["old"], done["share"], done["training_cases"]) == (base, 0.75, 3)
    new = done["model"]
    table = shown(capsys, "models", "list", store).splitlines()
    assert [line.split()[-1] for line in table[1:]] == ["package", "judged", "passed"]
    assert table[-1].startswith("live")
    about = said(capsys, "models", "show", store, new[:8])
    assert about["parent"] == base
    assert about["decision"]["promote"]
    assert [one["why"] for one in about["promotions"]] == [done["decision"]["reason"]]
    text = shown(capsys, "models", "show", store, "live")
    assert "promoted by RA" in text
    assert "passes the gate: better overall" in text
    asked = ("models", "compare", store, "live", base[:8], "--device", "cpu", *WHO)
    assert "refused by the gate: worse overall" in shown(capsys, *asked)
    back = ("models", "rollback", store, "--why", "false lesions", *WHO)
    assert said(capsys, *back)["model"] == base
    assert CaseStore.open(store).live_model().sha256 == base


def test_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    monkeypatch.setattr("napari_covseg.cases.author.author_file", lambda: tmp_path / "none")
    monkeypatch.delenv("COVSEG_AUTHOR", raising=False)
    store = str(CaseStore.create(tmp_path / "store", author="RA").folder)
    for arguments, code, words in (
        (("retrain", store), 2, "say who you are: --author NAME"),
        (("retrain", str(tmp_path / "other"), *WHO), 3, "no case store here"),
        (("retrain", store, *WHO), 3, "no case is accepted yet"),
        (("retrain", store, "--dice-margin", "-1", *WHO), 2, "dice_margin=-1.0: expected 0"),
        (("models", "show", store, "abc"), 3, "no model of this store"),
        (("models", "rollback", store, "--why", "x", *WHO), 3, "there is nothing to roll back"),
        (("models", "add", store, "covseg-default", *WHO), 3, "is with the package already"),
    ):
        assert main(list(arguments)) == code
        assert words in capsys.readouterr().err


def test_a_decision_without_a_table() -> None:
    none: GateDecision = judge({}, {}, {}, Way.FOLDS)
    assert decision_text(none).splitlines() == [
        "refused by the gate: no patients could be measured for both models, at least 2 are needed "
        "to compare them",
        "nothing can be said: a difference over patients needs at least two",
    ]


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("verb", [("retrain",), ("models", "rollback", "--why", "x")])
def test_a_person_is_asked_once_who_they_are(
    verb: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    kept = tmp_path / "settings" / "author.json"
    monkeypatch.setattr("napari_covseg.cases.author.author_file", lambda: kept)
    monkeypatch.delenv("COVSEG_AUTHOR", raising=False)
    monkeypatch.setattr("sys.stdin", _Terminal("R. Adler\n"))
    store = str(CaseStore.create(tmp_path / "store", author="RA").folder)
    for asked in (True, False):
        assert main([*verb, store]) == 3
        assert ("Your name or initials" in capsys.readouterr().err) is asked
    assert json.loads(kept.read_text()) == {"author": "R. Adler"}
