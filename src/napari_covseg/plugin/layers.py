"""Between volumes and napari's layers: the one place where layers get their axes and colours.

A layer holds the canonical ``(z, y, x)`` array. ``scale`` is the spacing in mm (the brush reads
only that) and ``translate`` the first voxel's LPS position, so napari's coordinates are LPS mm
for every grid that is not oblique. The true affine stays in the layer's metadata for saving.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.colours import LABEL_COLOURS
from napari_covseg.domain.errors import InputError
from napari_covseg.domain.geometry import Geometry, Reorientation
from napari_covseg.domain.labels import LESION_LABELS, Label
from napari_covseg.domain.volume import CTVolume, LabelMap

if TYPE_CHECKING:
    from napari.layers import Image, Labels, Layer

LayerTuple = tuple[NDArray, dict[str, Any], str]
"""What napari calls LayerData: array, arguments of the layer, type of the layer."""

METADATA_KEY = "napari_covseg"
AXES = ("z", "y", "x")
LUNGS, LESIONS = "Lungs", "Lesions"
LUNG_WINDOW_HU = (-1350.0, 150.0)
PREVIEW_COLOUR = "#00d9b8"

_IN_LESIONS = (*LESION_LABELS, Label.IGNORE)
_IN_LUNGS = (Label.LEFT_LUNG, Label.RIGHT_LUNG, Label.LUNG)


@dataclass(frozen=True, eq=False)
class Placement:
    """Where a layer's voxels are in the patient and in the file they came from.

    Stored under `METADATA_KEY` in the metadata of every layer that this plugin makes. ``taken`` is
    that of `CTVolume`, never to be shown or written.
    """

    geometry: Geometry
    case: str = ""
    to_native: Reorientation = field(default_factory=Reorientation)
    source: str = ""
    warnings: tuple[str, ...] = ()
    taken: date | None = field(default=None, repr=False)

    @classmethod
    def of(cls, data: CTVolume | LabelMap) -> Placement:
        """The placement of a volume or label map."""
        place = (data.geometry, data.case, data.to_native)
        if isinstance(data, CTVolume):
            return cls(*place, data.source, data.warnings, data.taken)
        return cls(*place, warnings=data.warnings)


def placement_of(layer: Layer) -> Placement | None:
    """The placement of a layer that this plugin made, else None."""
    found = layer.metadata.get(METADATA_KEY)
    return found if isinstance(found, Placement) else None


def ct_layer(volume: CTVolume) -> LayerTuple:
    """An Image layer of HU in the lung window."""
    arguments = {
        **_frame(Placement.of(volume)),
        "name": f"CT {volume.case}".strip(),
        "colormap": "gray",
        "contrast_limits": LUNG_WINDOW_HU,
        "interpolation2d": "linear",
    }
    return volume.hu, arguments, "image"


def label_layers(labels: LabelMap, keep_empty: bool = True) -> list[LayerTuple]:
    """Two Labels layers: lungs as outlines, lesions filled.

    The lungs layer is filled under the lesions with the side nearest to them, so that outlines
    run around the lung and not around every lesion. With ``keep_empty`` false a layer without a
    single label is left out (but never both).
    """
    placement = Placement.of(labels)
    lungs, lesions = split(labels)
    layers = [lungs_layer(lungs, placement), lesions_layer(lesions, placement)]
    if keep_empty:
        return layers
    return [layer for layer in layers if layer[0].any()] or layers[1:]


def lungs_layer(data: NDArray[np.uint8], placement: Placement) -> LayerTuple:
    """A Labels layer drawn as blue outlines."""
    arguments = {
        **_frame(placement),
        "name": LUNGS,
        "opacity": 0.9,
        "colormap": _colours(_IN_LUNGS),
    }
    return data, arguments, "labels"


def lesions_layer(data: NDArray[np.uint8], placement: Placement) -> LayerTuple:
    """A Labels layer filled amber (GGO) and red (consolidation)."""
    arguments = {
        **_frame(placement),
        "name": LESIONS,
        "opacity": 0.55,
        "colormap": _colours(_IN_LESIONS),
    }
    return data, arguments, "labels"


def preview_layer(data: Any, placement: Placement) -> LayerTuple:
    """A Labels layer for a mask (0 and 1) that is shown and never saved, so it has no placement."""
    arguments = {
        **_frame(placement),
        "name": "Threshold",
        "metadata": {},
        "opacity": 0.6,
        "colormap": _preview_colours(),
    }
    return data, arguments, "labels"


def uncertainty_layer(data: Any, placement: Placement) -> LayerTuple:
    """An Image layer of 0 to 1 that glows over the CT; never saved, so it has no placement."""
    arguments = {
        **_frame(placement),
        "name": "Uncertainty",
        "metadata": {},
        "rgb": False,
        # Begins with black, which adds nothing, and ends in no lesion's colour.
        "colormap": "magma",
        "contrast_limits": (0.0, 1.0),
        "blending": "additive",
        "opacity": 0.7,
        "interpolation2d": "linear",
    }
    return data, arguments, "image"


def dress(layer: Labels) -> None:
    """Give a Labels layer what napari takes only after it was made: outlines, a useful brush."""
    if layer.name.startswith(LUNGS):
        layer.contour = 1
    layer.selected_label = int(Label.LEFT_LUNG if layer.name.startswith(LUNGS) else Label.GGO)
    layer.brush_size = 8


def split(labels: LabelMap) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Lungs (with the side under lesions restored) and lesions, both ``(z, y, x)``."""
    from napari_covseg.quantify.volumes import lesion_sides

    array = labels.labels
    in_lesions = np.isin(array, _IN_LESIONS)
    lesions = array * in_lesions
    lungs = array * ~in_lesions
    under = np.isin(array, LESION_LABELS)
    if under.any():
        lungs[under] = lesion_sides(labels)[under]
    return lungs, lesions


