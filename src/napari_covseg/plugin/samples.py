"""Sample data: a synthetic chest CT, with or without the labels it was made from."""

from __future__ import annotations

from napari_covseg.plugin.layers import LayerTuple, ct_layer, label_layers


def open_phantom() -> list[LayerTuple]:
    """The synthetic chest CT."""
    from napari_covseg.io import make_phantom
    from napari_covseg.plugin.viewing import attach_to_current_viewer

    attach_to_current_viewer()
    return [ct_layer(make_phantom().volume)]


def open_phantom_with_labels() -> list[LayerTuple]:
    """The synthetic chest CT and its true labels."""
    from napari_covseg.io import make_phantom
    from napari_covseg.plugin.viewing import attach_to_current_viewer

    attach_to_current_viewer()
    phantom = make_phantom()
    return [ct_layer(phantom.volume), *label_layers(phantom.labels)]
