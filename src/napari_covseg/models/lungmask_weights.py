"""lungmask's networks for lobes, from weight files that the user has; nothing is downloaded.

Hofmanninger et al., Eur Radiol Exp 2020;4:50. The network itself is the optional package's own.
"""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING

from napari_covseg.domain.errors import ModelError

if TYPE_CHECKING:
    from torch import nn

_URL = "https://github.com/JoHof/lungmask/releases/download/v0.0"
_INSTALL = 'pip install "napari-covseg[lobes]"'


@dataclass(frozen=True, slots=True)
class Published:
    """A published network: its name, its file (whose name ends in digits of its SHA-256), and
    how many classes it tells apart, background included.
    """

    name: str
    file: str
    classes: int

    @property
    def pattern(self) -> str:
        """The file's name with any digits."""
        return f"{self.file.rpartition('-')[0]}-*.pth"


LOBES = Published("LTRCLobes", "unet_ltrclobes-3a07043d.pth", 6)
"""1 to 5 are `Lobe`'s own numbers."""
FILL = Published("R231", "unet_r231-d5d2fc3d.pth", 3)
"""Lungs that hold severe disease too; what the lobes leave out of them takes the nearest lobe."""


@dataclass(frozen=True, eq=False)
class LobeNetworks:
    """The network for lobes and, where its weights are there, the one that fills gaps."""

    lobes: nn.Module
    fill: nn.Module | None
    version: str
    sha256: tuple[str, ...]

    @property
    def name(self) -> str:
        """``lungmask-LTRCLobes``, or with ``_R231`` where that fills gaps."""
        return f"lungmask-{LOBES.name}" + (f"_{FILL.name}" if self.fill is not None else "")

    @property
    def title(self) -> str:
        """Name, version of the package, and the first digits of the weights' SHA-256."""
        digits = " and ".join(one[:8] for one in self.sha256)
        return f"{self.name} (lungmask {self.version}, weights {digits})"


def weights_folder() -> Path:
    """Where torch, and so lungmask itself, keeps weights that were downloaded."""
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints"


def find_weights(folder: Path | None = None) -> tuple[Path, Path | None]:
    """The weight files of `LOBES` and, where it is there, of `FILL`.

    Raises
    ------
    ModelError
        If lungmask is not installed, or there are no weights for lobes.
    """
    _version()
    given = folder or weights_folder()
    file = _find(LOBES, given)
    if file is None:
        raise ModelError(
            f"lobes by lungmask need its weights, which are not installed: get {_URL}/{LOBES.file} "
            f"(and {FILL.file}, which fills gaps) and put it into {given}"
        )
    return file, _find(FILL, given)


def load_lobe_networks(folder: Path | None = None) -> LobeNetworks:
    """Load the networks; ``folder`` holds the weight files, without it `weights_folder`.

    Raises
    ------
    ModelError
        If lungmask is not installed, the weights for lobes are not there, or a file is damaged or
        holds anything but the weights of that network.
    """
    version = _version()
    file, fill = find_weights(folder)
    networks, hashes = [], []
    for published, path in ((LOBES, file), (FILL, fill)):
        if path is not None:
            hashes.append(_checked_hash(published, path))
            networks.append(_load(published, path))
    return LobeNetworks(networks[0], networks[1] if fill else None, version, tuple(hashes))


def _version() -> str:
    """The installed lungmask's version."""
    from importlib.metadata import version

    try:
        # Importing it hides every warning of the process, and its log goes to standard output.
        with warnings.catch_warnings():
            import lungmask.resunet  # noqa: F401
    except ImportError:
        raise ModelError(
            f"lobes by lungmask need the optional package lungmask: install it ({_INSTALL})"
        ) from None
    logging.getLogger("lungmask").setLevel(logging.WARNING)
    return version("lungmask")


def _find(published: Published, folder: Path) -> Path | None:
    exact = folder / published.file
    return exact if exact.is_file() else next(iter(sorted(folder.glob(published.pattern))), None)


def _checked_hash(published: Published, path: Path) -> str:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    digits = path.stem.rpartition("-")[2]
    if not found.startswith(digits):
        raise ModelError(
            f"{path.name}: damaged, its SHA-256 does not begin with {digits}; get "
            f"{_URL}/{published.file} again"
        )
    return found


def _load(published: Published, path: Path) -> nn.Module:
    """The network with these weights, ready to use; a file with anything but tensors is refused."""
    import torch
    from lungmask.resunet import UNet

    network: nn.Module = UNet(
        n_classes=published.classes,
        padding=True,
        depth=5,
        up_mode="upsample",
        batch_norm=True,
        residual=False,
    )
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(weights, Mapping):
            raise TypeError
        network.load_state_dict(weights)
    except (OSError, UnpicklingError, RuntimeError, EOFError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{path.name}: these are not the weights of lungmask's {published.name}; get "
            f"{_URL}/{published.file}"
        ) from error
    return network.eval()
