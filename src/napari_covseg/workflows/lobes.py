"""A case's lobe map: from a file, or found by lungmask's networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_covseg.domain.lobes import LobeMap
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.workflows.lobe_choice import LobeChoice

if TYPE_CHECKING:
    from napari_covseg.domain.volume import CTVolume


def lobes_of(volume: CTVolume, choice: LobeChoice, device: str = "auto") -> Steps[LobeMap | None]:
    """The lobe map that was chosen; None where lobes are to be approximated.

    Raises
    ------
    InputError
        If the file cannot be read, or holds no lobe.
    ModelError
        If lungmask or its weights are not installed, or cannot be used.
    ResourceError
        If memory ran out.
    UsageError
        If the device asked for is not there.
    """
    if choice.file is not None:
        from napari_covseg.io.lobes import read_lobes

        yield Progress(0, 1, f"reading {choice.file.name}")
        return read_lobes(choice.file, choice.names)
    if choice.network:
        return (yield from network_lobes(volume, choice, device))
    return None


def network_lobes(volume: CTVolume, choice: LobeChoice, device: str = "auto") -> Steps[LobeMap]:
    """The lobes that lungmask finds; errors are those of `lobes_of`."""
    yield Progress(0, 1, "loading lungmask")
    from napari_covseg.models.device import choose_device
    from napari_covseg.models.lungmask_weights import load_lobe_networks

    chosen = choose_device(device)
    networks = load_lobe_networks(choice.weights)
    from napari_covseg.inference.lobes import predict_lobes

    found = yield from predict_lobes(volume, networks, chosen)
    return LobeMap(found, volume.geometry, source=networks.title)
