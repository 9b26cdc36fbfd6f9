"""A short form of the long session: what was closed is let go of, layers and arrays alike."""

import gc
import os
import sys
import weakref

import pytest
import viewer_cycles

CYCLES = 3


@pytest.mark.skipif(
    sys.platform.startswith("linux")
    and not (os.environ.get("QT_QPA_PLATFORM") or os.environ.get("DISPLAY")),
    reason="needs a display: run under xvfb-run",
)
def test_nothing_of_a_closed_ct_stays(make_napari_viewer, qtbot, tmp_path):
    from napari._app_model import get_app_model
    from qtpy.QtCore import QCoreApplication, QEvent, QSettings

    ini, user = QSettings.Format.IniFormat, QSettings.Scope.UserScope
    QSettings.setPath(ini, user, str(tmp_path / "settings"))
    get_app_model()
    viewer = make_napari_viewer()
    seen: list[weakref.ref] = []
    viewer.layers.events.inserted.connect(
        lambda event: seen.extend((weakref.ref(event.value), weakref.ref(event.value.data)))
    )
    phantom = viewer_cycles.small_phantom()
    with viewer_cycles.no_network(phantom, tmp_path):
        workspace = viewer_cycles.Workspace(viewer, phantom)
        for _ in range(CYCLES):
            workspace.cycle()
        qtbot.waitUntil(lambda: not workspace.segment.jobs_running(), timeout=60_000)
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
        gc.collect()
        alive = [ref() for ref in seen if ref() is not None]
    assert len(seen) == 2 * 3 * CYCLES
    assert [type(one).__name__ for one in alive] == []
