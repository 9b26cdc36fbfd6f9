"""Frozen networks whose features classifiers of pictures work on.

ResNet-50 and Inception-ResNet-v2 are those of Singh & Krishna, their last feature map before
pooling (100,352 and 98,304 numbers); they need ImageNet weights in a file that the user has, since
features of random weights mean nothing. The package's own are those of the shipped segmentation
network: its encoder's map, pooled over the lungs it finds, and the fractions of lesion it sees.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_covseg.domain.errors import ModelError, UsageError
from napari_covseg.domain.labels import NetworkClass
from napari_covseg.models.imagenet import read_weights

if TYPE_CHECKING:
    from napari_covseg.models.unet_lite import UNetLite

COVSEG, RESNET50, INCEPTION = "covseg", "resnet50", "inception_resnet_v2"
TWIN = "covseg+imagenet"
"""The shipped network's encoder beside one of the same kind from ImageNet (`twin_extractor`)."""
TRAINED = "trained"
"""An encoder that was trained on pictures, and comes with its classifier."""
STEP = 32
"""Pixels from one place of a last map to the next, of all networks here."""
LITE0_FIRST = 31.0
"""Each of five halvings pads one pixel more behind than before, so places look further on."""


@dataclass(frozen=True, slots=True)
class ExtractorEntry:
    """A network that features can be taken from.

    ``size`` is the side of its input, ``weights`` what its file of weights is called where it
    needs one, ``head`` how the names of the weights of its own classifier start; ``first`` the
    pixel that place 0 of its last map is centred at: place i looks around ``first + STEP * i``.
    """

    name: str
    size: int
    first: float
    weights: str = ""
    head: str = ""
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)


EXTRACTORS: Mapping[str, ExtractorEntry] = MappingProxyType(
    {
        COVSEG: ExtractorEntry(COVSEG, 256, LITE0_FIRST),
        TWIN: ExtractorEntry(TWIN, 256, LITE0_FIRST),
        RESNET50: ExtractorEntry(
            RESNET50, 224, 0.0, "resnet50", "fc.", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        ),
        INCEPTION: ExtractorEntry(INCEPTION, 299, 37.0, "inception_resnet_v2", "classif."),
    }
)


class Extractor(nn.Module):
    """A frozen network from pictures to a feature map, and from that to numbers.

    ``forward`` takes grey ``(n, 1, h, w)`` in [0, 1] and gives ``(n, features)``, pooled or the
    whole map; `maps` gives the map itself ``(n, channels, h', w')``, `from_maps` the features of
    it, so that Grad-CAM can ask for gradients between the two.
    """

    name: str
    sha256: str
    version = 2
    """Of how features are computed of the network; classifiers only fit features of their own."""
    has_map = True
    """Whether there is a feature map, without which there is no Grad-CAM."""

    def centres(self, pixels: int, places: int) -> tuple[float, float]:
        """Where places of the map look, along a side: the pixel that the first is centred at, and
        the pixels from one to the next. Here places share the picture evenly.
        """
        step = pixels / places
        return (step - 1) / 2, step

    def maps(self, grey: Tensor) -> tuple[Tensor, Tensor]:
        """The last feature map, and what else features need: ``(n, k, h', w')``, k may be 0."""
        raise NotImplementedError

    def from_maps(self, maps: Tensor, beside: Tensor, pooled: bool = True) -> Tensor:
        """Features ``(n, features)`` of a map; all of it where ``pooled`` is false."""
        return maps.mean(dim=(2, 3)) if pooled else maps.flatten(1)

    def forward(self, grey: Tensor, pooled: bool = True) -> Tensor:
        """Features ``(n, features)`` of pictures."""
        maps, beside = self.maps(grey)
        return self.from_maps(maps, beside, pooled)


