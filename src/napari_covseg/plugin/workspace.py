"""The command that sets napari up for CT: the picture in the middle, our widgets on the right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_covseg.plugin.viewing import viewing_of

if TYPE_CHECKING:
    from napari.viewer import Viewer

PLUGIN = "napari-covseg"
WIDGETS = (
    "Segment",
    "Correct",
    "Quantify",
    "Compare",
    "Dataset",
    "Review",
    "Retrain",
    "Detect",
    "Classify",
    "Report",
)
DOCK_WIDTH = 380


def open_workspace(viewer: Viewer | None = None) -> None:
    """Dock this plugin's widgets as tabs on the right; opened ones are shown again.

    Parameters
    ----------
    viewer
        The viewer, by default the current one.
    """
    from napari import current_viewer

    viewer = viewer or current_viewer()
    if viewer is None:
        return
    viewing_of(viewer)
    docks = [
        viewer.window.add_plugin_dock_widget(PLUGIN, name, tabify=index > 0)[0]
        for index, name in enumerate(WIDGETS)
    ]
    for dock, name in zip(docks, WIDGETS, strict=True):
        # napari adds the plugin's name, and then no tab has room for its own.
        dock.setWindowTitle(name)
        dock.show()
    docks[0].raise_()
    _arrange(docks[0])


def show_widget(viewer: Viewer, name: str) -> None:
    """Bring one of this plugin's widgets to the front; it is opened if it is not yet."""
    dock, _ = viewer.window.add_plugin_dock_widget(PLUGIN, name, tabify=True)
    dock.setWindowTitle(name)
    dock.show()
    dock.raise_()


def _arrange(dock: object) -> None:
    """A width that all widgets are made for, and tabs at the side, where all names are readable."""
    from qtpy.QtCore import Qt
    from qtpy.QtWidgets import QDockWidget, QMainWindow, QTabWidget

    if isinstance(dock, QDockWidget) and isinstance(dock.parent(), QMainWindow):
        window = dock.parent()
        right = Qt.DockWidgetArea.RightDockWidgetArea
        window.setTabPosition(right, QTabWidget.TabPosition.East)
        window.resizeDocks([dock], [DOCK_WIDTH], Qt.Orientation.Horizontal)