def join(layers: Iterable[tuple[NDArray, Mapping[str, Any]]]) -> LabelMap:
    """One label map from Labels layers, lesions over lungs.

    Parameters
    ----------
    layers
        Array and arguments of each layer (``metadata``, ``name``).

    Raises
    ------
    InputError
        If a layer has no placement, the grids differ, or a value is no `Label`.
    """
    joined: NDArray[np.uint8] | None = None
    placement: Placement | None = None
    for data, arguments in layers:
        name = arguments.get("name", "layer")
        here = arguments.get("metadata", {}).get(METADATA_KEY)
        if not isinstance(here, Placement):
            raise InputError(
                f"layer '{name}' has no place in the patient; expected a layer made by "
                "napari-covseg: paint into its layers 'Lungs' and 'Lesions'"
            )
        values = _checked(np.asarray(data), name)
        if joined is None or placement is None:
            joined, placement = values.copy(), here
            continue
        if not placement.geometry.same_as(here.geometry):
            raise InputError(
                f"layer '{name}' is on another grid than the layers before it; save the layers "
                "of one CT at a time"
            )
        _lay_over(joined, values)
    if joined is None or placement is None:
        raise InputError("no Labels layer to save; select the layers 'Lungs' and 'Lesions'")
    return LabelMap(
        joined, placement.geometry, placement.case, placement.to_native, placement.warnings
    )


def volume_of(layer: Image) -> CTVolume:
    """The CT that a layer shows; its voxels are shared, not copied.

    Raises
    ------
    InputError
        If the layer was not opened by this plugin, so that its orientation is unknown.
    """
    placement = placement_of(layer)
    if placement is None:
        raise InputError(
            f"layer '{layer.name}' was opened by another reader, so left and right are unknown; "
            "open the file with napari-covseg"
        )
    return CTVolume(
        np.asarray(layer.data),
        placement.geometry,
        placement.case,
        placement.to_native,
        placement.warnings,
        placement.source,
        placement.taken,
    )


def is_ct(layer: Layer) -> bool:
    """Whether a layer is a CT that this plugin opened."""
    from napari.layers import Image

    return isinstance(layer, Image) and placement_of(layer) is not None


def _frame(placement: Placement) -> dict[str, Any]:
    return {
        "scale": placement.geometry.spacing_mm,
        "translate": placement.geometry.origin_mm[::-1],
        "units": ("mm", "mm", "mm"),
        "axis_labels": AXES,
        "metadata": {METADATA_KEY: placement},
    }


def _colours(labels: Iterable[Label]) -> Any:
    from napari.utils.colormaps import DirectLabelColormap

    table: dict[int | None, str] = {None: "transparent", 0: "transparent"}
    table.update({int(label): LABEL_COLOURS[label] for label in labels})
    return DirectLabelColormap(color_dict=table)


def _preview_colours() -> Any:
    from napari.utils.colormaps import DirectLabelColormap

    table: dict[int | None, str] = {None: "transparent", 0: "transparent", 1: PREVIEW_COLOUR}
    return DirectLabelColormap(color_dict=table)


def _checked(values: NDArray, name: str) -> NDArray[np.uint8]:
    known = {int(label) for label in Label}
    strange = sorted(set(np.unique(values).tolist()) - known)
    if strange:
        listed = ", ".join(map(str, strange[:5]))
        raise InputError(
            f"layer '{name}' holds label {listed}; expected 0 to {max(known)} (1 left lung, "
            "2 right lung, 3 GGO, 4 consolidation): repaint it with one of these"
        )
    return values.astype(np.uint8)


def _lay_over(joined: NDArray[np.uint8], values: NDArray[np.uint8]) -> None:
    """Put ``values`` into ``joined``; where both have a label the lesion wins."""
    wins = (values > 0) & ((joined == 0) | np.isin(values, _IN_LESIONS))
    np.copyto(joined, values, where=wins)
