import numpy as np
import pytest
import torch

from napari_covseg.domain.errors import UsageError
from napari_covseg.domain.labels import Label
from napari_covseg.training.augment import change_intensity, cut_patch, empty_part, make_batch
from napari_covseg.training.dataset import TrainingSlice
from napari_covseg.training.schedules import find_preset


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


@pytest.mark.parametrize("share", [0.2, 0.4, 0.5])
def test_cutout_empties_that_share_of_the_area_in_one_place(share: float) -> None:
    rng = np.random.default_rng(0)
    places = set()
    for _ in range(10):
        emptied = empty_part(torch.ones(1, 96, 128), share, rng)[0] == 0
        assert float(emptied.float().mean()) == pytest.approx(share, abs=0.01)
        rows, columns = (emptied.any(dim=axis).nonzero().flatten() for axis in (1, 0))
        assert len(rows) * len(columns) == int(emptied.sum())
        places.add((int(rows[0]), int(columns[0])))
    assert len(places) > 5


def test_cutout_is_in_half_of_the_images_and_changes_no_label() -> None:
    slices = [_slice()] * 200
    plain, codes = make_batch(slices, (32, 32), np.random.default_rng(0))
    _, same_codes = make_batch(slices[:1], (32, 32), np.random.default_rng(0), 0.5)
    assert torch.equal(same_codes[0], codes[0])
    black = [
        float((image == -1).float().mean())
        for image in make_batch(slices, (32, 32), np.random.default_rng(0), 0.5)[0]
    ]
    before = [float((image == -1).float().mean()) for image in plain]
    assert 70 < sum(share > 0.4 for share in black) - sum(share > 0.4 for share in before) < 130


def test_without_cutout_nothing_else_is_drawn() -> None:
    first, second = (
        make_batch([_slice()] * 3, (32, 32), np.random.default_rng(1), *given)[0]
        for given in ((), (0.0,))
    )
    assert torch.equal(first, second)


def test_cutout_is_refused_for_volumes() -> None:
    assert find_preset("fast").with_settings(["cutout=0.4"]).cutout == 0.4
    for preset, value in (("mueller2021", "0.4"), ("fast", "1.5")):
        with pytest.raises(UsageError, match="cutout"):
            find_preset(preset).with_settings([f"cutout={value}"])
