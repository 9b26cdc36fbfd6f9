"""Labels layers to a file in the CT's own grid."""

from __future__ import annotations

from typing import Any

from napari_covseg.plugin.layers import METADATA_KEY, Placement, join


def write_labels(path: str, layer_data: list[tuple[Any, dict[str, Any], str]]) -> list[str]:
    """Join Labels layers, lesions over lungs, and write them in the input's own axis order.

    Parameters
    ----------
    path
        Ends in ``.nii.gz``, ``.nii``, ``.nrrd``, ``.seg.nrrd`` or ``.mha``.
    layer_data
        Array, arguments and type of each layer, as napari hands them over.

    Raises
    ------
    InputError
        If the layers do not belong together or hold labels that mean nothing.
    """
    from napari_covseg.io import write_labels as write

    layers = [(data, _placed(data, arguments)) for data, arguments, _ in layer_data]
    return [str(write(join(layers), path))]


def _placed(data: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """Lend a layer drawn by hand the placement of the open CT whose grid it has."""
    if METADATA_KEY in arguments.get("metadata", {}):
        return arguments
    found = _placement_of_open_ct(tuple(data.shape))
    if found is None:
        return arguments
    return {**arguments, "metadata": {METADATA_KEY: found}}


def _placement_of_open_ct(shape: tuple[int, ...]) -> Placement | None:
    from napari import current_viewer

    from napari_covseg.plugin.layers import is_ct, placement_of

    viewer = current_viewer()
    fitting = [
        placement
        for layer in (viewer.layers if viewer is not None else ())
        if is_ct(layer) and (placement := placement_of(layer)) and layer.data.shape == shape
    ]
    return fitting[0] if len(fitting) == 1 else None
