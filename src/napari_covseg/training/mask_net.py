"""A COVID-CT-Mask-Net in training: batches of pictures, one step, what is measured, its state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.io.image_sets import ImageSet
from napari_covseg.io.images import read_picture
from napari_covseg.metrics.classification import figures
from napari_covseg.models.device import Device
from napari_covseg.models.mask_net_classifier import MaskNetClassifier, Mode, set_mode
from napari_covseg.preprocess.pictures import PictureRecipe
from napari_covseg.training.mask_net_settings import MaskNetPreset

MOST_KEPT = 20_000
"""Pictures whose features are held in memory while only S learns (5 kB each)."""
Publish = Callable[[MaskNetClassifier, Mapping[str, Any], bool], None]


class MaskNetLearning:
    """Trains a `MaskNetClassifier` on pictures, and measures it on others.

    While only S learns, what the detector sees in a picture never changes and is computed once.
    ``publish`` gets the network, the row of the epoch, and whether it is the best so far.
    """

    def __init__(
        self,
        preset: MaskNetPreset,
        network: MaskNetClassifier,
        device: Device,
        training: ImageSet,
        measured: ImageSet,
        publish: Publish,
    ) -> None:
        self._preset, self._device, self._publish = preset, device, publish
        self._training, self._measured = training, measured
        self.recipe = recipe_of(preset)
        self.network = network.to(device.name)
        set_mode(self.network, _mode(preset))
        learn = [p for p in network.parameters() if p.requires_grad]
        self._optimiser = torch.optim.Adam(
            learn, preset.learning_rate, weight_decay=preset.weight_decay
        )
        self._random = np.random.default_rng(preset.seed)
        self._order: list[int] = []
        self._seen: dict[str, Tensor] = {}

    @property
    def batches(self) -> int:
        """Steps an epoch."""
        return -(-len(self._training) // self._preset.batch)

    def step(self, rate: float) -> tuple[float, float]:
        """See `Learning`."""
        self.network.train()
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        if not self._order:
            self._order = self._random.permutation(len(self._training)).tolist()
        chosen, self._order = self._order[: self._preset.batch], self._order[self._preset.batch :]
        logits = self._logits(self._training, chosen)
        codes = torch.from_numpy(self._training.codes[chosen].astype(np.int64)).to(logits.device)
        wanted = F.one_hot(codes, logits.shape[1]).to(logits.dtype)
        loss = F.binary_cross_entropy_with_logits(logits, wanted)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        learn = [p for group in self._optimiser.param_groups for p in group["params"]]
        gradient = torch.nn.utils.clip_grad_norm_(learn, torch.inf)
        self._optimiser.step()
        return float(loss.detach()), float(gradient)

    def measure(self) -> Steps[dict[str, float | None]]:
        """See `Learning`."""
        if not len(self._measured):
            return {}
        probabilities = yield from self.probabilities(self._measured)
        found = figures_of_classes(probabilities, self._measured.codes, self._measured.classes)
        row: dict[str, float | None] = {
            "score": found["f1_adjusted"],
            "accuracy": found["accuracy"],
            "f1_adjusted": found["f1_adjusted"],
        }
        for name, one in found["classes"].items():
            row[f"sensitivity_{name}"] = one["sensitivity"]
            row[f"precision_{name}"] = one["precision"]
        return row

    def probabilities(self, images: ImageSet) -> Steps[NDArray[np.float64]]:
        """What the network makes of pictures, ``(n, classes)``: each class by itself, 0 to 1."""
        self.network.eval()
        rows = []
        for start in range(0, len(images), self._preset.batch):
            yield Progress(start, len(images), f"measuring picture {start + 1} of {len(images)}")
            chosen = list(range(start, min(len(images), start + self._preset.batch)))
            with torch.no_grad():
                rows.append(self._logits(images, chosen).sigmoid().double().cpu().numpy())
        return np.concatenate(rows)

    def publish(self, row: Mapping[str, Any], best: bool) -> None:
        """See `Learning`."""
        self._publish(self.network, row, best)

    def state_dict(self) -> dict[str, Any]:
        """See `Learning`."""
        return {
            "network": self.network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "random": self._random.bit_generator.state,
            "order": list(self._order),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `Learning`."""
        self.network.load_state_dict(state["network"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._random.bit_generator.state = state["random"]
        self._order = list(state["order"])

    def close(self) -> None:
        """See `Learning`."""

    def _logits(self, images: ImageSet, chosen: Sequence[int]) -> Tensor:
        if self._preset.mode != "s":
            return self.network(self._pictures(images, chosen))  # type: ignore[no-any-return]
        missing = [n for n in chosen if images.names[n] not in self._seen]
        # One by one, so that features do not depend on what stands beside a picture.
        with torch.no_grad():
            fresh = {
                images.names[n]: self.network.features(self._pictures(images, [n])) for n in missing
            }
        known = self._seen | fresh if fresh else self._seen
        if len(known) <= MOST_KEPT:
            self._seen = known
        return self.network.classify(torch.cat([known[images.names[n]] for n in chosen]))

    def _pictures(self, images: ImageSet, chosen: Sequence[int]) -> Tensor:
        greys = [self.recipe.apply(read_picture(images.picture(n).path).grey) for n in chosen]
        batch = torch.from_numpy(np.stack(greys))[:, None].float().mul_(2).sub_(1)
        return batch.to(self._device.name)


def recipe_of(preset: MaskNetPreset) -> PictureRecipe:
    """How pictures are prepared."""
    return PictureRecipe(preset.size, preset.keep)


def figures_of_classes(
    probabilities: NDArray, truth: NDArray, classes: Sequence[str]
) -> dict[str, Any]:
    """Sensitivity and precision of each class, accuracy, and F1 weighted by the classes' shares.

    Ter-Sarkisov 2022, equation 3. None where nothing decides a figure.
    """
    of_classes: dict[str, dict[str, Any]] = {}
    adjusted = 0.0
    accuracy = figures(probabilities, truth).accuracy
    for code, name in enumerate(classes):
        one = figures(probabilities, truth, code)
        count = int(np.count_nonzero(truth == code))
        of_classes[name] = {
            "sensitivity": _known(one.recall),
            "precision": _known(one.precision),
            "auc": _known(one.auc),
            "pictures": count,
        }
        adjusted += count / len(truth) * (0.0 if np.isnan(one.f1) else one.f1)
    return {"accuracy": accuracy, "f1_adjusted": adjusted, "classes": of_classes}


def few_of_each(images: ImageSet, count: int, seed: int) -> ImageSet:
    """``count`` pictures drawn at random, as many of each class as can be; all where 0."""
    if not count or count >= len(images):
        return images
    random = np.random.default_rng(seed)
    shuffled = random.permutation(len(images))
    # The n-th of each class comes before the n+1-th of any.
    rank = np.zeros(len(images), int)
    for code in range(len(images.classes)):
        own = shuffled[images.codes[shuffled] == code]
        rank[own] = np.arange(len(own))
    chosen = shuffled[np.argsort(rank[shuffled], kind="stable")][:count]
    return images.subset(np.sort(chosen))


def _mode(preset: MaskNetPreset) -> Mode:
    modes: dict[str, Mode] = {"s": "s", "s+bn": "s+bn", "all": "all"}
    return modes[preset.mode]


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value
