import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from napari_covseg.domain.labels import Label
from napari_covseg.training.augment_volume import (
    Source,
    VolumeAugmentation,
    Warp,
    change_values,
    cut_patch,
    cutout_box,
    draw_warp,
)

CPU = torch.device("cpu")
AIR = -2.0
NEVER, ALWAYS = VolumeAugmentation(probability=0), VolumeAugmentation(probability=1)


def _source(shape=(12, 30, 26), spacing=(2.7, 1.58, 1.58), seed=0) -> Source:
    rng = np.random.default_rng(seed)
    image = rng.normal(0, 0.5, shape).clip(AIR).astype(np.float16)
    image[0, 0, 0] = AIR
    codes = rng.integers(0, 5, shape).astype(np.uint8)
    return Source(image, codes, spacing, AIR)


def _ball(shape=(24, 40, 40), radius_mm=18.0, spacing=(2.7, 1.58, 1.58)) -> Source:
    """A bright ball, off the centre, labelled GGO."""
    at = np.indices(shape).T - np.array(shape) / 2 - (2, -3, 4)
    inside = (np.linalg.norm(at * spacing, axis=-1) < radius_mm).T
    image = np.where(inside, 1.0, AIR).astype(np.float16)
    codes = np.where(inside, Label.GGO, Label.BACKGROUND).astype(np.uint8)
    return Source(image, codes, spacing, AIR)


def test_without_a_warp_a_patch_is_a_copy() -> None:
    source = _source()
    image, codes = cut_patch(source, (2, 3, 4), (5, 6, 7), Warp(), CPU)
    box = np.s_[2:7, 3:9, 4:11]
    assert np.array_equal(image.numpy(), source.image[box].astype(np.float32))
    assert np.array_equal(codes.numpy(), source.codes[box])
    assert image.dtype == torch.float32
    assert codes.dtype == torch.uint8


def test_mirroring_turns_image_and_codes() -> None:
    source = _source()
    image, codes = cut_patch(source, (2, 3, 4), (5, 6, 7), Warp(flips=(0, 2)), CPU)
    box = np.s_[2:7, 3:9, 4:11]
    assert np.array_equal(image.numpy(), source.image[box][::-1, :, ::-1].astype(np.float32))
    assert np.array_equal(codes.numpy(), source.codes[box][::-1, :, ::-1])


@pytest.mark.parametrize("warp", [Warp(), Warp(bend=torch.zeros(3, 20, 40, 40))])
def test_outside_is_air_and_ignored(warp: Warp) -> None:
    source = _source()
    image, codes = cut_patch(source, (-3, -5, -6), (20, 40, 40), warp, CPU)
    inside = np.s_[3:15, 5:35, 6:32]
    outside = np.ones((20, 40, 40), bool)
    outside[inside] = False
    assert np.allclose(image.numpy()[inside], source.image, atol=1e-4)
    assert np.array_equal(codes.numpy()[inside], source.codes)
    assert np.allclose(image.numpy()[outside], AIR)
    assert (codes.numpy()[outside] == Label.IGNORE).all()


def test_a_patch_beside_the_volume_is_all_air() -> None:
    warp = Warp(turn=np.eye(3) * 1.1)
    image, codes = cut_patch(_source(), (100, 0, -90), (8, 8, 8), warp, CPU)
    assert (image == AIR).all()
    assert (codes == Label.IGNORE).all()


def test_a_quarter_turn_is_that_of_numpy() -> None:
    source = _source((9, 15, 15))
    turn = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], float)
    image, codes = cut_patch(source, (0, 0, 0), (9, 15, 15), Warp(turn=turn), CPU)
    turns = [np.rot90(source.image, k, axes=(1, 2)).astype(np.float32) for k in (1, 3)]
    which = int(np.argmin([np.abs(image.numpy() - t).max() for t in turns]))
    assert np.abs(image.numpy() - turns[which]).max() < 1e-3
    assert np.array_equal(codes.numpy(), np.rot90(source.codes, (1, 3)[which], axes=(1, 2)))


def test_scaling_makes_a_ball_larger_and_keeps_it_a_ball() -> None:
    source = _ball()
    for factor in (0.85, 1.2):
        _, codes = cut_patch(source, (0, 0, 0), (24, 40, 40), Warp(turn=np.eye(3) * factor), CPU)
        ratio = (codes == Label.GGO).sum() / (source.codes == Label.GGO).sum()
        assert abs(float(ratio) / factor**3 - 1) < 0.06


