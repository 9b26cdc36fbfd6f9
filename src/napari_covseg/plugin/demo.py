"""Show a result of ``covseg demo`` or ``covseg segment`` in napari: ``python -m ... FOLDER``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from napari_covseg.domain.errors import CovsegError, InputError, UsageError

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_covseg.workflows.segment import SegmentResult

_LABELS = "_labels.nii.gz"


def find_demo(folder: Path) -> tuple[Path, Path]:
    """The CT and the label map of the first case in ``folder``.

    Raises
    ------
    InputError
        If there is no ``<case>_labels.nii.gz`` with its ``<case>.nii.gz`` beside it.
    """
    for labels in sorted(folder.glob(f"*{_LABELS}")):
        volume = labels.with_name(labels.name.removesuffix(_LABELS) + ".nii.gz")
        if volume.is_file():
            return volume, labels
    raise InputError(
        f"{folder.name}: no <case>{_LABELS} with its <case>.nii.gz; run covseg demo into it first"
    )


def show_demo(folder: Path, viewer: Viewer) -> None:
    """Show the CT, its label map and the CT workspace."""
    from napari_covseg.io import read_volume
    from napari_covseg.plugin.layers import ct_layer
    from napari_covseg.plugin.session import as_segmented, session_of
    from napari_covseg.plugin.viewing import viewing_of
    from napari_covseg.plugin.workspace import open_workspace

    volume_path, labels_path = find_demo(folder)
    volume, result = read_volume(volume_path), _read_result(labels_path)
    open_workspace(viewer)
    data, arguments, _ = ct_layer(volume)
    segmented = as_segmented(result)
    session = session_of(viewer)
    case = session.show(viewer.add_image(data, **arguments), segmented)
    session.mark_saved(case, labels_path, case.edits)
    if (z := segmented.most_lesion["Both"]) is not None:
        viewing_of(viewer).go_to_slice(z)


def _read_result(path: Path) -> SegmentResult:
    """A result from its two files, measured anew."""
    from napari_covseg.io import read_labels
    from napari_covseg.quantify.volumes import measure
    from napari_covseg.workflows.segment import SegmentResult

    labels = read_labels(path)
    name = path.name.removesuffix(_LABELS) + ".json"
    try:
        report = json.loads(path.with_name(name).read_text(encoding="utf-8"))
        warnings, provenance = tuple(report["warnings"]), report["provenance"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{name}: expected the JSON that goes with {path.name}") from error
    return SegmentResult(labels, measure(labels), warnings, provenance)


def main(arguments: list[str]) -> int:
    """Run from the command line; returns the exit code."""
    try:
        if len(arguments) != 1:
            raise UsageError("expected one argument: the folder with the demo's result")
        folder = Path(arguments[0])
        find_demo(folder)
        import napari

        show_demo(folder, napari.Viewer(title="napari-covseg"))
    except CovsegError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    napari.run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
