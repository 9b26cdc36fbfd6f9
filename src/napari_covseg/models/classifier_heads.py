"""What stands on a network's features and says a class: layers as arrays, or scikit-learn's own.

Every head is an ensemble: it gives what each member says.
"""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_covseg.domain.errors import ModelError

TRUSTED = (
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.tree._tree.Tree",
    "xgboost.core.Booster",
    "xgboost.sklearn.XGBClassifier",
)
"""Types of the eight classifiers beyond those that skops trusts; a file with others is refused."""
_MOST_UNPACKED = 2**30


class Head(Protocol):
    """An ensemble on features."""

    def probabilities(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """``(n, d)`` to what each member says, ``(members, n, classes)``; each row sums to 1."""
        ...


@dataclass(frozen=True, eq=False)
class LayersHead:
    """Members of linear layers with ReLU between them.

    ``weights`` are ``(members, outputs, inputs)`` and ``biases`` ``(members, outputs)`` of each
    layer, on raw features: scaling is folded into the first.
    """

    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]

    def logits(self, features: Tensor) -> Tensor:
        """``(n, d)`` to ``(members, n, classes)``; gradients pass."""
        values = features.expand(len(self.weights[0]), *features.shape)
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            values = values.relu() if layer else values
            values = torch.baddbmm(bias[:, None], values, weight.transpose(1, 2))
        return values

    def probabilities(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """As `Head.probabilities`."""
        with torch.inference_mode():
            said = self.logits(torch.from_numpy(features)).double().softmax(dim=-1)
        return np.asarray(said.numpy())

    def tensors(self, name: str) -> dict[str, Tensor]:
        """For a file, as ``name.0.weight`` and so on; float16, as the features are no better."""
        pairs = enumerate(zip(self.weights, self.biases, strict=True))
        return {
            f"{name}.{i}.{field}": value.half() if field == "weight" else value.float()
            for i, layer in pairs
            for field, value in zip(("weight", "bias"), layer, strict=True)
        }

    @classmethod
    def from_tensors(cls, name: str, stored: Mapping[str, Tensor]) -> LayersHead:
        """What `tensors` gave.

        Raises
        ------
        KeyError
            If there is none of that name.
        """
        count = sum(key.startswith(f"{name}.") and key.endswith(".weight") for key in stored)
        if not count:
            raise KeyError(name)
        weights = tuple(stored[f"{name}.{i}.weight"].float() for i in range(count))
        return cls(weights, tuple(stored[f"{name}.{i}.bias"].float() for i in range(count)))


@dataclass(frozen=True, eq=False)
class MembersHead:
    """scikit-learn's classifiers."""

    members: tuple[Any, ...]

    def probabilities(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """As `Head.probabilities`."""
        return np.stack([one.predict_proba(features) for one in self.members]).astype(np.float64)


def layers_of(members: Sequence[Any]) -> LayersHead:
    """Trained pipelines of scaling, perhaps PCA, and a neural network or logistic regression.

    They say the same as before, to float32.
    """
    stacks = [_layers_of(member) for member in members]
    count = len(stacks[0])
    weights = tuple(_stack([stack[i][0] for stack in stacks]) for i in range(count))
    return LayersHead(
        weights, tuple(_stack([stack[i][1] for stack in stacks]) for i in range(count))
    )


def _stack(arrays: Sequence[NDArray]) -> Tensor:
    return torch.from_numpy(np.stack(arrays).astype(np.float32))


def _layers_of(member: Any) -> list[tuple[NDArray, NDArray]]:
    scale, last = member.named_steps["scale"], member.named_steps["classify"]
    pca = member.named_steps.get("pca")
    if hasattr(last, "coefs_"):
        layers = [(w.T, b) for w, b in zip(last.coefs_, last.intercepts_, strict=True)]
    else:
        layers = [(last.coef_, last.intercept_)]
    weight, bias = layers[0]
    if pca is not None:
        bias = bias - weight @ pca.components_ @ pca.mean_
        weight = weight @ pca.components_
    weight = weight / scale.scale_
    layers[0] = (weight, bias - weight @ scale.mean_)
    if len(layers[-1][1]) == 1:
        # One number for two classes is the logit of the second against nought for the first.
        weight, bias = layers[-1]
        layers[-1] = (np.vstack([np.zeros_like(weight), weight]), np.append(0.0, bias))
    return layers


def write_members(members: Sequence[Any]) -> bytes:
    """scikit-learn's classifiers as a file's bytes: a zip that runs no code when it is read."""
    import skops.io

    content: bytes = skops.io.dumps(list(members), compression=zipfile.ZIP_DEFLATED)
    return content


def read_members(content: bytes, name: str) -> MembersHead:
    """Classifiers that `write_members` wrote.

    Raises
    ------
    ModelError
        If the content holds anything but the types of `TRUSTED` and those skops trusts, is
        damaged, or fits another version of scikit-learn.
    """
    import skops.io

    try:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            unpacked = sum(info.file_size for info in archive.infolist())
        if unpacked > _MOST_UNPACKED:
            raise ModelError(f"{name}: refused, it unpacks to {unpacked / 2**20:.0f} MiB")
        foreign = set(skops.io.get_untrusted_types(data=content)) - set(TRUSTED)
        if foreign:
            raise ModelError(f"{name}: holds what no classifier of covseg does; not opened")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return MembersHead(tuple(skops.io.loads(content, trusted=list(TRUSTED))))
    except (ModelError, MemoryError):
        raise
    except Exception as error:  # many kinds, all meaning this
        raise ModelError(
            f"{name}: cannot be opened: damaged, or of another version of scikit-learn; train again"
        ) from error
