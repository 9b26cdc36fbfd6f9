import pytest
import torch

from napari_covseg.training.image_augment import ViewSettings, random_views

STILL = ViewSettings(
    least_area=1.0, aspect=1.0, turn_degrees=0, mirror=0, grey=0, gamma=1.0, noise=0, hole=0
)


def _random(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def pictures():
    return torch.rand(4, 1, 32, 32, generator=_random(9)) * 1.6 - 0.8


def _with(**changes):
    from dataclasses import replace

    return replace(STILL, **changes)


def test_without_changes_a_view_is_its_picture(pictures):
    assert torch.allclose(random_views(pictures, 32, _random(), STILL), pictures, atol=1e-5)


def test_a_mirror_image_is_left_for_right(pictures):
    seen = random_views(pictures, 32, _random(), _with(mirror=1.0))
    assert torch.allclose(seen, pictures.flip(3), atol=1e-4)
    assert not torch.allclose(seen, pictures, atol=0.1)


def test_greys_keep_their_order_and_stay_in_range(pictures):
    seen = random_views(pictures, 32, _random(), _with(gamma=1.4, grey=0.1))
    assert seen.min() >= -1
    assert seen.max() <= 1
    for one, its in zip(seen, pictures, strict=True):
        order = its.flatten().argsort()
        assert bool((one.flatten()[order].diff() >= -1e-5).all())
    assert not torch.allclose(seen, pictures, atol=0.02)


def test_holes_hold_the_mean_of_the_picture(pictures):
    seen = random_views(pictures, 32, _random(), _with(hole=1.0))
    for one, its in zip(seen, pictures, strict=True):
        changed = (one - its).abs() > 1e-4
        assert 0.005 < changed.float().mean() < 0.15
        assert torch.allclose(one[changed], its.mean(), atol=1e-4)


def test_crops_lie_within_the_picture():
    # Left half dark, right half light: a crop holds nothing else, and no border of nothing.
    picture = torch.full((64, 1, 32, 32), -0.5)
    picture[..., 16:] = 0.5
    seen = random_views(picture, 16, _random(), _with(least_area=0.3, aspect=1.3))
    assert seen.min() >= -0.5001
    assert seen.max() <= 0.5001
    shares = (seen > 0).float().mean(dim=(1, 2, 3))
    assert shares.std() > 0.05


def test_one_seed_gives_one_view(pictures):
    first = random_views(pictures, 24, _random(3))
    assert torch.equal(first, random_views(pictures, 24, _random(3)))
    assert not torch.equal(first, random_views(pictures, 24, _random(4)))
