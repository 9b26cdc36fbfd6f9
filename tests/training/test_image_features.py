from pathlib import Path

import numpy as np
import pytest
from picture_sets import CornerExtractor, write_pictures

from napari_covseg.domain.errors import InputError
from napari_covseg.domain.progress import run_to_end
from napari_covseg.io.image_sets import read_image_set
from napari_covseg.models.device import choose_device
from napari_covseg.preprocess.pictures import PictureRecipe
from napari_covseg.training.image_features import (
    FeatureSource,
    features_of,
    features_of_planes,
    hash_pictures,
)


class Counting(CornerExtractor):
    seen = 0

    def maps(self, grey):
        self.seen += len(grey)
        return super().maps(grey)


@pytest.fixture
def source(tmp_path):
    device = choose_device("cpu")
    return FeatureSource(Counting().eval(), PictureRecipe(32), device, True, tmp_path / "cache")


def test_features_are_computed_once_for_each_content(tmp_path, source):
    images = read_image_set(write_pictures(tmp_path / "p", each=10))
    paths = [picture.path for picture in images]
    first = run_to_end(features_of(paths, source))
    assert source.extractor.seen == 20
    # A quarter of the picture is seen, so its mean grey is four times the feature.
    assert first[:10, 0] * 4 * 255 == pytest.approx(np.full(10, 60), abs=4)
    assert first[10:, 0] * 4 * 255 == pytest.approx(np.full(10, 180), abs=4)
    moved = tmp_path / "elsewhere.png"
    moved.write_bytes(paths[3].read_bytes())
    again = run_to_end(features_of([moved, *paths], source))
    assert source.extractor.seen == 20
    assert again[1:] == pytest.approx(first)
    assert again[0] == pytest.approx(first[3])
    paths[0].write_bytes(paths[15].read_bytes())
    assert run_to_end(features_of(paths[:1], source))[0] == pytest.approx(first[15])


def test_another_recipe_or_network_has_features_of_its_own(source):
    from dataclasses import replace

    keys = {
        source.key,
        replace(source, recipe=PictureRecipe(32, clahe=True)).key,
        replace(source, pooled=False).key,
    }
    source.extractor.sha256 = "1"
    assert len(keys | {source.key}) == 4


def test_a_damaged_entry_is_computed_anew_and_whole_maps_are_halves(tmp_path, source):
    from dataclasses import replace

    path = write_pictures(tmp_path / "p", each=1) / "dark" / "00.png"
    whole = replace(source, pooled=False)
    first = run_to_end(features_of([path], whole))
    assert first.shape == (1, 64)
    (kept,) = Path(source.cache).rglob("*.npy")
    assert np.load(kept).dtype == np.float16
    kept.write_bytes(b"x")
    assert run_to_end(features_of([path], whole)) == pytest.approx(first)
    assert source.extractor.seen == 2


def test_planes_pass_one_by_one_in_order(source):
    planes = [np.full((40, 40), level, np.float32) for level in np.linspace(0.1, 0.9, 20)]
    found = [row[0] for row in features_of_planes(iter(planes), source)]
    assert np.array(found) * 4 == pytest.approx(np.linspace(0.1, 0.9, 20), abs=0.01)


def test_one_picture_with_two_labels_is_told(tmp_path):
    folder = write_pictures(tmp_path / "p", each=2)
    (folder / "light" / "copy.png").write_bytes((folder / "dark" / "01.png").read_bytes())
    with pytest.raises(InputError, match=r"dark/01\.png and light/copy\.png are the same picture"):
        run_to_end(hash_pictures(read_image_set(folder)))


def test_a_recipe_crops_scales_and_equalises():
    grey = np.zeros((50, 100), np.float32)
    grey[10:40, 20:80] = 0.5
    assert PictureRecipe(16, keep=0.6).apply(grey) == pytest.approx(0.5)
    assert PictureRecipe(16).apply(grey).mean() < 0.3
    assert PictureRecipe(16).apply(grey).shape == (16, 16)
    ramp = np.tile(np.linspace(0.4, 0.5, 64, dtype=np.float32), (64, 1))
    assert np.ptp(PictureRecipe(64, clahe=True).apply(ramp)) > 1.5 * np.ptp(ramp)
    with pytest.raises(ValueError, match="not a usable recipe"):
        PictureRecipe(16, keep=0)
