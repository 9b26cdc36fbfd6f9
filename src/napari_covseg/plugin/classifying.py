"""What the Classify panel works on: layers or a folder, its answer, and the heat map. No Qt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.errors import InputError
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.domain.volume import CTVolume
from napari_covseg.plugin.layers import LayerTuple, ct_layer, is_ct, volume_of
from napari_covseg.plugin.no_triton import without_triton
from napari_covseg.plugin.planes import AXIAL
from napari_covseg.plugin.viewing import viewing_of
from napari_covseg.workflows.classify_settings import ClassifySettings

if TYPE_CHECKING:
    from napari.layers import Image, Layer
    from napari.viewer import Viewer

    from napari_covseg.io.images import Picture
    from napari_covseg.models.image_classifier import ImageClassifier
    from napari_covseg.workflows.classify import Classification

HEAT = "Heat map"
HEAT_MARK, PICTURE_KEY = "napari_covseg_heat", "napari_covseg_picture"
"""Keys in the metadata of a heat map's layer, and of a picture that this plugin read."""
HEAT_OPACITY = 0.6
_PLACE = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")


@dataclass(frozen=True, eq=False)
class Classified:
    """An answer, and the card of the classifier that gave it."""

    result: Classification
    card: Mapping[str, Any]


@dataclass(eq=False)
class Shown:
    """An answer in the viewer: of which layer, and the heat map over it."""

    layer: Image
    classified: Classified
    heat: Image | None


def is_picture_layer(layer: Layer) -> bool:
    """Whether a layer is a flat picture, grey or colour, and not a heat map of this panel."""
    from napari.layers import Image

    flat = isinstance(layer, Image) and layer.ndim == 2 and not layer.multiscale
    return flat and HEAT_MARK not in layer.metadata


def is_source(layer: Layer) -> bool:
    """Whether a layer can be classified: a CT that this plugin opened, or a flat picture."""
    return is_ct(layer) or is_picture_layer(layer)


def source_of(layer: Image) -> Picture | CTVolume:
    """What a layer shows, as classifiers take it."""
    if is_ct(layer):
        return volume_of(layer)
    from napari_covseg.io.images import LEAST_SIDE, Picture

    known = layer.metadata.get(PICTURE_KEY)
    if isinstance(known, Picture):
        return known
    limits = (float(layer.contrast_limits[0]), float(layer.contrast_limits[1]))
    grey, warnings = grey_of(np.asarray(layer.data), layer.rgb, limits)
    if min(grey.shape) < LEAST_SIDE:
        raise InputError(
            f"layer '{layer.name}': {grey.shape[1]} x {grey.shape[0]} pixels are too few; expected "
            f"at least {LEAST_SIDE} a side"
        )
    return Picture(grey, "layer", warnings)


