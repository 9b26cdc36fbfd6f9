import json

import numpy as np
import pytest
import torch

from napari_covseg.domain.errors import CovsegError, InputError
from napari_covseg.domain.labels import Label
from napari_covseg.training.augment import make_batch
from napari_covseg.training.augment_volume import VolumeAugmentation
from napari_covseg.training.cases import TrainingCase
from napari_covseg.training.dataset import NO_LESION, SliceSampler, TrainingSlice
from napari_covseg.training.prefetch import BatchSource
from napari_covseg.training.sampling import PatchBatches, SliceBatches

SPACING = (2.7, 1.58, 1.58)


def _volume(name: str, dataset="d", patient="", shape=(12, 30, 26), seed=0) -> TrainingCase:
    rng = np.random.default_rng(seed)
    image = rng.normal(0, 1, shape).astype(np.float16)
    codes = np.full(shape, Label.LUNG, np.uint8)
    codes[shape[0] // 2, shape[1] // 3, shape[2] // 4] = Label.GGO
    return TrainingCase(name, dataset, patient or name, image, codes, SPACING)


def _slices(name: str, dataset="d", patient="", code=Label.GGO, n=3) -> TrainingCase:
    codes = np.full((n, 40, 48), Label.LUNG, np.uint8)
    codes[0, 10:30, 10:30] = code
    image = np.random.default_rng(0).integers(0, 255, codes.shape).astype(np.uint8)
    return TrainingCase(name, dataset, patient or name, image, codes, (5.0, 1.35, 1.35))


def _sources(seed: int) -> list[BatchSource]:
    return [
        SliceBatches([_slices("a"), _slices("b", "e")], (32, 32), 3, seed),
        PatchBatches([_volume("a"), _volume("b", "e")], (8, 16, 16), 2, seed, lesion_share=0.5),
    ]


@pytest.mark.parametrize("kind", [0, 1])
def test_a_source_goes_on_exactly_from_its_state(kind: int) -> None:
    source, other_seed = _sources(3)[kind], _sources(4)[kind]
    for _ in range(4):
        source.next_batch()
    state = source.state_dict()
    written = json.loads(json.dumps(state))
    expected = [source.next_batch() for _ in range(6)]
    resumed = _sources(99)[kind]
    resumed.load_state_dict(written)
    for images, codes in expected:
        again = resumed.next_batch()
        assert torch.equal(again[0], images)
        assert torch.equal(again[1], codes)
    # the state is that of its moment, not a view of the generator
    resumed.load_state_dict(state)
    assert torch.equal(resumed.next_batch()[0], expected[0][0])
    assert not torch.equal(other_seed.next_batch()[0], _sources(3)[kind].next_batch()[0])


@pytest.mark.parametrize("kind", [0, 1])
def test_nobody_else_changes_the_draws(kind: int) -> None:
    first = _sources(3)[kind].next_batch()[0]
    torch.manual_seed(1234)
    np.random.seed(1234)
    assert torch.equal(_sources(3)[kind].next_batch()[0], first)


def test_slices_are_drawn_as_by_sampler_and_make_batch() -> None:
    cases = [_slices("a"), _slices("b", "e"), _slices("c", "e")]
    rng = np.random.default_rng(7)
    sets: dict[str, list[TrainingSlice]] = {}
    for case in cases:
        sets.setdefault(case.dataset, []).extend(
            TrainingSlice(case.name, case.patient, g, c)
            for g, c in zip(case.image, case.codes, strict=True)
        )
    weights = {"d": 0.4, "e": 0.6}
    sampler = SliceSampler(sets, weights, 0.65, rng)
    source = SliceBatches(cases, (32, 24), 4, 7, weights)
    for _ in range(3):
        images, codes = make_batch([sampler.draw() for _ in range(4)], (32, 24), rng)
        mine = source.next_batch()
        assert torch.equal(mine[0], images)
        assert torch.equal(mine[1], codes)
    assert images.shape == (4, 1, 32, 24)


def test_patches_are_parts_of_their_volume() -> None:
    case = _volume("a")
    source = PatchBatches([case], (6, 10, 8), 2, augmentation=None)
    seen = set()
    for _ in range(20):
        images, codes = source.next_batch()
        assert images.shape == (2, 1, 6, 10, 8)
        assert images.dtype == torch.float32
        assert codes.shape == (2, 6, 10, 8)
        assert codes.dtype == torch.uint8
        for image in images[:, 0].numpy():
            at = np.argwhere(case.image.astype(np.float32) == image[0, 0, 0])
            found = [
                (z, y, x)
                for z, y, x in at.tolist()
                if np.array_equal(
                    case.image[z : z + 6, y : y + 10, x : x + 8].astype(np.float32), image
                )
            ]
            assert len(found) == 1
            seen.add(found[0])
    assert len(seen) > 30


def test_small_cases_lie_anywhere_in_ignored_air() -> None:
    case = _volume("a", shape=(3, 10, 10))
    source = PatchBatches([case], (8, 16, 16), 2, augmentation=None)
    starts = set()
    for _ in range(30):
        images, codes = source.next_batch()
        for image, code in zip(images[:, 0], codes, strict=True):
            inside = code != Label.IGNORE
            assert int(inside.sum()) == 300
            assert (image[~inside] == float(case.image.min())).all()
            assert torch.equal(
                image[inside], torch.from_numpy(case.image.astype(np.float32)).flatten()
            )
            starts.add(tuple(torch.nonzero(inside)[0].tolist()))
    assert {min(s[i] for s in starts) for i in range(3)} == {0}
    assert max(s[0] for s in starts) == 5


def test_lesions_are_in_as_many_patches_as_asked() -> None:
    cases = [_volume("a", shape=(30, 60, 60)), _volume("b", shape=(4, 5, 60))]

    def share(lesion_share: float) -> float:
        source = PatchBatches(cases, (8, 12, 12), 2, lesion_share=lesion_share, augmentation=None)
        found = [(source.next_batch()[1] == Label.GGO).flatten(1).any(1) for _ in range(150)]
        return float(torch.cat(found).float().mean())

    assert share(1.0) == 1.0
    by_chance = share(0.0)
    assert by_chance < 0.3
    assert abs(share(0.5) - (0.5 + by_chance / 2)) < 0.1


def test_a_case_without_lesions_gives_any_place() -> None:
    case = _volume("a")
    case.codes[case.codes == Label.GGO] = NO_LESION
    source = PatchBatches([case], (4, 8, 8), 2, lesion_share=1.0)
    assert source.next_batch()[0].shape == (2, 1, 4, 8, 8)


def test_datasets_and_patients_are_drawn_by_their_weights() -> None:
    cases = [
        _volume("a1", "one", "a", seed=1),
        *(_volume(f"b{n}", "one", "b", seed=2) for n in range(4)),
        _volume("c", "two", seed=3),
    ]
    first = {float(c.image[0, 0, 0]): c.patient for c in cases}

    def patients(weights: dict[str, float]) -> list[str]:
        source = PatchBatches(cases, (12, 30, 26), 2, weights=weights, augmentation=None)
        return [first[float(v)] for _ in range(300) for v in source.next_batch()[0][:, 0, 0, 0, 0]]

    drawn = patients({})
    assert [abs(drawn.count(p) / 600 - 1 / 3) < 0.06 for p in "abc"] == [True] * 3
    drawn = patients({"one": 1, "two": 3})
    assert abs(drawn.count("c") / 600 - 0.75) < 0.06
    assert set(patients({"two": 1})) == {"c"}


@pytest.mark.parametrize("kind", [SliceBatches, PatchBatches])
def test_weights_and_cases_that_cannot_be_used(kind: type) -> None:
    case, patch = (_slices("a"), (8, 8)) if kind is SliceBatches else (_volume("a"), (4, 8, 8))
    for weights in ({"d": 0.0}, {"d": -1.0}):
        with pytest.raises(InputError, match="expected none below 0, and one above"):
            kind([case], patch, 2, 0, weights)
    with pytest.raises(InputError, match="no training case in x"):
        kind([case], patch, 2, 0, {"x": 1})
    with pytest.raises(InputError, match="no training case is left"):
        kind([], patch, 2, 0)


def test_augmented_batches_differ_from_plain_ones_and_stay_finite() -> None:
    case = _volume("a", shape=(8, 16, 16))
    strong = VolumeAugmentation(probability=1.0)
    source = PatchBatches([case], (8, 16, 16), 2, augmentation=strong)
    for _ in range(5):
        images, codes = source.next_batch()
        assert torch.isfinite(images).all()
        assert type(images) is torch.Tensor
        assert not torch.equal(images[0], images[1])
        assert set(codes.unique().tolist()) <= {Label.LUNG, Label.GGO, Label.IGNORE}


def test_without_monai_the_way_to_get_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_covseg.training.sampling.find_spec", lambda name: None)
    with pytest.raises(CovsegError, match=r"pip install 'napari-covseg\[train\]'"):
        PatchBatches([_volume("a")], (4, 8, 8))
    assert PatchBatches([_volume("a")], (4, 8, 8), augmentation=None).next_batch()
