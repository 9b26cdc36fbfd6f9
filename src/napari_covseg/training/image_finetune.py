"""Train an encoder on labelled pictures, end to end, with several heads on one trunk.

Each head learns from a bootstrap sample of its own: a picture counts for it as often as it was
drawn (Osband et al. 2016, "Deep exploration via bootstrapped DQN"). The heads are the ensemble
whose mean is the answer and whose mean's entropy is its uncertainty, at the price of one network.
They share what the trunk learnt from all pictures, so they differ less than networks of their own.
"""

from __future__ import annotations

import copy
import hashlib
import math
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.models.classifier_heads import LayersHead
from napari_covseg.models.feature_extractors import TrainedExtractor, lite0_encoder
from napari_covseg.preprocess.pictures import PictureRecipe
from napari_covseg.training.classifiers import group_codes
from napari_covseg.training.image_augment import ViewSettings, random_views
from napari_covseg.training.image_finetune_settings import FineTuneSettings
from napari_covseg.training.image_planes import PreparedPictures
from napari_covseg.training.state import check_same, read_state, write_state

if TYPE_CHECKING:
    from napari_covseg.models.device import Device

WIDTH = 320
_SAVE_EVERY_S = 60.0
_MARGIN = 8 / 7
"""Pictures are kept larger than views by this, so that crops lose no detail."""


@dataclass(frozen=True, eq=False)
class FineTuned:
    """A trained encoder, and its heads on the mean of its last map."""

    extractor: TrainedExtractor
    head: LayersHead


class HeadedNetwork(nn.Module):
    """An encoder and heads: ``(n, 1, size, size)`` in [-1, 1] to logits ``(n, heads, classes)``.

    The first ``frozen`` blocks stay as they are, batch statistics too.
    """

    def __init__(self, encoder: nn.ModuleList, classes: int, settings: FineTuneSettings) -> None:
        super().__init__()
        self.encoder, self.dropout, self.frozen = encoder, settings.dropout, settings.frozen
        self.shape = (settings.heads, classes)
        self.head = nn.Linear(WIDTH, settings.heads * classes)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)
        for block in encoder[: self.frozen]:
            block.requires_grad_(False)

    def train(self, mode: bool = True) -> HeadedNetwork:
        """As `nn.Module.train`, but for what is frozen."""
        super().train(mode)
        for block in self.encoder[: self.frozen]:
            block.eval()
        return self

    def forward(self, views: Tensor) -> Tensor:
        """Logits of each head."""
        for block in self.encoder:
            views = block(views)
        pooled = F.dropout(views.float().mean(dim=(2, 3)), self.dropout, self.training)
        logits: Tensor = self.head(pooled)
        return logits.view(-1, *self.shape)


