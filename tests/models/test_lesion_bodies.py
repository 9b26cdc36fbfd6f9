from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from napari_covseg.domain.errors import ModelError
from napari_covseg.domain.labels import NetworkClass
from napari_covseg.models import detector_files, zoo
from napari_covseg.models.detector_files import find_detector
from napari_covseg.models.lesion_bodies import LesionBodies


class Says(nn.Module):
    """Logits that are given."""

    def __init__(self, shares):
        super().__init__()
        self.shares = torch.as_tensor(shares, dtype=torch.float32)

    def forward(self, image):
        return self.shares[None].log()


def shares():
    """GGO for 0.6 and for 0.9, consolidation for 0.7 across a corner, and a speck of it."""
    content = np.full((4, 32, 32), 0.01)
    content[NetworkClass.LUNG] = 0.5

    def put(label, where, share):
        content[(slice(None), *where)] = (1 - share) / 3
        content[(label, *where)] = share

    put(NetworkClass.GGO, (slice(2, 8), slice(3, 7)), 0.6)
    put(NetworkClass.GGO, (slice(20, 30), slice(1, 5)), 0.9)
    put(NetworkClass.CONSOLIDATION, (slice(8, 12), slice(20, 24)), 0.7)
    put(NetworkClass.CONSOLIDATION, (slice(12, 16), slice(24, 28)), 0.7)
    put(NetworkClass.CONSOLIDATION, (slice(0, 1), slice(30, 32)), 0.9)
    return content / content.sum(axis=0)


def test_bodies_are_lesions_with_their_mean_probability():
    (found,) = LesionBodies(Says(shares()))([torch.zeros(1, 32, 32)])
    np.testing.assert_allclose(found["scores"], [0.9, 0.7, 0.6], atol=1e-5)
    assert found["labels"].tolist() == [1, 2, 1]
    assert found["boxes"].tolist() == [[1, 20, 5, 30], [20, 8, 28, 16], [3, 2, 7, 8]]
    assert found["masks"].shape == (3, 1, 32, 32)
    assert found["masks"].sum(dim=(1, 2, 3)).tolist() == [40, 32, 24]


def test_nothing_is_found_where_all_is_lung():
    clean = np.full((4, 32, 32), 0.1)
    clean[NetworkClass.LUNG] = 0.7
    (found,) = LesionBodies(Says(clean))([torch.zeros(1, 32, 32)])
    assert len(found["scores"]) == len(found["boxes"]) == len(found["masks"]) == 0


def test_the_shipped_segmentation_model_finds_lesions():
    found = find_detector(zoo.DEFAULT)
    assert found.name == zoo.DEFAULT
    assert isinstance(found.network, LesionBodies)
    assert found.sha256 == zoo.shipped_sha256()


def test_a_model_that_cannot_tell_lesions_apart_is_refused(monkeypatch):
    model = zoo.load()
    blind = replace(model, card={**model.card, "tells_lesions_apart": False})
    monkeypatch.setattr(detector_files, "load_model", lambda path: blind)
    with pytest.raises(ModelError, match="does not tell GGO from consolidation"):
        find_detector(zoo.DEFAULT)