def grey_of(
    data: NDArray, rgb: bool, limits: tuple[float, float]
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """A layer's ``(y, x)`` or ``(y, x, 3 or 4)`` as grey, by the rules for files, and warnings.

    Of values that no picture file holds, what the layer's contrast limits show is taken.
    """
    from napari_covseg.io.images import scaled_by_depth

    if rgb:
        depth = 1.0 if data.dtype.kind == "f" else float(np.iinfo(data.dtype).max)
        parts = np.clip(data.astype(np.float32) / np.float32(depth), 0, 1)
        grey = parts[..., :3] @ np.array([0.299, 0.587, 0.114], np.float32)
        return np.asarray(grey * parts[..., 3] if parts.shape[-1] == 4 else grey, np.float32), ()
    if data.dtype.kind == "u" and data.dtype.itemsize <= 2:
        return scaled_by_depth(data), ()
    values = np.nan_to_num(data.astype(np.float32))
    if data.dtype.kind in "fb" and values.min() >= 0 and values.max() <= 1:
        return values, ()
    low, high = limits
    grey = np.clip((values - low) / max(high - low, 1e-6), 0, 1).astype(np.float32)
    told = f"Grey from the layer's contrast limits, {low:g} to {high:g}: they change the answer."
    return grey, (told,)


def picture_layer(name: str, picture: Picture) -> LayerTuple:
    """An Image layer of a picture, in pixels."""
    arguments = {
        "name": name,
        "colormap": "gray",
        "contrast_limits": (0.0, 1.0),
        "metadata": {PICTURE_KEY: picture},
    }
    return picture.grey, arguments, "image"


def opened_steps(path: Path) -> Steps[LayerTuple]:
    """Read a picture or a CT as a layer; runs in a worker's thread.

    Raises
    ------
    InputError
        If it is neither.
    """
    from napari_covseg.workflows.classify import read_source
    from napari_covseg.workflows.classify_files import case_of

    yield Progress(0, 1, f"reading {path.name}")
    source = read_source(path)
    if isinstance(source, CTVolume):
        return ct_layer(source)
    return picture_layer(case_of(path, source), source)


def classified_steps(source: Picture | CTVolume, settings: ClassifySettings) -> Steps[Classified]:
    """Classify; runs in a worker's thread."""
    yield Progress(0, 1, "loading the classifier")
    classifier = loaded(settings)
    return (yield from answered_steps(source, settings, classifier))


def loaded(settings: ClassifySettings) -> ImageClassifier:
    """The classifier; torchvision, which some need, comes without Triton."""
    with without_triton():
        from napari_covseg.workflows.classify import load_classifier

        return load_classifier(settings)


def answered_steps(
    source: Picture | CTVolume, settings: ClassifySettings, classifier: ImageClassifier
) -> Steps[Classified]:
    """What a classifier says; one message for all slices, so that the time left can be told."""
    from napari_covseg.workflows.classify import classify

    steps = classify(source, settings, classifier)
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            return Classified(end.value, classifier.card)
        slices = step.total > 1 and step.done < step.total
        yield replace(step, message="classifying slices") if slices else step


def show_result(viewer: Viewer, layer: Image, classified: Classified) -> Shown:
    """Put the heat map over the layer that was classified."""
    heat = None
    if classified.result.heat is not None:
        data, arguments, _ = heat_layer(classified.result, layer)
        heat = viewer.add_image(data, **arguments)
        viewer.layers.selection.active = layer
    return Shown(layer, classified, heat)


def remove(viewer: Viewer, shown: Shown | None) -> None:
    """Take an answer's heat map away, if it is still there."""
    if shown is not None and shown.heat in viewer.layers:
        viewer.layers.remove(shown.heat)


def heat_layer(result: Classification, layer: Image) -> LayerTuple:
    """The heat map where its picture is; of a CT one slice ``(1, y, x)`` in its place."""
    assert result.heat is not None
    place: dict[str, Any] = {name: getattr(layer, name) for name in _PLACE}
    data = result.heat
    if result.shown is not None:
        data = data[None]
        place["translate"] = np.array(layer.translate, float)
        place["translate"][0] += result.shown * layer.scale[0]
    arguments = {
        **place,
        "name": f"{HEAT}: {result.label}",
        "metadata": {HEAT_MARK: True},
        "rgb": False,
        "colormap": _heat_colours(),
        "contrast_limits": (0.0, 1.0),
        "blending": "translucent",
        "interpolation2d": "linear",
    }
    return data, arguments, "image"


def bring_forward(viewer: Viewer, layer: Image) -> None:
    """Show what is to be classified: a picture alone, a CT without the pictures that hide it."""
    picture, viewing = is_picture_layer(layer), viewing_of(viewer)
    hiding = [
        other
        for other in viewer.layers
        if other is not layer and other.visible and (picture or other.ndim == 2)
    ]
    for other in hiding:
        other.visible = False
    if picture:
        # In the other planes of a CT a picture stands on its head.
        viewing.set_plane(AXIAL)
    if hiding or not layer.visible:
        layer.visible = True
        viewing.fit(layer)


def over_ct(ct: Image, shape: tuple[int, ...]) -> dict[str, Any]:
    """Where a picture of this shape lies beside a CT: about its middle, on its pixels.

    It has no size of its own. In another pixel size the CT would have other slices for napari, and
    in another unit it would lose its millimetres.
    """
    size, start = np.array(ct.scale[-2:]), np.array(ct.translate[-2:])
    before = (np.array(ct.data.shape[-2:]) - np.array(shape)) // 2
    return {"scale": size, "translate": start + before * size, "units": ct.units[-2:]}


def _heat_colours() -> Any:
    """Clear where nothing counts, the more opaque the more it does, as in saved heat maps."""
    from napari.utils.colormaps import Colormap, ensure_colormap

    steps = np.linspace(0, 1, 64, dtype=np.float32)
    colours = np.array(ensure_colormap("inferno").map(steps), np.float32)
    colours[:, 3] = HEAT_OPACITY * steps
    return Colormap(colours, name="covseg heat")
