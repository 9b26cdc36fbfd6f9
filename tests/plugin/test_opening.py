"""Opening a panel loads nothing heavy in the window's thread: nothing can be clicked meanwhile."""

import json
import os
import subprocess
import sys

import pytest

from napari_covseg.plugin.workspace import WIDGETS

HEAVY = (
    *("torch", "torchvision", "timm", "sklearn", "skops", "xgboost", "scipy.ndimage", "cc3d"),
    *("sqlalchemy", "pandas", "pyarrow", "matplotlib", "reportlab", "PIL.ImageFont", "dask"),
    *("SimpleITK", "nibabel", "pydicom", "highdicom", "imagecodecs", "lungmask", "monai"),
)

OPEN = """
import importlib.abc, json, os, sys, threading, time

import napari
from qtpy.QtWidgets import QApplication

heavy, panels = json.loads(sys.argv[1])
loaded = []


class Watch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name in heavy and threading.current_thread() is threading.main_thread():
            loaded.append(name)


viewer = napari.Viewer()
QApplication.processEvents()
sys.meta_path.insert(0, Watch())
told = {}
for panel in panels:
    dock, _ = viewer.window.add_plugin_dock_widget("napari-covseg", panel)
    dock.raise_()
    for _ in range(5):
        QApplication.processEvents()
        time.sleep(0.02)
    told[panel], loaded = loaded, []
import sqlalchemy  # what is loaded here is noticed
told["noticed"] = loaded
print("TOLD" + json.dumps(told))
sys.stdout.flush()
os._exit(0)
"""


@pytest.fixture(scope="module")
def opened_panels(tmp_path_factory):
    """What each panel loads in the window's thread, all opened one after the other."""
    nobody = str(tmp_path_factory.mktemp("home"))
    done = subprocess.run(
        [sys.executable, "-c", OPEN, json.dumps([HEAVY, WIDGETS])],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "HOME": nobody, "XDG_CONFIG_HOME": nobody},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.rsplit("TOLD", 1)[1])


@pytest.mark.parametrize("panel", WIDGETS)
def test_a_panel_opens_light(opened_panels, panel):
    assert opened_panels[panel] == []


def test_what_is_loaded_would_be_noticed(opened_panels):
    assert opened_panels["noticed"] == ["sqlalchemy"]
