import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from napari_covseg.domain.errors import ModelError, UsageError
from napari_covseg.models.feature_extractors import (
    COVSEG,
    CovsegExtractor,
    load_extractor,
)


@pytest.fixture(scope="module")
def covseg():
    return load_extractor(COVSEG)


@pytest.fixture(scope="module")
def resnet_file(tmp_path_factory):
    from torchvision.models import resnet50

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "resnet50.safetensors"
    save_file(resnet50(weights=None).state_dict(), path)
    return path


def test_resnet_50_has_the_reports_100352_features(resnet_file):
    from torchvision.models import resnet50

    extractor = load_extractor("resnet50", resnet_file)
    grey = torch.rand(1, 1, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        whole, pooled = extractor(grey, False), extractor(grey)
        assert whole.shape == (1, 100_352)
        assert pooled.shape == (1, 2048)
        assert pooled == pytest.approx(whole.view(1, 2048, 49).mean(dim=2), abs=1e-5)
        # The published normalisation of each colour, of three equal ones.
        own = resnet50(weights=None)
        torch.manual_seed(0)
        own = resnet50(weights=None).eval()
        own.fc = torch.nn.Identity()
        mean, std = (
            torch.tensor(v).view(1, 3, 1, 1)
            for v in (
                (0.485, 0.456, 0.406),
                (0.229, 0.224, 0.225),
            )
        )
        assert pooled == pytest.approx(own((grey.expand(-1, 3, -1, -1) - mean) / std), abs=1e-4)


def test_weights_of_another_network_are_refused(resnet_file, tmp_path):
    from torchvision.models import resnet18

    other = tmp_path / "other.safetensors"
    save_file(resnet18(weights=None).state_dict(), other)
    with pytest.raises(ModelError, match="of another network; expected those of resnet50"):
        load_extractor("resnet50", other)
    with pytest.raises(ModelError, match="need its ImageNet weights in a local file"):
        load_extractor("resnet50")
    with pytest.raises(ModelError, match="not found"):
        load_extractor("resnet50", tmp_path / "gone.pth")
    with pytest.raises(UsageError, match="unknown features 'vgg'"):
        load_extractor("vgg")
    with pytest.raises(UsageError, match="take no file of weights"):
        load_extractor(COVSEG, resnet_file)


def test_our_features_are_of_the_lungs_and_of_the_lesions(covseg):
    maps = torch.zeros(1, 320, 2, 2)
    maps[0, 0] = torch.tensor([[4.0, 0.0], [0.0, 8.0]])
    beside = torch.zeros(1, 7, 2, 2)
    beside[0, 0, 0, 0] = 1
    beside[0, 1:] = torch.arange(1.0, 7)[:, None, None]
    found = covseg.from_maps(maps, beside)
    assert found.shape == (1, 326)
    # Only the upper left is lung.
    assert found[0, 0] == pytest.approx(4, abs=0.01)
    assert found[0, 320:].tolist() == [1, 2, 3, 4, 5, 6]
    assert covseg.from_maps(maps, beside, pooled=False).shape == (1, 320 * 4 + 6)


def test_fractions_of_lung_and_lesion_are_those_of_the_network():
    class Fixed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = torch.nn.ModuleList([torch.nn.MaxPool2d(4)])

        def forward(self, image):
            self.encoder[0](image)
            logits = torch.full((1, 4, 8, 8), -30.0)
            logits[:, 0, :4], logits[:, 1, 4:6], logits[:, 2, 6], logits[:, 3, 7] = 30, 30, 30, 30
            return logits

    extractor = CovsegExtractor(Fixed(), "x")
    numbers = extractor(torch.rand(1, 1, 8, 8))[0, -6:].numpy()
    assert numbers == pytest.approx(np.array([0.5, 0.25, 0.25, 0.5, 1, 1]), abs=0.005)


def test_the_margins_outside_of_the_lungs_count_for_little(covseg):
    from napari_covseg.io import make_phantom

    volume = make_phantom().volume
    hu = volume.hu[len(volume.hu) // 2].astype(np.float32)
    grey = np.clip((hu + 1350) / 1500, 0, 1)
    side = min(grey.shape) // 32 * 32
    grey = grey[:side, :side]
    marked = grey.copy()
    marked[:6, :60] = 1  # A caption in the corner.

    with torch.inference_mode():
        plain, captioned, other = (
            covseg(torch.from_numpy(np.ascontiguousarray(one))[None, None])[0]
            for one in (grey, marked, grey[:, ::-1] * 0.8)
        )
    assert (plain - captioned).norm() < 0.3 * (plain - other).norm()
