"""Many support vector machines on bootstrap samples of the same pictures.

The kernel between all pictures is computed once, and what is drawn twice counts twice, so that a
machine takes milliseconds. Features are standardised over all training pictures alike. Platt's
scaling learns from what machines say of groups that they did not see: slices of one patient on both
sides would make it too sure. With a handful of groups that says nothing (what differs between two
patients outweighs what differs between classes), so there it learns from pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_covseg.models.kernel_head import KernelHead, kernel_values

Floats = NDArray[np.float64]
_FOLDS = 3
_FEWEST_GROUPS = 10
_LEAST_SLOPE = 0.1


@dataclass(frozen=True, eq=False)
class Machine:
    """One ensemble member: what it adds for each training picture, and its scaling."""

    coefficients: Floats
    intercepts: Floats
    slopes: Floats
    offsets: Floats


class Machines:
    """Trainings with one kernel on features ``(n, d)``, of classes and groups ``(n,)`` each."""

    def __init__(
        self,
        kernel: str,
        features: NDArray[np.float32],
        codes: NDArray[np.int32],
        of_group: NDArray[np.intp],
    ) -> None:
        self.kernel, self.codes, self.of_group = kernel, codes, of_group
        mean, scale = features.mean(axis=0), features.std(axis=0)
        scale = np.where(scale > 1e-6, scale, 1).astype(np.float32)
        self.mean, self.scale = torch.from_numpy(mean), torch.from_numpy(scale)
        # Half the digits, as training pictures are kept.
        self.support = torch.from_numpy((features - mean) / scale).half().float()
        exact = self.support.double()
        self.gram: Floats = kernel_values(kernel, exact, exact).numpy()
        classes = int(codes.max()) + 1
        self.positives = [1] if classes == 2 else list(range(classes))

    def train(self, drawn: NDArray[np.intp], seed: int) -> Machine:
        """A member on the pictures at the places ``drawn``."""
        places, times = np.unique(drawn, return_counts=True)
        folds = grouped_folds(self.codes[places], self.of_group[places], seed)
        found = [self._machine(code, places, times, folds) for code in self.positives]
        return Machine(*(np.stack(one) for one in zip(*found, strict=True)))

    def _machine(
        self, code: int, places: NDArray[np.intp], times: NDArray, folds: list[Any]
    ) -> tuple[Floats, float, float, float]:
        is_class = self.codes[places] == code
        own = self.gram[np.ix_(places, places)]
        scores, judged = np.zeros(len(places)), np.zeros(len(places), bool)
        for train, held_out in folds:
            if len(np.unique(is_class[train])) < 2:
                continue
            svm = _svm().fit(own[np.ix_(train, train)], is_class[train], times[train])
            scores[held_out] = svm.decision_function(own[np.ix_(held_out, train)])
            judged[held_out] = True
        slope, offset = _platt(scores[judged], is_class[judged], times[judged])
        svm = _svm().fit(own, is_class, times)
        coefficients = np.zeros(len(self.codes))
        coefficients[places[svm.support_]] = svm.dual_coef_[0]
        return coefficients, float(svm.intercept_[0]), slope, offset

    def head(self, members: Sequence[Machine]) -> KernelHead:
        """All members together."""
        fields = ("coefficients", "intercepts", "slopes", "offsets")
        arrays = (np.stack([getattr(one, field) for one in members]) for field in fields)
        tensors = [torch.from_numpy(array.astype(np.float32)) for array in arrays]
        return KernelHead(self.kernel, self.support, self.mean, self.scale, *tensors)


def grouped_folds(
    codes: NDArray[np.int32],
    of_group: NDArray[np.intp],
    seed: int,
    pictures: NDArray[np.intp] | None = None,
) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Three folds in which groups stay whole, or pictures where there are few groups.

    ``pictures`` says which one each place is, where some are there twice. No fold where there are
    too few groups and pictures.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    if len(np.unique(of_group)) < _FEWEST_GROUPS:
        of_group = np.arange(len(codes)) if pictures is None else pictures
    classes = np.unique(codes)
    groups = min(len(np.unique(of_group[codes == code])) for code in classes)
    if len(classes) < 2 or groups < _FOLDS:
        return []
    splitter = StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=seed)
    return list(splitter.split(codes, codes, of_group))


def _svm() -> Any:
    from sklearn.svm import SVC

    return SVC(kernel="precomputed")


def _platt(scores: Floats, is_class: NDArray[np.bool_], times: NDArray) -> tuple[float, float]:
    """Slope and offset of the logit (Platt 1999); a score is its own logit where nobody judged.

    A machine is never turned round: where held-out scores fall as the class gets likelier, it says
    little more than how frequent the class is.
    """
    from sklearn.linear_model import LogisticRegression

    if len(np.unique(is_class)) < 2:
        return 1.0, 0.0
    fitted = LogisticRegression().fit(scores[:, None], is_class, times)
    slope, offset = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
    if slope >= _LEAST_SLOPE:
        return slope, offset
    share = float(np.average(is_class, weights=times))
    centre = float(np.average(scores, weights=times))
    return _LEAST_SLOPE, float(np.log(share / (1 - share))) - _LEAST_SLOPE * centre
