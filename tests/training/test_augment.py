import numpy as np
import torch

from napari_covseg.domain.labels import Label
from napari_covseg.training.augment import change_intensity, cut_patch, make_batch
from napari_covseg.training.dataset import TrainingSlice


def _slice() -> TrainingSlice:
    codes = np.zeros((120, 160), np.uint8)
    codes[40:80, 50:110] = Label.GGO
    grey = np.where(codes == Label.GGO, 200, 50).astype(np.uint8)
    return TrainingSlice("case", "patient", grey, codes)


def test_image_and_labels_move_together() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        grey, codes = cut_patch(_slice(), (96, 112), rng)
        inside, outside = grey[0][codes == Label.GGO], grey[0][codes == Label.BACKGROUND]
        assert inside.numel() > 100
        # only the interpolated rim of a region is between both greys
        assert float((inside > 0.6).float().mean()) > 0.93
        assert float((outside < 0.4).float().mean()) > 0.93


def test_outside_of_the_slice_is_ignored() -> None:
    _, codes = cut_patch(_slice(), (400, 400), np.random.default_rng(0))
    corners = codes[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert corners.tolist() == [Label.IGNORE] * 4
    assert set(codes.unique().tolist()) == {Label.BACKGROUND, Label.GGO, Label.IGNORE}


def test_intensity_stays_in_range_and_changes() -> None:
    grey = torch.rand(1, 64, 64)
    rng = np.random.default_rng(0)
    changed = [change_intensity(grey, rng) for _ in range(20)]
    assert all(float(c.min()) >= 0 and float(c.max()) <= 1 for c in changed)
    assert all(not torch.equal(c, grey) for c in changed)
    assert all(torch.isfinite(c).all() for c in changed)


def test_a_seed_gives_the_same_batch() -> None:
    first, second, other = (
        make_batch([_slice()] * 4, (64, 64), np.random.default_rng(seed)) for seed in (3, 3, 4)
    )
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert not torch.equal(first[0], other[0])
    assert float(first[0].min()) >= -1
    assert float(first[0].max()) <= 1
