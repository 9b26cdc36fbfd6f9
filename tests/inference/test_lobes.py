"""Lobes by lungmask: voxel for voxel what the package's own inference finds, and files refused."""

import hashlib
import re
from functools import partialmethod
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from napari_covseg.domain.errors import ModelError
from napari_covseg.domain.geometry import Geometry
from napari_covseg.domain.progress import run_to_end
from napari_covseg.domain.volume import CTVolume
from napari_covseg.inference.lobes import predict_lobes
from napari_covseg.io.phantom import make_phantom
from napari_covseg.models import lungmask_weights
from napari_covseg.models.device import choose_device
from napari_covseg.models.lungmask_weights import FILL, LOBES, load_lobe_networks

lungmask = pytest.importorskip("lungmask")


@pytest.fixture(scope="module", autouse=True)
def narrow():
    """lungmask's own architecture with a sixteenth of its channels, so that this takes seconds."""
    from lungmask.resunet import UNet

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(UNet, "__init__", partialmethod(UNet.__init__, wf=2))
        yield


@pytest.fixture(scope="module")
def volume():
    """Three neighbouring slices of the phantom."""
    return make_phantom((40, 128, 128), (7.5, 2.8, 2.8)).volume.hu[18:21]


def network(published, hu) -> nn.Module:
    """Random weights that find every class somewhere."""
    from lungmask import utils
    from lungmask.resunet import UNet

    torch.manual_seed(published.classes)
    made = UNet(
        n_classes=published.classes,
        padding=True,
        depth=5,
        up_mode="upsample",
        batch_norm=True,
        residual=False,
    ).eval()
    slices, _ = utils.preprocess(hu[1:2], resolution=[256, 256])
    image = torch.as_tensor((slices[:, None] + 1024) / 1624, dtype=torch.float32)
    with torch.no_grad():
        scores = made(image)
        made.last.bias -= scores.mean(dim=(0, 2, 3)) - scores.mean()
    return made


def saved(made: nn.Module, published, folder: Path) -> Path:
    """As published: the name ends in digits of the file's hash."""
    path = folder / "weights.pth"
    torch.save(made.state_dict(), path)
    digits = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    return path.rename(folder / f"{published.file.rpartition('-')[0]}-{digits}.pth")


@pytest.fixture(scope="module")
def weights(narrow, volume, tmp_path_factory):
    """A folder with both networks' weights."""
    folder = tmp_path_factory.mktemp("weights")
    return [saved(network(one, volume), one, folder) for one in (LOBES, FILL)]


def test_every_voxel_is_that_of_the_packages_own_inference(volume, weights):
    from lungmask import LMInferer

    base, fill = weights
    theirs = LMInferer(
        modelpath=str(base), fillmodel_path=str(fill), fillmodel="R231",
        force_cpu=True, tqdm_disable=True,
    )  # fmt: skip
    expected = theirs.apply(volume)
    networks = load_lobe_networks(base.parent)
    ct = CTVolume(volume, Geometry.from_spacing(volume.shape, (5.0, 2.0, 2.0)), "scan")
    found = run_to_end(predict_lobes(ct, networks, choose_device("cpu")))
    assert found.dtype == np.uint8
    assert len(np.unique(expected)) > 2
    np.testing.assert_array_equal(found, expected)
    assert networks.name == "lungmask-LTRCLobes_R231"
    assert re.search(r"lungmask \d.*, weights [0-9a-f]{8} and [0-9a-f]{8}", networks.title)


def test_without_the_second_file_the_name_says_so(weights, tmp_path):
    (tmp_path / weights[0].name).symlink_to(weights[0])
    networks = load_lobe_networks(tmp_path)
    assert networks.fill is None
    assert networks.name == "lungmask-LTRCLobes"


def test_weights_that_are_not_there_are_named_and_never_fetched(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", None)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    with pytest.raises(ModelError, match=r"unet_ltrclobes-3a07043d\.pth") as caught:
        load_lobe_networks()
    assert str(tmp_path / "hub" / "checkpoints") in str(caught.value)


def test_a_damaged_file_is_refused(tmp_path):
    (tmp_path / LOBES.file).write_bytes(b"half of it")
    with pytest.raises(ModelError, match="damaged, its SHA-256 does not begin with 3a07043d"):
        load_lobe_networks(tmp_path)


class Evil:
    """A pickle with code."""

    def __reduce__(self):
        return (Path.touch, (Path("evil_ran"),))


@pytest.mark.parametrize("held", [Evil(), {"last.bias": torch.zeros(6)}, [1, 2]])
def test_a_file_with_anything_but_those_weights_is_refused(held, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.pth"
    torch.save(held, path)
    digits = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    path.rename(tmp_path / f"unet_ltrclobes-{digits}.pth")
    with pytest.raises(ModelError, match="not the weights of lungmask's LTRCLobes"):
        load_lobe_networks(tmp_path)
    assert not (tmp_path / "evil_ran").exists()


def test_without_the_package_it_says_how_to_install_it(monkeypatch, tmp_path):
    import sys

    monkeypatch.setitem(sys.modules, "lungmask.resunet", None)
    with pytest.raises(ModelError, match=r"napari-covseg\[lobes\]"):
        lungmask_weights.load_lobe_networks(tmp_path)