class _ImageNetExtractor(Extractor):
    mean: Tensor
    std: Tensor

    def __init__(self, entry: ExtractorEntry, network: nn.Module, sha256: str) -> None:
        super().__init__()
        self.name, self.sha256, self.network = entry.name, sha256, network
        self._first = entry.first
        self.register_buffer("mean", torch.tensor(entry.mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(entry.std).view(1, -1, 1, 1))

    def centres(self, pixels: int, places: int) -> tuple[float, float]:
        """As `Extractor.centres`."""
        return self._first, STEP

    def maps(self, grey: Tensor) -> tuple[Tensor, Tensor]:
        """As `Extractor.maps`."""
        colours = (grey.expand(-1, 3, -1, -1) - self.mean) / self.std
        maps: Tensor = self.network(colours)
        return maps, maps[:, :0]


class CovsegExtractor(Extractor):
    """The shipped segmentation network's encoder and what the network finds.

    Pooled features are 326: the map's mean over the lungs and lesions found, and six numbers (lung
    of the picture; GGO, consolidation and both of the lung; the greatest probability of either).
    The mean over the whole picture is left out: it brought nothing in cross-validation, and it is
    where captions, borders and the scanner's table would come in.

    In version 1 the lungs were spread evenly over the map, half a place away from where it looks.
    """

    def __init__(self, network: UNetLite, sha256: str, version: int = 2) -> None:
        super().__init__()
        self.name, self.sha256, self.network = COVSEG, sha256, network
        self.version = version

    def centres(self, pixels: int, places: int) -> tuple[float, float]:
        """As `Extractor.centres`."""
        return LITE0_FIRST, STEP

    def maps(self, grey: Tensor) -> tuple[Tensor, Tensor]:
        """As `Extractor.maps`."""
        maps, classes = encoded(self.network, grey)
        where, numbers = seen(classes, maps.shape[-2:], evenly=self.version == 1)
        return maps, torch.cat([where[:, :1], numbers], dim=1)

    def from_maps(self, maps: Tensor, beside: Tensor, pooled: bool = True) -> Tensor:
        """As `Extractor.from_maps`."""
        numbers = beside[:, 1:].mean(dim=(2, 3))
        if not pooled:
            return torch.cat([maps.flatten(1), numbers], dim=1)
        return torch.cat([mean_over(maps, beside[:, :1]), numbers], dim=1)


def encoded(network: UNetLite, grey: Tensor) -> tuple[Tensor, Tensor]:
    """The encoder's last map, and the probabilities of each class and pixel."""
    found: list[Tensor] = []
    last = network.encoder[-1]
    hook = last.register_forward_hook(lambda _module, _input, output: found.append(output))
    try:
        classes = network(grey * 2 - 1).float().softmax(dim=1)
    finally:
        hook.remove()
    return found[0].float(), classes


def mean_over(maps: Tensor, where: Tensor) -> Tensor:
    """Means ``(n, k)`` of maps, weighted by ``where`` ``(n, 1, h', w')``; plain where it is 0."""
    weight = where + 1e-4
    return (maps * weight).sum(dim=(2, 3)) / weight.sum(dim=(2, 3))


def seen(classes: Tensor, size: torch.Size, evenly: bool = False) -> tuple[Tensor, Tensor]:
    """What the network finds, for each place of its map; ``evenly`` if places share the picture.

    Returns
    -------
    How much lung and how much lesion there is around each place ``(n, 2, h', w')``, and the six
    numbers as maps of one value each ``(n, 6, h', w')``.
    """
    ggo, consolidation = classes[:, NetworkClass.GGO], classes[:, NetworkClass.CONSOLIDATION]
    lesion = ggo + consolidation
    lung = classes[:, NetworkClass.LUNG] + lesion
    whole = lung.mean(dim=(1, 2))
    of_lung = [part.mean(dim=(1, 2)) / (whole + 1e-3) for part in (ggo, consolidation, lesion)]
    greatest = [part.amax(dim=(1, 2)) for part in (ggo, consolidation)]
    numbers = torch.stack([whole, *of_lung, *greatest], dim=1)
    # Around where places look, not evenly over the picture; beyond its end there is nothing.
    late = 0 if evenly else round(LITE0_FIRST - (STEP - 1) / 2)
    shifted = F.pad(torch.stack([lung, lesion], dim=1)[..., late:, late:], (0, late, 0, late))
    where = F.adaptive_avg_pool2d(shifted, (size[0], size[1]))
    return where, numbers[..., None, None].expand(-1, -1, *size)


class TrainedExtractor(Extractor):
    """An EfficientNet-Lite0 that was trained on pictures; its weights stand with the classifier.

    Pooled features are the mean of its last map, 320 numbers.
    """

    def __init__(self, encoder: nn.ModuleList, sha256: str = "") -> None:
        super().__init__()
        self.name, self.sha256, self.encoder = TRAINED, sha256, encoder

    def centres(self, pixels: int, places: int) -> tuple[float, float]:
        """As `Extractor.centres`."""
        return LITE0_FIRST, STEP

    def maps(self, grey: Tensor) -> tuple[Tensor, Tensor]:
        """As `Extractor.maps`."""
        features = grey * 2 - 1
        for block in self.encoder:
            features = block(features)
        features = features.float()
        return features, features[:, :0]


def lite0_encoder(drop_path: float = 0.0) -> nn.ModuleList:
    """The encoder of the shipped network's kind, with random weights."""
    from napari_covseg.models.unet_lite import UNetLite

    return UNetLite(drop_path=drop_path).encoder


def load_extractor(name: str, weights: Path | None = None) -> Extractor:
    """A frozen network, on the CPU and in evaluation mode.

    Parameters
    ----------
    name
        One of `EXTRACTORS`.
    weights
        ImageNet weights (``.safetensors``, or ``.pth`` of tensors only); for `COVSEG` none.

    Raises
    ------
    UsageError
        If there is no such network, or weights are given to one that has its own.
    ModelError
        If the network is a `TWIN`, whose second half comes with a classifier or from training;
        weights are needed and not given, cannot be read or are of another network, or timm is
        not installed for the network that needs it.
    """
    if name not in EXTRACTORS:
        raise UsageError(f"unknown features '{name}': use {', '.join(EXTRACTORS)}")
    entry = EXTRACTORS[name]
    if not entry.weights and weights is not None:
        raise UsageError(f"the features of {name} take no file of weights; leave it out")
    extractor: Extractor
    if name == COVSEG:
        extractor = covseg_extractor()
    elif name == TWIN:
        raise ModelError(f"{name}: its weights are those of a classifier that was trained with it")
    else:
        extractor = _imagenet(entry, weights)
    return extractor.eval().requires_grad_(False)


def covseg_extractor() -> CovsegExtractor:
    """The shipped segmentation network as an extractor.

    Raises
    ------
    ModelError
        If it is of another kind.
    """
    from napari_covseg.models.unet_lite import UNetLite
    from napari_covseg.models.zoo import load

    model = load()
    if not isinstance(model.network, UNetLite):
        raise ModelError(f"{model.name}: has no encoder that classifiers were trained on")
    return CovsegExtractor(model.network, model.sha256)


def _imagenet(entry: ExtractorEntry, file: Path | None) -> Extractor:
    if file is None:
        raise ModelError(
            f"features of {entry.name} need its ImageNet weights in a local file (.safetensors or "
            ".pth), which are not shipped; give the file, or use the features of covseg"
        )
    found = read_weights(file, entry.weights)
    network = _build(entry)
    kept = {key: value for key, value in found.items() if not key.startswith(entry.head)}
    try:
        missing, unexpected = network.load_state_dict(kept, strict=False)
    except RuntimeError:
        missing, unexpected = ["other sizes"], []
    missing = [key for key in missing if not key.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise ModelError(
            f"{file.name}: the weights are of another network; expected those of {entry.weights}"
        )
    return _ImageNetExtractor(entry, network, hashlib.sha256(file.read_bytes()).hexdigest())


def _build(entry: ExtractorEntry) -> nn.Module:
    if entry.name == RESNET50:
        from torchvision.models import resnet50

        # Up to its last map: pooling and its own classifier are left out.
        return nn.Sequential(OrderedDict(list(resnet50(weights=None).named_children())[:-2]))
    try:
        from timm import create_model
    except ImportError as error:
        raise ModelError(
            f"{entry.name} is built by timm, which is not installed: "
            "pip install 'napari-covseg[classify]'"
        ) from error
    network: nn.Module = create_model(entry.name, pretrained=False, num_classes=0, global_pool="")
    return network