def test_turning_happens_in_millimetres() -> None:
    source = _ball()
    rng = np.random.default_rng(1)
    settings = VolumeAugmentation(probability=1, scale=(1, 1), bend_mm=0, rotation_degrees=40)
    before = (source.codes == Label.GGO).sum()
    for _ in range(5):
        warp = draw_warp(settings, source, (24, 40, 40), rng, CPU)
        assert np.allclose(warp.turn @ warp.turn.T, np.eye(3))
        _, codes = cut_patch(source, (0, 0, 0), (24, 40, 40), warp, CPU)
        inside = (codes == Label.GGO).numpy()
        assert abs(inside.sum() / before - 1) < 0.05
        places = np.argwhere(inside) * source.spacing_mm
        spread = np.linalg.eigvalsh(np.cov(places.T))
        assert spread[-1] / spread[0] < 1.15


def test_image_and_codes_move_together() -> None:
    rng = np.random.default_rng(0)
    source = _ball(radius_mm=22)
    for _ in range(10):
        warp = draw_warp(ALWAYS, source, (24, 40, 40), rng, CPU)
        image, codes = cut_patch(source, (0, 0, 0), (24, 40, 40), warp, CPU)
        ball = (codes == Label.GGO).numpy()
        assert ball.sum() > 500
        core = ndimage.binary_erosion(ball)
        far = ~ndimage.binary_dilation(ball, iterations=2)
        assert image.numpy()[core].min() > 0.5 * (1 + AIR)
        assert np.quantile(image.numpy()[far], 0.99) < AIR + 0.1


def test_bending_is_smooth_and_as_strong_as_said() -> None:
    settings = VolumeAugmentation(probability=1, bend_mm=6)
    source = _source((10, 32, 32), (10.8, 3.2, 3.2))
    squares = []
    for seed in range(100):
        bend = draw_warp(settings, source, (10, 32, 32), np.random.default_rng(seed), CPU).bend
        assert bend.shape == (3, 10, 32, 32)
        squares.append(float(bend[2].pow(2).mean()))
        # no fold: neighbours stay in order
        assert float((bend[2].diff(dim=2) / 3.2).min()) > -1
    # the mean square of what is drawn evenly from 0 to 6
    assert abs(np.sqrt(np.mean(squares) / 12) - 1) < 0.15


def test_a_single_slice_stays_in_its_plane() -> None:
    source = _source((1, 60, 60), (5.0, 1.58, 1.58))
    rng = np.random.default_rng(0)
    for _ in range(5):
        warp = draw_warp(ALWAYS, source, (8, 64, 64), rng, CPU)
        image, codes = cut_patch(source, (-3, -2, -2), (8, 64, 64), warp, CPU)
        held = [z for z in range(8) if (codes[z] != Label.IGNORE).any()]
        assert held == [4 if 0 in warp.flips else 3]
        # not faded by air above and below
        assert float(image[held[0]][codes[held[0]] != Label.IGNORE].mean()) > -0.2


def test_thin_stacks_are_tilted_less() -> None:
    rng = np.random.default_rng(0)
    settings = VolumeAugmentation(probability=1, scale=(1, 1), bend_mm=0)
    thin = _source((3, 60, 60), (2.7, 1.58, 1.58))
    tilts = [abs(draw_warp(settings, thin, (8, 64, 64), rng, CPU).turn[0, 0]) for _ in range(30)]
    most = math.atan(2 * 2.7 / (64 * 1.58))
    assert min(tilts) >= math.cos(most) ** 2
    thick = _source((40, 60, 60))
    tilts = [abs(draw_warp(settings, thick, (8, 64, 64), rng, CPU).turn[0, 0]) for _ in range(30)]
    assert min(tilts) < math.cos(most) ** 2


def test_probability_is_that_of_each_change() -> None:
    rng = np.random.default_rng(0)
    source, settings = _source(), VolumeAugmentation(bend_wave_mm=100)
    warps = [draw_warp(settings, source, (4, 4, 4), rng, CPU) for _ in range(2000)]
    for axis in range(3):
        assert abs(np.mean([axis in w.flips for w in warps]) - 0.15) < 0.03
    assert abs(np.mean([w.bend is not None for w in warps]) - 0.15) < 0.03
    assert abs(np.mean([w.turn is not None for w in warps]) - (1 - 0.85**2)) < 0.04
    none = [draw_warp(NEVER, source, (4, 4, 4), rng, CPU) for _ in range(50)]
    assert all(w.flips == () and w.turn is None and w.bend is None for w in none)


