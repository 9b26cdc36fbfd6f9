"""The manifest: valid, complete, and cheap to discover."""

import subprocess
import sys
from importlib import import_module

import pytest
from npe2 import PluginManager, PluginManifest

from napari_covseg.plugin.workspace import WIDGETS


@pytest.fixture(scope="module")
def manifest():
    return PluginManifest.from_distribution("napari-covseg")


def test_every_command_is_there(manifest):
    manifest.validate_imports()
    for command in manifest.contributions.commands:
        module, _, name = command.python_name.partition(":")
        assert callable(getattr(import_module(module), name))


def test_it_contributes_what_it_should(manifest):
    found = manifest.contributions
    assert [widget.display_name for widget in found.widgets] == list(WIDGETS)
    assert {sample.key for sample in found.sample_data} == {"chest_ct", "chest_ct_labels"}
    assert found.readers[0].accepts_directories
    assert found.writers[0].layer_types == ["labels+"]
    assert "napari/layers/segment" in found.menus


def test_labels_have_a_writer_for_nifti():
    manager = PluginManager()
    manager.discover()
    for layers in (["labels"], ["labels", "labels"]):
        writer, _ = manager.get_writer("x.nii.gz", layers)
        assert writer is not None
        assert writer.command == "napari-covseg.write_labels"


@pytest.mark.parametrize(
    "code",
    [
        "from npe2 import PluginManager; m = PluginManager(); m.discover();"
        "m.get_manifest('napari-covseg')",
        "from napari_covseg.plugin.reader import get_reader; get_reader('a.nii.gz')",
        "import napari_covseg.plugin.widgets.segment",
    ],
)
def test_discovery_reader_and_widget_import_no_torch(code):
    check = f"import sys; {code}; assert 'torch' not in sys.modules, 'torch was imported'"
    subprocess.run([sys.executable, "-c", check], check=True, timeout=120)


def test_discovery_loads_no_gui_and_nothing_heavy():
    code = (
        "import sys; from npe2 import PluginManager; m = PluginManager();"
        "before = set(sys.modules); m.discover(); m.get_manifest('napari-covseg');"
        "assert 'napari_covseg.plugin.widgets.segment' not in sys.modules;"
        "assert not any(m.startswith(('PySide6', 'PyQt')) for m in sys.modules);"
        "heavy = {'numpy', 'scipy', 'pandas', 'sqlalchemy', 'matplotlib', 'pydicom', 'skimage'};"
        "assert not heavy & (set(sys.modules) - before), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
