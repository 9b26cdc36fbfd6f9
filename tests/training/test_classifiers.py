import numpy as np
import pytest

from napari_covseg.domain.errors import InputError, UsageError
from napari_covseg.domain.progress import run_to_end
from napari_covseg.metrics.classification import entropy
from napari_covseg.models.classifier_heads import (
    MembersHead,
    layers_of,
    read_members,
    write_members,
)
from napari_covseg.training.classifiers import (
    CLASSIFIERS,
    bootstrap_sample,
    build_classifier,
    group_codes,
    train_ensemble,
)


@pytest.fixture(scope="module")
def toy():
    rng = np.random.default_rng(0)
    codes = np.repeat([0, 1], 30).astype(np.int32)
    features = rng.normal(size=(60, 6)).astype(np.float32)
    features[:, 0] += 3 * codes
    return features, codes


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_each_of_the_eight_learns_and_is_kept_without_pickles(name, toy):
    if name == "xgboost":
        pytest.importorskip("xgboost")
    features, codes = toy
    ensemble = run_to_end(train_ensemble(name, features, codes, [""] * 60, runs=2, pca=4))
    said = ensemble.probabilities(features)
    assert said.shape == (2, 60, 2)
    assert said.sum(axis=2) == pytest.approx(1)
    assert np.mean(said.mean(axis=0).argmax(axis=1) == codes) > 0.85
    again = read_members(write_members(ensemble.members), "x.skops")
    assert again.probabilities(features) == pytest.approx(said)


def test_changing_seeds_give_other_members_and_one_seed_the_same(toy):
    features, codes = toy

    def said(seed):
        steps = train_ensemble("svm_rbf", features, codes, [""] * 60, runs=2, seed=seed)
        return run_to_end(steps).probabilities(features)

    first = said(0)
    assert not np.allclose(first[0], first[1])
    assert said(0) == pytest.approx(first)
    assert not np.allclose(said(1), first)


def test_out_of_bag_is_by_members_that_did_not_see_the_group(toy):
    features, codes = toy
    groups = [f"p{i // 3}" for i in range(60)]
    ensemble = run_to_end(train_ensemble("naive_bayes", features, codes, groups, runs=3, seed=5))
    of_group = group_codes(groups)
    expected = np.zeros((60, 2))
    counts = np.zeros(60)
    for run, member in enumerate(ensemble.members):
        drawn = bootstrap_sample(codes, of_group, np.random.default_rng([5, run]))
        left = ~np.isin(of_group, of_group[drawn])
        expected[left] += member.predict_proba(features[left])
        counts[left] += 1
    seen = counts > 0
    assert ensemble.out_of_bag[seen] == pytest.approx(expected[seen] / counts[seen, None])
    assert np.isnan(ensemble.out_of_bag[~seen]).all()
    below = entropy(ensemble.out_of_bag[seen]) <= ensemble.threshold
    assert np.mean(below) == pytest.approx(0.8, abs=0.03)


def test_a_bootstrap_sample_draws_whole_groups_and_every_class():
    codes = np.array([0] * 20 + [1] * 4, np.int32)
    of_group = group_codes([""] * 20 + ["a", "a", "b", "b"])
    for seed in range(20):
        drawn = bootstrap_sample(codes, of_group, np.random.default_rng(seed))
        counts = np.bincount(drawn, minlength=24)
        assert counts[20] == counts[21]
        assert counts[22] == counts[23]
        assert np.bincount(codes[drawn]).min() >= 3
    with pytest.raises(InputError, match="too few"):
        bootstrap_sample(codes[19:22], np.arange(3), np.random.default_rng(0))


def test_a_neural_network_as_arrays_says_the_same(toy):
    features, codes = toy
    steps = train_ensemble("neural_network", features, codes, [""] * 60, runs=2, pca=4)
    members = run_to_end(steps).members
    mine = layers_of(members).probabilities(features)
    assert mine == pytest.approx(MembersHead(members).probabilities(features), abs=1e-5)


def test_a_file_with_other_types_is_not_opened():
    import skops.io
    from sklearn.preprocessing import FunctionTransformer

    from napari_covseg.domain.errors import ModelError

    content = skops.io.dumps([FunctionTransformer(group_codes)])
    with pytest.raises(ModelError, match="not opened"):
        read_members(content, "x.skops")
    with pytest.raises(ModelError, match="cannot be opened"):
        read_members(b"nonsense", "x.skops")


def test_wrong_choices_are_told(toy):
    with pytest.raises(UsageError, match="unknown classifier 'svm'"):
        build_classifier("svm")
    with pytest.raises(UsageError, match="at least 1 run"):
        run_to_end(train_ensemble("knn", *toy, [""] * 60, runs=0))
