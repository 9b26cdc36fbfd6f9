import numpy as np

from napari_covseg.domain.labels import Label
from napari_covseg.training.dataset import SliceSampler, TrainingSlice


def _slice(patient: str, code: int) -> TrainingSlice:
    codes = np.full((4, 4), code, np.uint8)
    return TrainingSlice(patient, patient, np.zeros((4, 4), np.uint8), codes)


def test_sampler_draws_sets_patients_and_lesions_by_their_weights() -> None:
    first = [_slice("a", Label.GGO)] + [_slice("a", Label.LUNG)] * 8
    second = [_slice("b", Label.GGO)]
    sampler = SliceSampler(
        {"one": first, "two": second}, {"one": 0.75, "two": 0.25}, 0.5, np.random.default_rng(0)
    )
    drawn = [sampler.draw() for _ in range(4000)]
    of_one = [s for s in drawn if s.patient == "a"]
    assert abs(len(of_one) / len(drawn) - 0.75) < 0.03
    lesions = np.mean([s.has_lesion for s in of_one])
    assert abs(lesions - (0.5 + 0.5 / 9)) < 0.03
