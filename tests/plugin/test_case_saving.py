"""The work on a served case goes into one version of each parent, whichever panel saves it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from small_stores import SHAPE, lungs, new_store, predicted, volume

from napari_covseg.cases.records import Decision, Kind
from napari_covseg.cases.store import CaseStore
from napari_covseg.domain.errors import ResourceError, UsageError
from napari_covseg.domain.progress import run_to_end
from napari_covseg.domain.volume import LabelMap
from napari_covseg.plugin.case_saving import Remarks, save_steps
from napari_covseg.plugin.case_work import CaseWork, Held
from napari_covseg.plugin.layers import label_layers
from napari_covseg.plugin.review_deciding import Verdict, decide_steps


@pytest.fixture
def served(tmp_path):
    """A store, the version that is in the viewer, and what was drawn on it."""
    store = new_store(tmp_path / "store")
    version = predicted(store)
    work = CaseWork(SimpleNamespace(data=np.zeros(SHAPE)), (), ())
    layers = label_layers(LabelMap.like(volume(0), lungs(size=4)))
    held = Held(
        tuple((data, {key: told[key] for key in ("name", "metadata")}) for data, told, _ in layers),
        frozenset({0}),
        60.0,
        None,
        work,
    )
    return store, version, held


def _save(store, version, held):
    steps = save_steps(
        store.folder, "case_0001", held, version.id, "RA", Kind.CORRECTION, Remarks()
    )
    return run_to_end(steps)


def test_two_panels_make_one_version(served):
    store, version, held = served
    kept = _save(store, version, held)
    verdict = Verdict(Decision.ACCEPT, "RA", own=held)
    with pytest.raises(UsageError, match="was saved in another panel since"):
        run_to_end(decide_steps(store.folder, version, verdict))
    assert len(store.history("case_0001")) == 2
    done = run_to_end(decide_steps(store.folder, kept.version, Verdict(Decision.ACCEPT, "RA")))
    assert done.version.id == store.case("case_0001").accepted == kept.version.id


def test_while_one_saves_the_other_is_told(served):
    store, version, held = served
    with held.once(version.id), pytest.raises(UsageError, match="is being saved in another panel"):
        _save(store, version, held)
    assert len(store.history("case_0001")) == 1


def test_what_failed_may_be_tried_again(served, monkeypatch):
    store, version, held = served
    with monkeypatch.context() as broken:

        def full(*_, **__):
            raise ResourceError("the disk is full")

        broken.setattr(CaseStore, "save_version", full)
        with pytest.raises(ResourceError):
            _save(store, version, held)
    assert _save(store, version, held).version.parent == version.id
