"""What to do when no CT is open."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFileDialog, QPushButton, QVBoxLayout, QWidget

from napari_covseg.domain.errors import CovsegError
from napari_covseg.plugin import preferences
from napari_covseg.plugin.layers import ct_layer
from napari_covseg.plugin.napari_versions import unwrapped
from napari_covseg.plugin.plain import Words
from napari_covseg.plugin.session import phantom_steps
from napari_covseg.plugin.telling import show_error
from napari_covseg.plugin.worker import Callbacks, Runner

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_covseg.domain.volume import CTVolume

EMPTY = "Open a CT: File > Open Folder, or try the sample."
PLUGIN = "napari-covseg"
_KINDS = "CT (*.nii *.nii.gz *.nrrd *.nhdr *.mha *.mhd *.dcm *.zip);;All files (*)"


class Opening(QWidget):
    """Buttons to open a folder, a file or the sample."""

    def __init__(self, viewer: Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = weakref.ref(unwrapped(viewer))
        self._runner = Runner()
        self.folder = QPushButton("Open CT folder…")
        self.file = QPushButton("Open CT file…")
        self.sample = QPushButton("Try the sample")
        self.folder.setToolTip("A folder of DICOM files")
        self.file.setToolTip("NIfTI, NRRD, MetaImage, a DICOM file or a zip of DICOM files")
        self.sample.setToolTip("A synthetic chest CT that comes with the plugin")
        text = Words(EMPTY)
        text.setWordWrap(True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 8, 0, 8)
        for part in (text, self.folder, self.file, self.sample):
            layout.addWidget(part)
        self.folder.clicked.connect(self.open_folder)
        self.file.clicked.connect(self.open_file)
        self.sample.clicked.connect(self.open_sample)

    def open_folder(self) -> None:
        """Ask for a DICOM folder and open it."""
        start = preferences.load_text("folders/open", str(Path.home()))
        self.open(QFileDialog.getExistingDirectory(self, "Open a CT: DICOM folder", start))

    def open_file(self) -> None:
        """Ask for a CT file and open it."""
        start = preferences.load_text("folders/open", str(Path.home()))
        self.open(QFileDialog.getOpenFileName(self, "Open a CT", start, _KINDS)[0])

    def open(self, path: str) -> None:
        """Open a path; errors are shown with the text of the command line."""
        viewer = self._viewer()
        if not path or viewer is None:
            return
        preferences.save_text("folders/open", str(Path(path).parent))
        try:
            viewer.open(path, plugin=PLUGIN)
        except CovsegError as error:
            show_error(str(error))

    def open_sample(self) -> None:
        """Open the synthetic CT; it is drawn in a thread, since that takes seconds."""
        self._show_busy(True)
        self._runner.start(
            phantom_steps,
            Callbacks(
                progress=lambda step: None,
                result=self._on_sample,
                error=self._on_error,
                cancelled=lambda: None,
            ),
        )

    def stop(self) -> None:
        """Forget a sample that is being drawn."""
        self._runner.abandon()

    def _on_sample(self, volume: CTVolume) -> None:
        self._show_busy(False)
        viewer = self._viewer()
        if viewer is not None:
            data, arguments, _ = ct_layer(volume)
            viewer.add_image(data, **arguments)

    def _on_error(self, error: Exception) -> None:
        self._show_busy(False)
        show_error(str(error))

    def _show_busy(self, busy: bool) -> None:
        self.sample.setEnabled(not busy)
        self.sample.setText("Drawing the sample…" if busy else "Try the sample")
