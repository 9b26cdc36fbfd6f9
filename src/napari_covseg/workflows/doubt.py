"""What a model found likely, kept beside a label map: two maps, and the ranges that come of them.

``<case>_lesion_probability.nii.gz`` and ``<case>_consolidation_probability.nii.gz``, named in
``<case>.json``. They tell what the model decided too (0.5 or more), so that what a person changed
since is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.errors import InputError
from napari_covseg.domain.volume import LabelMap
from napari_covseg.workflows.origin import report_beside

if TYPE_CHECKING:
    from napari_covseg.quantify.doubt import Doubt

FILES_KEY = "probability_files"
KINDS = ("lesion", "consolidation")
"""Of each map, in their order: a lesion; that a lesion is consolidation."""


def map_names(likely: NDArray[np.uint8] | None, case: str) -> dict[str, str]:
    """The names of the files by kind; none without maps."""
    kinds = KINDS[: 0 if likely is None else len(likely)]
    return {kind: f"{case}_{kind}_probability.nii.gz" for kind in kinds}


def write_maps(likely: NDArray[np.uint8], labels: LabelMap, folder: Path, case: str) -> list[Path]:
    """Write the maps beside the labels they belong to.

    Raises
    ------
    InputError, ResourceError
        If they cannot be written; none is left behind.
    """
    from napari_covseg.io.write import write_fractions

    written: list[Path] = []
    try:
        for one, name in zip(likely, map_names(likely, case).values(), strict=True):
            written.append(write_fractions(one, labels, folder / name))
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        raise
    return written


def read_doubt(file: Path, case: str, labels: LabelMap) -> Doubt | None:
    """What the model was in doubt of, as the JSON beside a label file tells.

    None where it names no maps, or one of them is gone, damaged or on another grid.
    """
    from napari_covseg.io.fractions import read_fractions
    from napari_covseg.quantify.doubt import Doubt

    named = report_beside(file, case).get(FILES_KEY)
    if not isinstance(named, dict) or not isinstance(named.get(KINDS[0]), str):
        return None
    names = [named[kind] for kind in KINDS if isinstance(named.get(kind), str)]
    try:
        # Names only: a JSON from elsewhere says nothing about other folders.
        maps = [read_fractions(file.parent / Path(name).name, labels.geometry) for name in names]
    except InputError:
        return None
    return Doubt(labels.geometry, np.stack(maps))


def ranges(labels: LabelMap, likely: NDArray[np.uint8]) -> Mapping[str, Mapping[str, Any]]:
    """The likely range of each percentage of the right lung, the left one and both, for JSON."""
    from napari_covseg.domain.progress import run_to_end
    from napari_covseg.quantify.case import quantify
    from napari_covseg.quantify.doubt import Doubt

    parts = run_to_end(quantify(labels, doubt=Doubt(labels.geometry, likely))).parts
    return {
        side: {
            f"{kind}_percent": getattr(parts[side], kind).percent_range
            for kind in ("ggo", "consolidation", "lesions")
        }
        for side in ("right", "left", "both")
        if side in parts
    }
