import json

import numpy as np
import pytest
import torch

from napari_covseg.models import checkpoint
from napari_covseg.models.classifier_heads import LayersHead
from napari_covseg.models.feature_extractors import Extractor, covseg_extractor, seen
from napari_covseg.models.image_classifier import (
    ImageClassifier,
    References,
    read_classifier,
    write_classifier,
)
from napari_covseg.preprocess.pictures import PictureRecipe


def _classifier(seed: int, extractor: Extractor) -> ImageClassifier:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(4, 326)).astype(np.float32)
    weights = torch.from_numpy(rng.normal(size=(1, 2, 326)).astype(np.float32))
    head = LayersHead((weights,), (torch.zeros(1, 2),))
    return ImageClassifier(
        name="mine",
        version=str(seed),
        sha256="",
        classes=("a", "b"),
        positive="b",
        recipe=PictureRecipe(64),
        extractor=extractor,
        pooled=True,
        head=head,
        explain=head,
        threshold=0.5,
        references=References.of(features, ("1", "2", "3", "4"), ("a", "a", "b", "b")),
        card={},
    )


@pytest.fixture(scope="module")
def extractor():
    return covseg_extractor()


def test_a_card_of_before_gets_the_features_that_it_was_trained_on(tmp_path, extractor):
    path = write_classifier(tmp_path, _classifier(1, extractor))
    new = read_classifier(path)
    assert new.extractor.version == 2
    card = json.loads(path.read_text())
    del card["features"]["version"], card["weights"]  # As cards were written at first.
    path.write_text(json.dumps(card))
    old = read_classifier(path)
    assert old.extractor.version == 1

    # Lungs in the upper left quarter: all of place 0 when spread evenly; around the pixel that it
    # is centred at, 31, a quarter is lung.
    classes = torch.zeros(1, 4, 64, 64)
    classes[0, 1, :32, :32] = 1
    size = torch.Size((2, 2))
    assert seen(classes, size, evenly=True)[0][0, 0].tolist() == [[1, 0], [0, 0]]
    assert seen(classes, size)[0][0, 0].tolist() == [[0.25, 0], [0, 0]]
    grey = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        first, second = old.extractor(grey), new.extractor(grey)
    assert not torch.allclose(first[:, :320], second[:, :320], rtol=0.01)
    torch.testing.assert_close(first[:, 320:], second[:, 320:])


def test_cut_off_before_its_card_a_newer_classifier_leaves_the_older_one(
    tmp_path, extractor, monkeypatch
):
    path = write_classifier(tmp_path, _classifier(1, extractor))
    whole = checkpoint.replace_file

    def no_card(file, content):
        if file.suffix == ".json":
            raise KeyboardInterrupt
        whole(file, content)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "replace_file", no_card)
        with pytest.raises(KeyboardInterrupt):
            write_classifier(tmp_path, _classifier(2, extractor))
    assert read_classifier(path).version == "1"
    write_classifier(tmp_path, _classifier(2, extractor))
    assert read_classifier(path).version == "2"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["mine.json", "mine.safetensors"]
