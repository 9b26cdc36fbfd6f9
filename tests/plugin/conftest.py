"""A small phantom, a stand-in for the network, and settings that are nobody's."""

import os
import sys
import time
from dataclasses import replace
from functools import partial

import pytest
from doubtful import likely_maps

from napari_covseg.domain.progress import Progress

_QT_FIXTURES = {"make_napari_viewer", "opened_panels", "qtbot", "viewer"}


def _has_display() -> bool:
    named = os.environ.get("QT_QPA_PLATFORM") or os.environ.get("DISPLAY")
    return not sys.platform.startswith("linux") or bool(named)


def pytest_collection_modifyitems(items):
    if _has_display():
        return
    for item in items:
        if _QT_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.skip(reason="needs a display: run under xvfb-run"))


@pytest.fixture
def qtbot(qtbot):
    """Patient: a busy machine may take long, and a test that passes waits no longer for it."""
    qtbot.waitUntil = partial(qtbot.waitUntil, timeout=60_000)
    return qtbot


@pytest.fixture(scope="session")
def phantom():
    from napari_covseg.io import make_phantom

    return make_phantom(shape=(40, 96, 96), spacing_mm=(7.5, 3.6, 3.6))


@pytest.fixture(scope="session")
def flipped_phantom(phantom):
    """The phantom as a file would bring it whose axes run x to the right and z to inferior."""
    from napari_covseg.domain.geometry import Reorientation
    from napari_covseg.domain.volume import CTVolume

    v = phantom.volume
    native = Reorientation((0, 1, 2), (True, False, True))
    return CTVolume(v.hu, v.geometry, v.case, native, ("tilt corrected",), "DICOM")


@pytest.fixture
def settings_file(tmp_path, monkeypatch):
    """Settings are read and written below a temporary folder, and torch is not imported."""
    from qtpy.QtCore import QSettings

    from napari_covseg.models import device

    cpu = device.Device("cpu", "CPU (2 cores)")
    monkeypatch.setattr(device, "choose_device", lambda requested: cpu)

    QSettings.setPath(
        QSettings.Format.IniFormat, QSettings.Scope.UserScope, str(tmp_path / "settings")
    )
    return tmp_path / "settings"


@pytest.fixture
def viewer(make_napari_viewer, settings_file):
    return make_napari_viewer()


@pytest.fixture
def fake_segment(monkeypatch, phantom):
    """`workflows.segment.segment` without a network: the phantom's truth, after some steps.

    ``calls`` records the settings of each call; ``steps`` and ``seconds`` make it slow; ``error``
    is raised halfway; ``closed`` counts generators that ended.
    """
    from napari_covseg.quantify.volumes import measure
    from napari_covseg.workflows import segment as workflow

    class Fake:
        calls, steps, seconds, error, closed, done = (), 4, 0.0, None, 0, 0
        warnings = ("made of nothing",)

        def __call__(self, volume, settings=None, likelihood=False):
            self.calls = (*self.calls, settings)
            try:
                for done in range(self.steps):
                    self.done = done
                    yield Progress(done, self.steps, "segmenting on CPU")
                    time.sleep(self.seconds)
                    if self.error is not None and done == self.steps // 2:
                        raise self.error
            finally:
                self.closed += 1
            labels = phantom.labels
            provenance = {
                "model": {"name": "fake", "version": "1.0"},
                "device": {"title": "CPU (1 core)"},
            }
            found = workflow.SegmentResult(labels, measure(labels), self.warnings, provenance)
            return replace(found, likely=likely_maps(labels.labels)) if likelihood else found

    fake = Fake()
    monkeypatch.setattr(workflow, "segment", fake)
    return fake


@pytest.fixture
def errors():
    """Texts of the notifications that were shown, by severity."""
    from napari.utils.notifications import notification_manager

    before = len(notification_manager.records)

    class Seen:
        def __call__(self, severity):
            found = list(notification_manager.records)[before:]
            return [n.message for n in found if str(n.severity) == severity]

    return Seen()
