import csv
from pathlib import Path

import numpy as np
import pytest
from small_stores import corrected, new_store, predicted

pytest.importorskip("napari")

from napari_covseg.plugin.widgets import effort_part
from napari_covseg.plugin.widgets.effort_part import HEIGHT, EffortPart
from napari_covseg.plugin.widgets.pieces import Folded, scrolled


@pytest.fixture
def store(tmp_path):
    store = new_store(tmp_path / "store", cases=2)
    for number, model, minutes in ((1, "a" * 64, 10.0), (2, "b" * 64, 4.0)):
        version = corrected(store, predicted(store, f"case_000{number}", model), minutes=minutes)
        store.accept(version.id, reader="B")
    return store


@pytest.fixture
def part(qtbot, monkeypatch):
    told = []
    monkeypatch.setattr(effort_part, "tell_error", lambda error: told.append(str(error)))
    part = EffortPart()
    part.told = told
    part.setFixedWidth(380)
    part.show()
    yield part
    part.retire()
    part.close()
    part.deleteLater()


def test_it_says_what_to_do(part, qtbot, tmp_path):
    assert part.words.text().startswith("Open a dataset")
    assert not part.save.isVisible()
    assert not part.write_csv(tmp_path / "a.csv")
    part.show_store(new_store(tmp_path / "empty").folder)
    qtbot.waitUntil(lambda: part.effort is not None)
    assert part.words.text().startswith("No accepted case yet")
    assert not part.save.isVisible()
    part.show_store(None)
    assert part.words.text().startswith("Open a dataset")
    assert not part.refresh.isVisible()


def test_cases_are_drawn_and_saved(part, qtbot, store, tmp_path):
    part.show_store(store.folder)
    qtbot.waitUntil(lambda: part.effort is not None)
    assert part.words.text().startswith("2 accepted cases, 14 minutes. From aaaaaaaa to bbbbbbbb")
    assert "minutes a case went from 10.0 to 4.0 (-60 %)" in part.words.text()
    assert part.save.isVisible()
    assert not part.running.isVisible()
    minutes, _, dice = part._canvas.figure.axes
    dots = np.concatenate([one.get_offsets() for one in minutes.collections])
    np.testing.assert_allclose(dots, [[1, 10], [2, 4]])
    assert [one.get_offsets()[0][1] for one in dice.collections] == pytest.approx([0.8, 0.8])
    assert part.width() == 380
    qtbot.waitUntil(lambda: 300 < part._canvas.width() <= 380)
    ink = part.palette().windowText().color().name()
    assert minutes.yaxis.label.get_color() == ink
    assert part.write_csv(tmp_path / "a.csv")
    rows = list(csv.DictReader((tmp_path / "a.csv").open(newline="")))
    assert [row["minutes"] for row in rows] == ["10.0", "4.0"]
    assert not part.write_csv(tmp_path / "no" / "a.csv")
    assert "its folder does not exist" in part.told[0]


def test_refresh_counts_what_came_since(part, qtbot, store):
    part.show_store(store.folder)
    qtbot.waitUntil(lambda: part.effort is not None)
    version = corrected(store, store.version(store.case("case_0002").accepted), minutes=6.0, size=5)
    store.accept(version.id, reader="B")
    part.refresh.click()
    qtbot.waitUntil(lambda: part.effort.minutes == 20.0)
    assert part.words.text().startswith("2 accepted cases, 20 minutes.")


def test_unfolded_it_has_room_for_all(qtbot, store):
    fold, part = Folded("Effort"), EffortPart()
    fold.addWidget(part)
    column = scrolled(fold)
    column.setFixedSize(380, 700)
    column.show()
    fold.expand()
    part.show_store(store.folder)
    qtbot.waitUntil(lambda: part._canvas is not None and part._canvas.height() == HEIGHT)
    qtbot.waitUntil(lambda: part.height() >= HEIGHT + part.save.height() + 40)
    assert part._canvas.geometry().bottom() < part.save.geometry().top()
    assert part.words.geometry().bottom() < part._canvas.geometry().top()
    assert part.words.height() >= part.words.heightForWidth(part.words.width())
    fold.collapse()
    qtbot.waitUntil(lambda: fold.content().height() == 0)
    part.retire()
    column.close()
    column.deleteLater()


def test_a_store_that_is_gone(part, qtbot, tmp_path):
    part.show_store(Path(tmp_path / "nowhere"))
    qtbot.waitUntil(lambda: bool(part.told))
    assert "no case store here" in part.told[0]
    assert part.words.text() == "Not counted yet."
    assert part.refresh.isVisible()
