"""Two readers' versions are joined in the worker's thread, not where the window is drawn."""

from __future__ import annotations

import numpy as np
from small_stores import corrected, new_store, predicted

from napari_covseg.domain.progress import run_to_end
from napari_covseg.editing.consensus import Rule, join
from napari_covseg.plugin.widgets import second_reader_joint as module


def test_what_is_read_is_joined_already(tmp_path):
    store = new_store(tmp_path / "store")
    start = predicted(store)
    pair = corrected(store, start, "RA", size=4), corrected(store, start, "CD", size=3)
    both = run_to_end(module.both_steps(store.folder, *pair))
    assert np.array_equal(both.joined, join(both.readings.comparison, Rule.UNION))
