"""Run by ``try_wheel.py`` in a bare environment: the installed package does its work there."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path


def covseg(*arguments: str) -> str:
    """What the installed command prints."""
    name = Path(sysconfig.get_path("scripts"), "covseg")
    done = subprocess.run([str(name), *arguments], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def command_line() -> None:
    """Help, the demo, and its volumes."""
    assert "segment" in covseg("--help")
    before = os.times()
    said = covseg("demo", "--output", "demo")
    after = os.times()
    seconds = after.children_user + after.children_system
    seconds -= before.children_user + before.children_system
    print(f"covseg demo: {seconds:.0f} s of processor")
    assert "consolidation" in said.lower(), said
    assert any(Path("demo").glob("*.nii.gz")), list(Path("demo").iterdir())


def manifest() -> list[str]:
    """The names of the docks that napari finds; every command of the manifest imports."""
    from npe2 import PluginManager, PluginManifest

    found = PluginManifest.from_distribution("napari-covseg")
    found.validate_imports()
    manager = PluginManager()
    manager.discover()
    assert manager.get_manifest("napari-covseg").package_version == found.package_version
    return [widget.display_name for widget in found.contributions.widgets]


def docks(names: list[str], binding: str) -> None:
    """Every dock opens in a viewer on the binding that was asked for."""
    import napari
    import qtpy
    from qtpy.QtCore import QThreadPool
    from qtpy.QtWidgets import QApplication, QWidget

    running = str(qtpy.API_NAME)
    assert running == binding, (running, binding)
    viewer = napari.Viewer(show=True)
    viewer.open_sample("napari-covseg", "chest_ct")
    assert len(viewer.layers) == 1
    for name in names:
        dock, widget = viewer.window.add_plugin_dock_widget("napari-covseg", name)
        QApplication.processEvents()
        dock.raise_()
        QApplication.processEvents()
        assert dock.isVisible(), name
        assert widget.findChildren(QWidget), name
    viewer.close()
    QThreadPool.globalInstance().waitForDone()  # else Python ends below panels that still look


def main() -> None:
    """Fails with a traceback at the first thing that is not so."""
    import napari_covseg

    installed = Path(sysconfig.get_path("purelib"))
    assert Path(napari_covseg.__file__).is_relative_to(installed), napari_covseg.__file__
    command_line()
    names = manifest()
    docks(names, sys.argv[1])
    print(f"napari-covseg {napari_covseg.__version__} works with {sys.argv[1]}: {', '.join(names)}")


if __name__ == "__main__":
    main()
