"""The eight classifiers of Singh & Krishna, as scikit-learn pipelines, and ensembles of them.

Each is trained many times on bootstrap samples with changing seeds; the entropy of the mean of what
the ensemble says is its uncertainty. Pictures of one group (a patient) are drawn together, and each
picture is also judged by those members that did not see its group (out of bag): that is what the
threshold of "unsure" comes from.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.errors import InputError, ModelError, UsageError
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.models.classifier_heads import Head, MembersHead
from napari_covseg.training.kernel_machines import Machines, grouped_folds

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

POOLED_RUNS, WHOLE_RUNS = 100, 5
"""Trainings of each classifier on pooled features, and on whole maps of 100,000 numbers."""
_KERNELS = {"svm_poly": "poly", "svm_rbf": "rbf"}
_MOST_IN_KERNEL = 8000
"""Pictures whose kernel with each other is kept in memory, half a gigabyte."""
SURE_SHARE = 0.8
"""Of the pictures judged out of bag that are not called unsure."""


def _knn(seed: int) -> Any:
    from sklearn.neighbors import KNeighborsClassifier

    return KNeighborsClassifier(n_neighbors=9, weights="distance", algorithm="brute")


def _svm(seed: int, **arguments: Any) -> Any:
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.svm import SVC

    # Platt's scaling on held-out thirds: an SVM has no probabilities of its own. `train_ensemble`
    # puts thirds by group in place of these.
    return CalibratedClassifierCV(SVC(random_state=seed, **arguments), cv=3, ensemble=False)


def _svm_poly(seed: int) -> Any:
    return _svm(seed, kernel="poly", degree=2, coef0=1.0)


def _svm_rbf(seed: int) -> Any:
    return _svm(seed, kernel="rbf")


def _random_forest(seed: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(100, min_samples_leaf=2, random_state=seed)


def _neural_network(seed: int) -> Any:
    from sklearn.neural_network import MLPClassifier

    return MLPClassifier((32,), alpha=1.0, max_iter=60, learning_rate_init=3e-3, random_state=seed)


def _adaboost(seed: int) -> Any:
    from sklearn.ensemble import AdaBoostClassifier

    return AdaBoostClassifier(n_estimators=50, random_state=seed)


def _naive_bayes(seed: int) -> Any:
    from sklearn.naive_bayes import GaussianNB

    return GaussianNB(var_smoothing=1e-3)


def _xgboost(seed: int) -> Any:
    try:
        from xgboost import XGBClassifier
    except ImportError as error:
        raise ModelError(
            "xgboost is not installed: pip install 'napari-covseg[classify]', or use another "
            "classifier"
        ) from error
    return XGBClassifier(
        n_estimators=100, max_depth=3, learning_rate=0.1, subsample=0.8, random_state=seed, n_jobs=1
    )


CLASSIFIERS: Mapping[str, Callable[[int], Any]] = MappingProxyType(
    {
        "knn": _knn,
        "svm_poly": _svm_poly,
        "svm_rbf": _svm_rbf,
        "random_forest": _random_forest,
        "neural_network": _neural_network,
        "adaboost": _adaboost,
        "naive_bayes": _naive_bayes,
        "xgboost": _xgboost,
    }
)


def build_classifier(name: str, seed: int = 0, pca: int = 0) -> Pipeline:
    """A classifier that was not trained yet: scaling, PCA to ``pca`` numbers (0: none), and it.

    Raises
    ------
    UsageError
        If there is none of that name.
    ModelError
        If it needs a package that is not installed.
    """
    from sklearn.decomposition import PCA
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    if name not in CLASSIFIERS:
        raise UsageError(f"unknown classifier '{name}': use {', '.join(CLASSIFIERS)}")
    steps: list[tuple[str, Any]] = [("scale", StandardScaler())]
    if pca:
        steps.append(("pca", PCA(pca, svd_solver="randomized", random_state=seed)))
    return Pipeline([*steps, ("classify", CLASSIFIERS[name](seed))])


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Classifiers trained on bootstrap samples.

    ``members`` are scikit-learn's, or `Machine`s; ``head`` is what they say, together.
    ``out_of_bag`` float64 ``(n, classes)`` is what members say of training pictures whose group
    they did not see, on average; NaN where all saw it. ``threshold`` is the entropy above which a
    picture is called unsure (`unsure_threshold`).
    """

    members: tuple[Any, ...]
    out_of_bag: NDArray[np.float64]
    threshold: float
    head: Head

    def probabilities(self, features: NDArray) -> NDArray[np.float64]:
        """What each member says: ``(members, n, classes)``."""
        return self.head.probabilities(features)


