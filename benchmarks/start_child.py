"""A start to measure, in a process of its own: ``python -m benchmarks.start_child TASK ...``.

``without`` hides this package from all who look for plugins, as if it were not installed.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import time
from typing import Any

OURS, FOLDER = "napari-covseg", "napari_covseg"


def hide_ours() -> None:
    """No plugin of ours is found from here on."""
    everything = importlib.metadata.distributions

    def others(**context: Any) -> Any:
        # By the name of its folder: to read each one's metadata here would take a while.
        return (one for one in everything(**context) if not one._path.name.startswith(FOLDER))

    importlib.metadata.distributions = others


def discovery() -> dict[str, float]:
    """npe2 reads the manifests of all that is installed."""
    from npe2 import PluginManager

    manager = PluginManager()
    manager.discover()
    return {"found": float(OURS in {manifest.name for manifest in manager.iter_manifests()})}


def viewer(dock: str = "") -> dict[str, float]:
    """A viewer is drawn; then a panel, or all by ``workspace``, until it is drawn as well.

    ``gui_s`` is what the thread of the window spends on the panel, ``wall_s`` how long it takes.
    """
    import napari
    from qtpy.QtWidgets import QApplication

    shown = napari.Viewer()
    QApplication.processEvents()
    if not dock:
        return {}
    wall, thread = time.perf_counter(), time.thread_time()
    if dock == "workspace":
        from napari_covseg.plugin.workspace import open_workspace

        open_workspace(shown)
    else:
        panel, _ = shown.window.add_plugin_dock_widget(OURS, dock)
        panel.raise_()
    QApplication.processEvents()
    return {"gui_s": time.thread_time() - thread, "wall_s": time.perf_counter() - wall}


def main() -> None:
    """Do the task; the last line printed is JSON."""
    words = sys.argv[1:]
    if "without" in words:
        words.remove("without")
        hide_ours()
    task = {"discovery": discovery, "viewer": viewer}[words[0]]
    print(json.dumps(task(*words[1:])))
    sys.stdout.flush()
    os._exit(0)  # Qt without an event loop has nothing to say goodbye to


if __name__ == "__main__":
    main()