def _only(number: int) -> np.random.Generator:
    """A generator that says yes to one of the five changes of values only."""

    class Choosing:
        def __init__(self) -> None:
            self._rng, self._asked = np.random.default_rng(5), -1

        def random(self) -> float:
            self._asked += 1
            return 0.0 if self._asked == number else 1.0

        def __getattr__(self, name: str):
            return getattr(self._rng, name)

    return Choosing()  # type: ignore[return-value]


SETTINGS = VolumeAugmentation(probability=0.5)


def _image() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(1).uniform(AIR, 3, (16, 20, 24))).float()


def test_brightness_scales_from_air() -> None:
    image = _image()
    changed = change_values(image, AIR, SETTINGS, _only(0))
    factors = (changed - AIR) / (image - AIR)
    assert 0.75 <= float(factors.median()) <= 1.25
    assert abs(float(factors.median()) - 1) > 0.01
    assert float(factors[image > AIR + 0.1].std()) < 1e-4


def test_contrast_turns_about_the_mean_and_keeps_the_range() -> None:
    image = _image()
    changed = change_values(image, AIR, SETTINGS, _only(1))
    middle = (image - image.mean()).abs() < 1
    slopes = (changed - image.mean())[middle] / (image - image.mean())[middle]
    assert 0.75 <= float(slopes.median()) <= 1.25
    assert abs(float(slopes.median()) - 1) > 0.01
    assert float(changed.min()) >= float(image.min())
    assert float(changed.max()) <= float(image.max())


def test_gamma_is_a_power_in_the_patchs_own_range() -> None:
    image = _image()
    changed = change_values(image, AIR, SETTINGS, _only(2))
    low, high = image.min(), image.max()
    before, after = ((i - low) / (high - low) for i in (image, changed))
    inside = (before > 0.01) & (before < 0.99)
    powers = after[inside].log() / before[inside].log()
    assert 0.5 <= float(powers.median()) <= 2
    assert abs(float(powers.median()) - 1) > 0.01
    assert float(powers.std()) < 0.01


def test_noise_has_no_mean_and_a_bounded_variance() -> None:
    image = _image()
    noise = change_values(image, AIR, SETTINGS, _only(3)) - image
    assert abs(float(noise.mean())) < 0.02
    assert 0.001 < float(noise.var()) < 0.11


def test_cutout_empties_a_box_of_the_fraction() -> None:
    image = _image()
    changed = change_values(image, AIR, SETTINGS, _only(4))
    emptied = changed == AIR
    share = float(emptied.float().mean())
    assert min(abs(share - f) for f in SETTINGS.cutout) < 0.05
    z, y, x = torch.nonzero(emptied, as_tuple=True)
    box = [v.max() - v.min() + 1 for v in (z, y, x)]
    assert math.prod(int(n) for n in box) == int(emptied.sum())
    assert torch.equal(changed[~emptied], image[~emptied])
    assert not (image == AIR).any()


@pytest.mark.parametrize("fraction", [0.2, 0.4, 0.5])
def test_boxes_hold_their_fraction_and_lie_inside(fraction: float) -> None:
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(200):
        box = cutout_box((80, 160, 160), fraction, rng)
        assert all(0 <= b.start < b.stop <= n for b, n in zip(box, (80, 160, 160), strict=True))
        shares.append(math.prod(b.stop - b.start for b in box) / (80 * 160 * 160))
    assert abs(np.mean(shares) - fraction) < 0.01


def test_nothing_is_changed_at_probability_zero() -> None:
    image = _image()
    assert torch.equal(change_values(image, AIR, NEVER, np.random.default_rng(0)), image)


def test_an_empty_patch_stays_finite() -> None:
    for seed in range(5):
        changed = change_values(
            torch.full((4, 5, 6), AIR), AIR, ALWAYS, np.random.default_rng(seed)
        )
        assert type(changed) is torch.Tensor
        assert torch.isfinite(changed).all()