def train_ensemble(
    name: str,
    features: NDArray[np.float32],
    codes: NDArray[np.int32],
    groups: Sequence[str],
    runs: int = POOLED_RUNS,
    seed: int = 0,
    pca: int = 0,
) -> Steps[Ensemble]:
    """Train one classifier ``runs`` times, each on a bootstrap sample of the groups.

    ``features`` are ``(n, d)``, ``codes`` ``(n,)`` from 0 to classes - 1, all of them there;
    ``groups`` one text each, empty for a picture that is a group of its own; ``pca`` the numbers
    that features are reduced to, 0 for all of them.

    Raises
    ------
    InputError
        If a class has too few groups for any bootstrap sample to hold two pictures of each.
    UsageError
        If ``runs`` is below 1.
    """
    if runs < 1:
        raise UsageError(f"expected at least 1 run, got {runs}")
    of_group = group_codes(groups)
    classes = int(codes.max()) + 1
    total, counts = np.zeros((len(codes), classes)), np.zeros(len(codes))
    fits = _fits(name, features, codes, of_group, pca)
    members = []
    for run in range(runs):
        yield Progress(run, runs, f"training {name}, {run + 1} of {runs}")
        rng = np.random.default_rng([seed, run])
        drawn = bootstrap_sample(codes, of_group, rng)
        member = fits.train(drawn, int(rng.integers(2**31)))
        members.append(member)
        left = ~np.isin(of_group, of_group[drawn])
        if left.any():
            total[left] += fits.head([member]).probabilities(features[left])[0]
            counts[left] += 1
    seen = counts > 0
    out_of_bag = np.full_like(total, np.nan)
    out_of_bag[seen] = total[seen] / counts[seen, None]
    threshold = unsure_threshold(out_of_bag[seen])
    return Ensemble(tuple(members), out_of_bag, threshold, fits.head(members))


class _Fits(Protocol):
    def train(self, drawn: NDArray[np.intp], seed: int) -> Any:
        """A member on the pictures ``drawn``."""

    def head(self, members: Sequence[Any]) -> Head:
        """Members together."""


@dataclass(frozen=True, eq=False)
class _Pipelines:
    """Trainings of scikit-learn's pipelines."""

    name: str
    features: NDArray[np.float32]
    codes: NDArray[np.int32]
    of_group: NDArray[np.intp]
    pca: int

    def train(self, drawn: NDArray[np.intp], seed: int) -> Any:
        reduced = min(self.pca, len(drawn) - 1, self.features.shape[1]) if self.pca else 0
        member = build_classifier(self.name, seed, reduced)
        if self.name in _KERNELS:
            folds = grouped_folds(self.codes[drawn], self.of_group[drawn], seed, drawn)
            if folds:
                member.set_params(classify__cv=folds)
        with warnings.catch_warnings():
            # A neural network that has not come to rest, say: out-of-bag figures tell enough.
            warnings.simplefilter("ignore")
            member.fit(self.features[drawn], self.codes[drawn])
        if self.name in _KERNELS:
            # Which pictures were in which third is no part of a classifier.
            member.set_params(classify__cv=None)
        return member

    def head(self, members: Sequence[Any]) -> Head:
        return MembersHead(tuple(members))


def _fits(
    name: str,
    features: NDArray[np.float32],
    codes: NDArray[np.int32],
    of_group: NDArray[np.intp],
    pca: int,
) -> _Fits:
    if name in _KERNELS and not pca and len(codes) <= _MOST_IN_KERNEL:
        return Machines(_KERNELS[name], features, codes, of_group)
    return _Pipelines(name, features, codes, of_group, pca)


def unsure_threshold(held_out: NDArray[np.float64]) -> float:
    """The entropy that `SURE_SHARE` of the pictures stay at or below; endless without pictures."""
    from napari_covseg.metrics.classification import entropy

    return float(np.quantile(entropy(held_out), SURE_SHARE)) if len(held_out) else float("inf")


def group_codes(groups: Sequence[str]) -> NDArray[np.intp]:
    """A number for each group; a picture whose group is empty has one of its own."""
    named = [group or f"\x00{index}" for index, group in enumerate(groups)]
    return np.unique(np.array(named), return_inverse=True)[1].reshape(-1)


def bootstrap_sample(
    codes: NDArray[np.int32], of_group: NDArray[np.intp], rng: np.random.Generator
) -> NDArray[np.intp]:
    """Places drawn with replacement, whole groups at a time, three pictures of each class at least.

    Raises
    ------
    InputError
        If fifty tries did not bring that.
    """
    count = int(of_group.max()) + 1
    order = np.argsort(of_group, kind="stable")
    places = np.split(order, np.cumsum(np.bincount(of_group))[:-1])
    for _ in range(50):
        drawn = np.concatenate([places[g] for g in rng.integers(count, size=count)])
        if np.bincount(codes[drawn], minlength=int(codes.max()) + 1).min() >= 3:
            return drawn
    raise InputError(
        "a class has too few pictures, or pictures of too few groups, to be drawn at random; "
        "expected at least five of each class"
    )
