import numpy as np
import pytest
import torch

from napari_covseg.domain.progress import run_to_end
from napari_covseg.models.kernel_head import KernelHead, kernel_values
from napari_covseg.training.classifiers import group_codes, train_ensemble
from napari_covseg.training.kernel_machines import Machines, _platt, grouped_folds


@pytest.fixture(scope="module")
def toy():
    rng = np.random.default_rng(0)
    codes = np.repeat([0, 1, 2], 20).astype(np.int32)
    features = rng.normal(3, 2, (60, 6)).astype(np.float32)
    features[:, 0] += 6 * (codes == 1)
    features[:, 1] += 6 * (codes == 2)
    return features, codes


@pytest.mark.parametrize("kernel", ["poly", "rbf"])
def test_a_machine_is_that_of_scikit_learn(toy, kernel):
    from sklearn.svm import SVC

    features, codes = (array[:40] for array in toy)
    machines = Machines(kernel, features, codes, np.arange(40))
    # What is drawn twice counts twice.
    drawn = np.concatenate([np.arange(35), np.arange(10)])
    head = machines.head([machines.train(drawn, 0)])
    z = (features - features.mean(axis=0)) / features.std(axis=0)
    theirs = SVC(kernel=kernel, degree=2, coef0=1, gamma=1 / 6).fit(z[drawn], codes[drawn])
    expected = theirs.decision_function(z)
    logits = head.logits(torch.from_numpy(features))[0]
    scores = (logits[:, 1] - head.offsets[0, 0]) / head.slopes[0, 0]
    assert scores.numpy() == pytest.approx(expected, abs=0.02)
    assert np.mean(logits.argmax(dim=1).numpy() == codes) >= 0.9


def test_each_of_three_classes_has_a_machine_and_rows_sum_to_one(toy):
    features, codes = toy
    ensemble = run_to_end(train_ensemble("svm_poly", features, codes, [""] * 60, runs=3))
    assert isinstance(ensemble.head, KernelHead)
    assert ensemble.head.coefficients.shape == (3, 3, 60)
    said = ensemble.probabilities(features)
    assert said.shape == (3, 60, 3)
    assert said.sum(axis=2) == pytest.approx(1)
    assert np.mean(said.mean(axis=0).argmax(axis=1) == codes) > 0.9
    # A member knows only what was drawn for it.
    assert all((one == 0).any() for one in ensemble.head.coefficients[:, 0])


def test_scaling_learns_from_groups_that_machines_did_not_see():
    """Labels that belong to groups at random: by heart all is right, and nothing is known."""
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(24, 30))
    features = (np.repeat(centres, 5, axis=0) + rng.normal(0, 0.01, (120, 30))).astype(np.float32)
    codes = np.repeat(rng.permutation([0, 1] * 12), 5).astype(np.int32)
    drawn = np.arange(120)

    def sure(of_group):
        machines = Machines("rbf", features, codes, of_group)
        head = machines.head([machines.train(drawn, 0)])
        return np.abs(head.probabilities(features)[0, :, 1] - 0.5).mean()

    assert sure(np.arange(120)) > 0.4
    assert sure(np.repeat(np.arange(24), 5)) < 0.25


def test_groups_stay_whole_in_thirds():
    of_group = group_codes([f"p{i // 4}" for i in range(48)])
    codes = np.repeat([0, 1], 24).astype(np.int32)
    folds = grouped_folds(codes, of_group, 0)
    assert len(folds) == 3
    for train, held_out in folds:
        assert not set(of_group[train]) & set(of_group[held_out])
    # Two patients tell nothing: then pictures are parted, each on its own.
    assert len(grouped_folds(codes, (of_group >= 6).astype(np.intp), 0)) == 3
    assert grouped_folds(codes[22:26], of_group[22:26], 0) == []


def test_a_machine_is_never_turned_round():
    """Scores that fall as the class gets likelier: hardly more than the class's share is said."""
    scores = np.array([2.0, 1.0, -1.0, -2.0])
    slope, offset = _platt(scores, np.array([False, False, True, False]), np.array([1, 1, 2, 1]))
    assert slope == pytest.approx(0.1)
    # Two of five are of the class, and the mean score is -0.2.
    assert offset == pytest.approx(np.log(2 / 3) + 0.02)
    slope, _ = _platt(scores, scores > 0, np.ones(4))
    assert slope > 0.5


def test_arrays_of_other_pictures_are_refused(toy):
    features, codes = toy
    machines = Machines("rbf", features, codes, np.arange(60))
    head = machines.head([machines.train(np.arange(60), 0)])
    stored = head.tensors("head")
    again = KernelHead.from_tensors("head", stored, head.support, head.mean, head.scale)
    assert again.probabilities(features) == pytest.approx(head.probabilities(features))
    with pytest.raises(ValueError, match="differ in number"):
        KernelHead.from_tensors("head", stored, head.support[:9], head.mean, head.scale)
    with pytest.raises(KeyError):
        KernelHead.from_tensors("other", stored, head.support, head.mean, head.scale)
    with pytest.raises(KeyError):
        kernel_values("linear", head.support, head.support)


def test_gradients_pass(toy):
    features, codes = toy
    machines = Machines("poly", features, codes, np.arange(60))
    head = machines.head([machines.train(np.arange(60), 0)])
    asked = torch.from_numpy(features[:1]).requires_grad_()
    (gradient,) = torch.autograd.grad(head.logits(asked)[0, 0, 1], asked)
    changed = torch.from_numpy(features[[0, 0]])
    changed[1, 0] += 0.01
    before, after = head.logits(changed)[0, :, 1].tolist()
    assert (after - before) / 0.01 == pytest.approx(float(gradient[0, 0]), rel=0.05)
