"""Lesions of models that never learned what is GGO and what is consolidation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.labels import Label

if TYPE_CHECKING:
    from napari_covseg.models.checkpoint import Model


def unname_lesions(labels: NDArray[np.uint8], model: Model) -> tuple[str, ...]:
    """GGO and consolidation become infection, in place, if ``model`` cannot tell; gives a warning.

    Trained on infection alone, a network still has an output for each, and what it puts where is
    chance.
    """
    if model.tells_lesions_apart:
        return ()
    for plane in labels:
        plane[(plane == Label.GGO.value) | (plane == Label.CONSOLIDATION.value)] = Label.INFECTION
    return (
        f"the model {model.name} was trained on data that do not say which lesions are GGO and "
        "which consolidation: all it finds is marked as infection",
    )
