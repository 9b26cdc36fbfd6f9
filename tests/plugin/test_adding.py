"""What is in the viewer goes into a store with its labels, also where its CT is there already."""

from __future__ import annotations

import numpy as np
import pytest
from small_stores import lungs, new_store, volume

from napari_covseg.domain.progress import run_to_end
from napari_covseg.domain.volume import LabelMap
from napari_covseg.plugin.adding import Shown, add_shown_steps
from napari_covseg.plugin.case_work import Held
from napari_covseg.plugin.layers import label_layers


@pytest.fixture
def store(tmp_path):
    return new_store(tmp_path / "store", cases=1)


def _shown(size: int) -> Shown:
    ct = volume(0)
    layers = label_layers(LabelMap.like(ct, lungs(size=size)))
    held = Held(
        tuple((data, {key: told[key] for key in ("name", "metadata")}) for data, told, _ in layers),
        frozenset({1}),
        60.0,
        None,
    )
    return Shown(ct, held, None, "")


def _add(store, size):
    return run_to_end(add_shown_steps(store.folder, _shown(size), "RA"))


def test_labels_of_a_ct_that_is_there_are_taken_if_it_has_none(store):
    added = _add(store, 3)
    assert (added.case, added.already_there, added.warnings) == ("case_0001", True, ())
    (version,) = store.history("case_0001")
    assert np.array_equal(store.labels(version.id).labels, lungs(size=3))
    assert (version.minutes, version.reviewed) == (1.0, {1})


def test_labels_that_are_there_stay_and_it_is_told(store):
    _add(store, 3)
    added = _add(store, 4)
    assert added.warnings == ("it has labels already: those shown were left out",)
    assert len(store.history("case_0001")) == 1
