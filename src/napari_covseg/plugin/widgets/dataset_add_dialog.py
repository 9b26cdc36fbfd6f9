"""What to add to a case store, and how it is to be understood."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from qtpy.QtWidgets import (
    QCheckBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QListWidget,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_covseg.domain.errors import CovsegError
from napari_covseg.io.label_schemes import parse_label_map
from napari_covseg.plugin import preferences
from napari_covseg.plugin.telling import show_error
from napari_covseg.plugin.widgets.pieces import paragraph
from napari_covseg.workflows.dataset_add import AddRequest

_KINDS = "CT (*.nii *.nii.gz *.nrrd *.nhdr *.mha *.mhd *.dcm *.zip);;All files (*)"
_TEXT = (
    "CT files, DICOM folders, folders of CTs, or nnU-Net datasets (these bring their labels). "
    "No header of a file is kept: cases and patients get pseudonyms."
)


class AddDialog(QDialog):
    """A list of inputs, and options that may stay empty."""

    def __init__(self, paths: Iterable[Path] = (), parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Add scans to the case store")
        self.resize(560, 420)
        self.inputs = QListWidget()
        self.labels, self.patients = QLineEdit(), QLineEdit()
        self.label_map = QLineEdit()
        self.label_map.setPlaceholderText("lung=1,infection=2+3")
        self.accept_labels = QCheckBox("Accept these labels, as reviewed in every slice")
        self.buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel
        )
        self.buttons.button(QDialogButtonBox.StandardButton.Ok).setText("Add")
        self.buttons.accepted.connect(self._on_ok)
        self.buttons.rejected.connect(self.reject)
        self._build()
        self.take(paths)

    def _build(self) -> None:
        files, folder, clear = (QPushButton(text) for text in ("Files…", "Folder…", "Clear"))
        files.clicked.connect(self._ask_files)
        folder.clicked.connect(self._ask_folder)
        clear.clicked.connect(self._clear)
        row = QHBoxLayout()
        for button in (files, folder, clear):
            row.addWidget(button)
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Labels", self._with_button(self.labels, "A folder of label files", True))
        form.addRow("Patients", self._with_button(self.patients, "CSV: case, patient", False))
        form.addRow("Label numbers", self.label_map)
        self.labels.setToolTip("A folder of label files named as their CTs; empty: none")
        self.patients.setToolTip(
            "Which scans are of one patient: a CSV with the columns case (the file's name) and "
            "patient. DICOM says so itself"
        )
        self.label_map.setToolTip("What the numbers in label files mean, where they do not say so")
        layout = QVBoxLayout(self)
        for part in (paragraph(_TEXT), self.inputs):
            layout.addWidget(part)
        layout.addLayout(row)
        layout.addLayout(form)
        layout.addWidget(self.accept_labels)
        layout.addWidget(self.buttons)

    def _with_button(self, line: QLineEdit, hint: str, folder: bool) -> QWidget:
        line.setPlaceholderText(f"{hint} (optional)")
        button = QPushButton("…")
        button.setMaximumWidth(32)
        button.clicked.connect(lambda: self._ask_for(line, folder))
        both = QWidget()
        row = QHBoxLayout(both)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(line, 1)
        row.addWidget(button)
        return both

    def take(self, paths: Iterable[Path]) -> None:
        """Add inputs to the list."""
        for path in paths:
            self.inputs.addItem(str(path))
        self._show()

    def request(self, author: str) -> AddRequest:
        """What was asked for.

        Raises
        ------
        UsageError
            If the label numbers cannot be understood.
        """
        listed = [self.inputs.item(row).text() for row in range(self.inputs.count())]
        numbers = self.label_map.text().strip()
        return AddRequest(
            inputs=tuple(map(Path, listed)),
            author=author,
            labels=_path(self.labels),
            label_map=parse_label_map(numbers) if numbers else None,
            patients=_path(self.patients),
            accept=self.accept_labels.isChecked(),
        )

    def _clear(self, *_: Any) -> None:
        self.inputs.clear()
        self._show()

    def _show(self) -> None:
        ok = self.buttons.button(QDialogButtonBox.StandardButton.Ok)
        ok.setEnabled(self.inputs.count() > 0)

    def _on_ok(self) -> None:
        try:
            self.request("-")
        except CovsegError as error:
            show_error(str(error))
            return
        self.accept()

    def _ask_files(self) -> None:
        start = preferences.load_text("folders/open", str(Path.home()))
        files, _ = QFileDialog.getOpenFileNames(self, "CT files", start, _KINDS)
        self.take(map(Path, files))

    def _ask_folder(self) -> None:
        start = preferences.load_text("folders/open", str(Path.home()))
        folder = QFileDialog.getExistingDirectory(self, "Folder of CTs or dataset", start)
        if folder:
            preferences.save_text("folders/open", str(Path(folder).parent))
            self.take([Path(folder)])

    def _ask_for(self, line: QLineEdit, folder: bool) -> None:
        start = line.text() or preferences.load_text("folders/open", str(Path.home()))
        if folder:
            chosen = QFileDialog.getExistingDirectory(self, "Folder of label files", start)
        else:
            chosen, _ = QFileDialog.getOpenFileName(self, "Patients", start, "Table (*.csv)")
        if chosen:
            line.setText(chosen)


def ask_what_to_add(
    paths: Iterable[Path], author: str, parent: QWidget | None = None
) -> AddRequest | None:
    """Let the user say what to add; None if the dialog was closed."""
    dialog = AddDialog(paths, parent)
    try:
        accepted = dialog.exec() == QDialog.DialogCode.Accepted
        return dialog.request(author) if accepted else None
    finally:
        dialog.deleteLater()


def _path(line: QLineEdit) -> Path | None:
    text = line.text().strip()
    return Path(text) if text else None
