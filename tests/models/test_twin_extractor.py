from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from picture_sets import corner_classifier

from napari_covseg.domain.errors import ModelError, UsageError
from napari_covseg.models.classifier_heads import LayersHead
from napari_covseg.models.feature_extractors import (
    covseg_extractor,
    lite0_encoder,
    load_extractor,
    seen,
)
from napari_covseg.models.image_classifier import References, read_classifier, write_classifier
from napari_covseg.models.twin_extractor import TwinExtractor


@pytest.fixture(scope="module")
def twin():
    torch.manual_seed(0)
    first = covseg_extractor()
    return TwinExtractor(first.network, lite0_encoder(), first.sha256).eval().requires_grad_(False)


def test_its_first_features_are_those_of_the_shipped_network(twin):
    grey = torch.rand(2, 1, 96, 96, generator=torch.Generator().manual_seed(1))
    found = twin(grey)
    assert found.shape == (2, 326 + 3 * 320)
    alone = covseg_extractor().eval()(grey)
    assert torch.allclose(found[:, :326], alone, atol=1e-4)
    assert not torch.allclose(found[0], found[1])
    assert twin(grey, pooled=False).shape == (2, 640 * 9 + 6)


def test_features_are_means_and_spreads_over_what_was_found(twin):
    maps = torch.zeros(1, 640, 2, 2)
    maps[0, 0] = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    maps[0, 320] = torch.tensor([[1.0, 3.0], [5.0, 5.0]])
    beside = torch.zeros(1, 8, 2, 2)
    beside[0, 0] = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    beside[0, 1, 1, 1] = 1.0
    beside[0, 2] = 0.25
    found = twin.from_maps(maps, beside)[0]
    assert found[0] == pytest.approx(1.5, abs=1e-3)
    assert found[320] == pytest.approx(0.25)
    assert found[326] == pytest.approx(2, abs=1e-3)
    assert found[326 + 320] == pytest.approx(4, abs=1e-3)
    assert found[326 + 640] == pytest.approx(1, abs=1e-2)


def test_lung_is_weighed_around_where_places_look():
    """Places are centred at pixels 31 and 63: pixels 16 to 47 are the first's."""
    classes = torch.zeros(1, 4, 64, 64)
    classes[:, 0] = 1
    classes[:, 0, 16:48, 16:48] = 0
    classes[:, 1, 16:48, 16:48] = 1
    where, numbers = seen(classes, torch.Size((2, 2)))
    assert where[0, 0].tolist() == [[1, 0], [0, 0]]
    assert not where[0, 1].any()
    assert numbers[0, 0, 0, 0] == pytest.approx(0.25)


def test_its_own_encoder_is_kept_with_the_classifier(twin, tmp_path):
    torch.manual_seed(2)
    head = LayersHead((torch.randn(1, 2, 1286) / 30,), (torch.zeros(1, 2),))
    features = np.zeros((2, 1286), np.float32)
    references = References.of(features, ("a", "b"), ("dark", "light"))
    classifier = replace(
        corner_classifier(64), extractor=twin, head=head, explain=head, references=references
    )
    again = read_classifier(write_classifier(tmp_path, classifier))
    grey = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(3))
    mine, theirs = (one.extractor(grey).numpy() for one in (classifier, again))
    assert again.head.probabilities(theirs) == pytest.approx(head.probabilities(mine), abs=0.01)
    assert theirs == pytest.approx(mine, abs=0.05)


def test_it_has_no_file_of_weights():
    with pytest.raises(ModelError, match="trained with it"):
        load_extractor("covseg+imagenet")
    with pytest.raises(UsageError, match="take no file of weights"):
        load_extractor("covseg+imagenet", Path("w.pth"))
