"""The way between an old and a new model: their weights averaged, as far as validation says.

A model that was trained further on few cases forgets some of what it knew; an average of both sets
of weights keeps most of either (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models").
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.training.case_prediction import Predict
from napari_covseg.training.validation import Case, validate

SHARES = (0.25, 0.5, 0.75, 1.0)
DEFAULT_SHARE = 0.75
"""Of the new model, where nobody validates."""


@torch.no_grad()
def averaged(old: nn.Module, new: nn.Module, share: float) -> nn.Module:
    """A network with ``share`` of the new one's weights and the rest of the old one's.

    Batch statistics are averaged as weights are; whole numbers are the new one's.
    """
    result = copy.deepcopy(new)
    theirs = old.state_dict()
    for key, value in result.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.lerp(theirs[key].to(value), value, share))
    return result


def choose_share(
    old: nn.Module,
    new: nn.Module,
    cases: Sequence[Case],
    predict: Predict,
    device: str,
    shares: Sequence[float] = SHARES,
) -> Steps[tuple[float, Mapping[float, float | None]]]:
    """The share with the highest mean Dice on ``cases``, and each one's; of equals the smallest.

    Neither model may have trained on the cases: of a network's own training cases the share would
    be 1, of the old one's it would be small, whatever is right.
    """
    scores: dict[float, float | None] = {}
    for done, share in enumerate(shares):
        message = f"choosing how much of the new weights to take, {done + 1} of {len(shares)}"
        network = averaged(old, new, share).to(device).eval()
        steps = validate(network, cases, _as_any(predict))
        while True:
            try:
                next(steps)
            except StopIteration as end:
                scores[share] = end.value.score
                break
            yield Progress(done, len(shares), message)
    known = {share: score for share, score in scores.items() if score is not None}
    if not known:
        return DEFAULT_SHARE, scores
    best = max(known.values())
    return min(share for share, score in known.items() if score == best), scores


def _as_any(predict: Predict) -> Any:
    return predict
