"""The whole loop in one viewer: open a store, predict, correct, accept, retrain, predict anew."""

from functools import partial

import numpy as np
import pytest
from qtpy.QtWidgets import QMessageBox
from toy_stores import SETTINGS, add_unlabelled, truth, untrained

from napari_covseg.cases.records import Kind, State
from napari_covseg.cases.store import CaseStore
from napari_covseg.domain.labels import LESION_LABELS
from napari_covseg.plugin import autosave, preferences
from napari_covseg.plugin.widgets.correct import CorrectWidget
from napari_covseg.plugin.widgets.dataset import DatasetWidget
from napari_covseg.plugin.widgets.retrain import RetrainWidget
from napari_covseg.plugin.workspace import open_workspace, show_widget
from napari_covseg.workflows.models import add_model, promote_model

PATIENTS = 6


@pytest.fixture
def store(tmp_path):
    """Unlabelled scans of six patients, and a live model that knows nothing."""
    made = CaseStore.create(tmp_path / "store", author="RA")
    for seed in range(PATIENTS):
        add_unlabelled(made, seed)
    base = add_model(made, str(untrained(tmp_path / "base")), author="RA")
    promote_model(made, base, by="RA", why="to start with")
    return made


@pytest.fixture
def panels(tmp_path, monkeypatch, make_napari_viewer, qtbot):
    """The workspace's Dataset, Correct and Retrain, with settings that are nobody's."""
    from qtpy.QtCore import QSettings

    ini = str(tmp_path / "settings.ini")
    monkeypatch.setattr(preferences, "store", lambda: QSettings(ini, QSettings.Format.IniFormat))
    monkeypatch.setenv("COVSEG_AUTHOR", "RA")
    monkeypatch.setattr(autosave, "drafts_folder", lambda: tmp_path / "drafts")
    monkeypatch.setattr(QMessageBox, "question", lambda *_: QMessageBox.StandardButton.Yes)
    viewer = make_napari_viewer(show=True)
    open_workspace(viewer)
    window = viewer.window._qt_window
    kinds = (DatasetWidget, CorrectWidget, RetrainWidget)
    made = [window.findChildren(kind)[0] for kind in kinds]
    yield made
    qtbot.waitUntil(lambda: not any(one.jobs_running() for one in made), timeout=60_000)
    for one in made:
        one.retire()


@pytest.mark.slow
def test_from_unlabelled_scans_to_a_promoted_model(panels, store, qtbot):
    dataset, correct, retrain = panels
    wait = partial(qtbot.waitUntil, timeout=180_000)
    rest = partial(wait, lambda: not dataset.jobs_running())
    dataset.stores.open(store.folder)
    rest()
    base = store.live_model().sha256
    _predict_all(dataset, rest)
    assert {store.version(one.newest).model for one in store.cases()} == {base}

    dataset.view.run.click()
    for _ in range(PATIENTS):
        wait(lambda: dataset.desk.served is not None and not dataset.jobs_running())
        _correct(dataset, correct, wait)
        dataset.view.run.click()
        rest()
    assert {one.state for one in store.cases()} == {State.ACCEPTED}
    assert all(one.accepted_slices == {0, 1} for one in store.cases())
    assert all(
        np.array_equal(
            store.labels(one.accepted).labels, truth(int(one.name.removeprefix("case_")) - 1)
        )
        for one in store.cases()
    )

    show_widget(dataset.session.viewer, "Retrain")
    wait(lambda: retrain.overview is not None and not retrain.jobs_running())
    retrain.view.options.settings.setText(" ".join(SETTINGS))
    retrain.view.run.click()
    wait(lambda: retrain.retraining is None and not retrain.jobs_running())
    live = store.live_model().sha256
    assert live != base

    late = add_unlabelled(store, PATIENTS)
    dataset.refresh()
    rest()
    _predict_all(dataset, rest)
    predicted = store.version(store.case(late).newest)
    assert (predicted.kind, predicted.model) == (Kind.PREDICTION, live)
    found = np.isin(store.labels(predicted.id).labels, LESION_LABELS)
    expected = np.isin(truth(PATIENTS), LESION_LABELS)
    assert 2 * (found & expected).sum() / (found.sum() + expected.sum()) > 0.5


def _predict_all(dataset, rest) -> None:
    dataset.view.predict.click()
    rest()


def _correct(dataset, correct, wait) -> None:
    """Draw the truth over the prediction, and mark two of three slices."""
    case = dataset.desk.served.record.name
    expected = truth(int(case.removeprefix("case_")) - 1)
    wait(lambda: correct.correction is not None and correct.correction.ct is dataset.desk.served.ct)
    lungs, lesions = correct.correction.lungs, correct.correction.lesions
    is_lesion = np.isin(expected, LESION_LABELS)
    sides = expected.copy()
    sides[..., :12][is_lesion[..., :12]], sides[..., 12:][is_lesion[..., 12:]] = 2, 1
    for layer, wanted in ((lungs, sides), (lesions, expected * is_lesion)):
        where = np.nonzero(layer.data != wanted)
        layer.data_setitem(where, wanted[where])
    for z in (0, 1):
        correct.correction.slices.mark(z)