def fine_tune(
    paths: Sequence[Path],
    codes: NDArray[np.int32],
    groups: Sequence[str],
    recipe: PictureRecipe,
    settings: FineTuneSettings,
    device: Device,
    state: Path | None = None,
    views: ViewSettings | None = None,
) -> Steps[FineTuned]:
    """Train encoder and heads on pictures of classes 0 to k - 1.

    ``recipe`` is that of the network's input. ``state`` is a file that the training is kept in, at
    most once a minute at the end of an epoch; if it is there, the training goes on from it, to the
    same result. A finished training is there too, and is not done again.

    Raises
    ------
    ModelError
        If the weights to start from are not there.
    InputError
        If a picture cannot be read, or the state is damaged.
    UsageError
        If the state is of a training with other settings or pictures.
    """
    torch.manual_seed(settings.seed)
    larger = PictureRecipe(round(recipe.size * _MARGIN), recipe.keep, recipe.clahe)
    pictures = PreparedPictures(paths, larger)
    network = HeadedNetwork(_start(settings.start), int(codes.max()) + 1, settings)
    steps = max(1, len(paths) // settings.batch)
    trainer = _Trainer(network, settings, device, _draws(groups, settings), steps)
    listed = repr([(path.name, int(code)) for path, code in zip(paths, codes, strict=True)])
    of = hashlib.sha256(listed.encode()).hexdigest()[:16]
    about = {**asdict(settings), **recipe.to_dict(), "pictures": of}
    first = trainer.resume(state, about)
    targets, saved = torch.from_numpy(codes.astype(np.int64)), time.monotonic()
    for epoch in range(first, settings.epochs):
        order = torch.randperm(len(paths), generator=trainer.random).numpy()
        for step in range(steps):
            message = f"training the network, epoch {epoch + 1} of {settings.epochs}"
            yield Progress(epoch * steps + step, settings.epochs * steps, message)
            places = order[step * settings.batch : (step + 1) * settings.batch]
            seen = random_views(pictures.batch(places), recipe.size, trainer.random, views)
            trainer.step(seen, targets[places], places)
        last = epoch + 1 == settings.epochs
        if state is not None and (last or time.monotonic() - saved > _SAVE_EVERY_S):
            trainer.save(state, about, epoch + 1)
            saved = time.monotonic()
    return _result(trainer.average)


def _result(average: HeadedNetwork) -> FineTuned:
    weight = average.head.weight.detach().float().cpu().view(*average.shape, WIDTH)
    bias = average.head.bias.detach().float().cpu().view(*average.shape)
    extractor = TrainedExtractor(average.encoder.cpu()).eval().requires_grad_(False)
    return FineTuned(extractor, LayersHead((weight,), (bias,)))


def _start(name: str) -> nn.ModuleList:
    from napari_covseg.models.unet_lite import UNetLite
    from napari_covseg.models.zoo import load
    from napari_covseg.training.pretrained import imagenet_weights, load_encoder

    encoder = lite0_encoder(drop_path=0.1)
    if name == "imagenet":
        network = UNetLite(drop_path=0.1)
        load_encoder(network, imagenet_weights())
        return network.encoder
    if name == "covseg":
        shipped = load().network
        assert isinstance(shipped, UNetLite)
        encoder.load_state_dict(shipped.encoder.state_dict())
    return encoder


def _draws(groups: Sequence[str], settings: FineTuneSettings) -> Tensor:
    """How often each picture counts for each head: ``(pictures, heads)``, 1 on average."""
    of_group = group_codes(groups)
    rng = np.random.default_rng([settings.seed, 1])
    count = int(of_group.max()) + 1
    drawn = rng.multinomial(count, np.full(count, 1 / count), size=settings.heads)
    return torch.from_numpy(drawn.T[of_group].astype(np.float32))


class _Trainer:
    """One step: forward, loss of each head on its own sample, backward, average of the weights."""

    def __init__(
        self,
        network: HeadedNetwork,
        settings: FineTuneSettings,
        device: Device,
        draws: Tensor,
        steps: int,
    ) -> None:
        self.settings, self.device, self.draws, self.done = settings, device, draws, 0
        self.random = torch.Generator().manual_seed(settings.seed)
        self.network = network.to(device.name, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        self.average = copy.deepcopy(network).eval().requires_grad_(False)
        # On a CPU gradients in bfloat16 take twice as long as in float32.
        half = device.precision != "float32" and device.kind != "cpu"
        dtype = getattr(torch, device.precision)
        self.cast = torch.autocast(device.kind, dtype) if half else nullcontext()
        self.scaler = torch.amp.GradScaler(
            device.kind, enabled=half and device.precision == "float16"
        )
        trained = [p for p in network.encoder.parameters() if p.requires_grad]
        groups = [
            {"params": trained, "lr": settings.rate},
            {"params": network.head.parameters(), "lr": 3 * settings.rate},
        ]
        self.optimiser = torch.optim.AdamW(groups, weight_decay=settings.weight_decay)
        total = steps * settings.epochs

        def share(step: int) -> float:
            return min(1.0, (step + 1) / (2 * steps)) * 0.5 * (1 + math.cos(math.pi * step / total))

        self.rates = torch.optim.lr_scheduler.LambdaLR(self.optimiser, share)

    def step(self, views: Tensor, targets: Tensor, places: NDArray[np.intp]) -> None:
        """Learn from a batch."""
        name = self.device.name
        views = views.to(name).contiguous(memory_format=torch.channels_last)
        with self.cast:
            logits = self.network(views)
        count, heads, classes = logits.shape
        repeated = targets.to(name)[:, None].expand(count, heads).reshape(-1)
        losses = F.cross_entropy(
            logits.float().reshape(-1, classes),
            repeated,
            label_smoothing=self.settings.smoothing,
            reduction="none",
        )
        loss = (losses * self.draws[places].to(name).view(-1)).mean()
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad(set_to_none=True)
        self.rates.step()
        self._average()

    @torch.no_grad()
    def _average(self) -> None:
        self.done += 1
        # Few steps must not be held back by the random heads that the average began with.
        decay = min(self.settings.decay, (1 + self.done) / (10 + self.done))
        mine = self.network.state_dict()
        for key, value in self.average.state_dict().items():
            if value.is_floating_point():
                value.lerp_(mine[key], 1 - decay)
            else:
                value.copy_(mine[key])

    def _parts(self) -> dict[str, Any]:
        return {
            "network": self.network,
            "average": self.average,
            "optimiser": self.optimiser,
            "rates": self.rates,
            "scaler": self.scaler,
        }

    def save(self, file: Path, about: dict[str, Any], epoch: int) -> None:
        """Keep all that the rest of the training depends on."""
        parts = {name: part.state_dict() for name, part in self._parts().items()}
        random = {"random": self.random.get_state(), "torch": torch.get_rng_state()}
        if self.device.kind == "cuda":
            random["cuda"] = torch.cuda.get_rng_state(self.device.name)
        write_state(file, {**parts, **random, "about": about, "epoch": epoch, "done": self.done})

    def resume(self, file: Path | None, about: dict[str, Any]) -> int:
        """Go on from a file, if it is there; the epochs that are done."""
        if file is None or not file.exists():
            return 0
        found = read_state(file)
        check_same(found["about"], about)
        for name, part in self._parts().items():
            part.load_state_dict(found[name])
        self.random.set_state(found["random"])
        torch.set_rng_state(found["torch"])
        if "cuda" in found and self.device.kind == "cuda":
            torch.cuda.set_rng_state(found["cuda"], self.device.name)
        self.done = int(found["done"])
        return int(found["epoch"])
