import time

import numpy as np
import pytest
import torch
from fakes import Card, Identity, Thresholds, blob_volume, expected_classes, model, noise_volume
from scipy import ndimage
from torch import nn

from napari_covseg.domain.errors import InputError, ModelError, ResourceError
from napari_covseg.domain.geometry import Geometry
from napari_covseg.domain.labels import NetworkClass
from napari_covseg.domain.progress import run_to_end
from napari_covseg.domain.volume import CTVolume
from napari_covseg.inference.frame import plan_frame
from napari_covseg.inference.predictor import predict
from napari_covseg.models.device import Device, choose_device
from napari_covseg.models.unet2d import UNet2D
from napari_covseg.preprocess.recipe import AxialRecipe
from napari_covseg.preprocess.volume_recipe import VolumeRecipe

CPU = Device("cpu", "CPU", "float32")


def classes_of(volume, network_model=None, device=CPU, flips="none"):
    return run_to_end(predict(volume, network_model or model(), device, flips)).classes


@pytest.mark.parametrize("flips", ["none", "left-right", "all"])
@pytest.mark.parametrize("shape", [(5, 64, 96), (1, 70, 61), (9, 33, 100)])
def test_identity_network_gives_its_input_back(shape, flips):
    volume = noise_volume(shape)
    found = classes_of(volume, flips=flips)
    assert found.dtype == np.uint8
    assert np.array_equal(found, expected_classes(volume.hu))
    assert set(np.unique(found)) == {0, 1, 2, 3}


def test_identity_holds_for_float_volumes_and_leaves_them_untouched():
    volume = noise_volume()
    floats = CTVolume(volume.hu.astype(np.float32), volume.geometry, "float")
    before = floats.hu.copy()
    assert np.array_equal(classes_of(floats), expected_classes(volume.hu))
    assert np.array_equal(floats.hu, before)


@pytest.mark.parametrize(
    "spacing_mm", [(3.0, 0.7, 0.7), (3.0, 0.9, 0.6), (3.0, 2.0, 1.35), (3.0, 0.5, 2.1)]
)
def test_other_pixel_sizes_give_nearly_the_same(spacing_mm):
    """Resampling to the network's pixels and back moves edges by less than half of its pixel."""
    volume = blob_volume(spacing_mm=spacing_mm)
    found, expected = classes_of(volume), expected_classes(volume.hu)
    # Edges pass through all classes on the way, so compare where the lungs and the GGO are.
    near = ndimage.binary_dilation(expected > 0, iterations=4)
    inside = ndimage.binary_dilation(expected == NetworkClass.GGO, iterations=3)
    for a, b in (
        (near & (found > 0), expected > 0),
        (inside & (found == NetworkClass.GGO), expected == NetworkClass.GGO),
    ):
        assert 2 * (a & b).sum() / (a.sum() + b.sum()) > 0.93
    # Not shifted: the GGO's centre stays within a tenth of a network pixel or so.
    for axis, mm in ((1, spacing_mm[1]), (2, spacing_mm[2])):
        centres = [np.nonzero(mask)[axis].mean() * mm for mask in (a, b)]
        assert abs(centres[0] - centres[1]) < 0.2


def test_output_is_not_the_mirror_image():
    volume = blob_volume()
    shape = volume.geometry.shape
    found = classes_of(volume)[:, int(0.45 * shape[1]) : int(0.55 * shape[1])]
    inside = found[..., : shape[2] // 2] == NetworkClass.GGO
    mirrored = found[..., ::-1][..., : shape[2] // 2] == NetworkClass.GGO
    assert inside.sum() > 2 * mirrored.sum()


def test_network_sees_window_padding_and_multiples_of_32():
    seen = []

    class Spy(Thresholds):
        def forward(self, pixels):
            seen.append(pixels.clone())
            return super().forward(pixels)

    recipe = AxialRecipe(window_hu=(-1000.0, 0.0))
    volume = noise_volume((2, 40, 70))
    classes_of(volume, model(Spy(recipe), recipe))
    pixels = torch.cat(seen)
    assert pixels.shape == (2, 1, 64, 96)
    expected = np.clip(volume.hu[::-1], -1000, 0) / 500.0 + 1  # a scout comes first
    np.testing.assert_allclose(pixels[:, 0, :40, :70], expected, atol=1e-5)
    assert (pixels[:, :, 40:] == -1).all()
    assert (pixels[:, :, :, 70:] == -1).all()


def test_slices_far_from_the_lungs_are_not_computed():
    seen = []

    class Spy(Thresholds):
        def forward(self, pixels):
            seen.append(len(pixels))
            return super().forward(pixels)

    hu = np.full((120, 64, 96), 900, np.int16)  # background
    hu[50:70, 20:40, 30:60] = noise_volume((20, 20, 30)).hu
    volume = CTVolume(hu, Geometry.from_spacing(hu.shape, (1.0, 1.35, 1.35)), "tall")
    assert np.array_equal(classes_of(volume, model(Spy())), expected_classes(hu))
    assert 20 < sum(seen) < 80


def test_table_and_air_are_not_computed():
    hu = np.full((8, 256, 256), -1000, np.int16)
    hu[:, 60:160, 50:200] = 40
    hu[:, 80:140, 70:110] = -850
    hu[:, 220:222, 20:240] = 40  # table
    volume = CTVolume(hu, Geometry.from_spacing(hu.shape, (3.0, 1.35, 1.35)), "table")
    frame = plan_frame(volume, AxialRecipe())
    assert 40 <= frame.rows[0] <= 60
    assert 160 <= frame.rows[1] <= 185
    assert 30 <= frame.columns[0] <= 50
    assert 200 <= frame.columns[1] <= 220
    assert frame.padded == (128, 192)


def test_lung_at_the_edge_of_the_field_of_view_is_not_cut_away():
    rng = np.random.default_rng(0)
    hu = (-820 + 30 * rng.standard_normal((6, 200, 200))).astype(np.int16)
    hu[:, 60:140, 80:120] = 40  # only the mediastinum is soft tissue
    volume = CTVolume(hu, Geometry.from_spacing(hu.shape, (3.0, 1.35, 1.35)), "zoomed")
    frame = plan_frame(volume, AxialRecipe())
    assert (frame.rows, frame.columns) == ((0, 200), (0, 200))


@pytest.mark.parametrize(
    ("shape", "word"), [((30, 64, 1), "sagittal"), ((30, 1, 64), "coronal"), ((30, 64, 3), "mm")]
)
def test_input_without_an_axial_plane_is_refused(shape, word):
    volume = CTVolume(np.zeros(shape, np.int16), Geometry.from_spacing(shape, (3, 1, 1)), "thin")
    with pytest.raises(InputError, match=word):
        classes_of(volume)


def test_closing_cancels_between_batches():
    volume = noise_volume((200, 64, 96))
    network = Thresholds()
    steps = predict(volume, model(network), CPU)
    for _ in range(3):
        next(steps)
    done = sum(shape[0] for shape in network_batches(steps))
    steps.close()
    with pytest.raises(StopIteration):
        next(steps)
    assert 0 < done < 200


def network_batches(steps):
    return steps.gi_frame.f_locals["runner"].network.batches


@pytest.mark.slow
def test_default_network_can_be_cancelled_within_a_second():
    volume = noise_volume((40, 192, 256))
    steps = predict(volume, model(UNet2D()), choose_device("cpu"), "all")
    next(steps)
    next(steps)
    longest = 0.0
    for _ in range(4):
        start = time.thread_time()
        next(steps)
        longest = max(longest, time.thread_time() - start)
    steps.close()
    assert longest < 1.0  # of this thread: the machine may be busy


def test_progress_grows_to_the_number_of_slices():
    steps = list(predict(noise_volume((37, 64, 96)), model(), CPU))
    assert [s.done for s in steps] == sorted(s.done for s in steps)
    assert (steps[0].done, steps[-1].done, steps[-1].total) == (0, 37, 37)


class Hungry(Thresholds):
    """Runs out of memory for batches above a size, as CUDA does."""

    def __init__(self, largest):
        super().__init__()
        self.largest = largest

    def forward(self, pixels):
        if len(pixels) > self.largest:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return super().forward(pixels)


def test_out_of_memory_is_answered_by_smaller_batches():
    volume = noise_volume((40, 64, 96))
    prediction = run_to_end(predict(volume, model(Hungry(3)), CPU))
    assert np.array_equal(prediction.classes, expected_classes(volume.hu))
    assert len(prediction.warnings) == 1
    assert "smaller batches" in prediction.warnings[0]


def test_out_of_memory_on_the_cpu_at_one_slice_is_an_error():
    with pytest.raises(ResourceError, match="memory"):
        run_to_end(predict(noise_volume(), model(Hungry(0)), CPU))


def test_out_of_memory_on_a_gpu_at_one_slice_goes_on_with_the_cpu():
    failed = []

    class FailsOnCard(Thresholds):
        """All slices, fewer and a single one are too many: the CPU comes next."""

        def forward(self, pixels):
            if len(failed) < 2:
                failed.append(len(pixels))
                raise torch.cuda.OutOfMemoryError("MPS backend out of memory")
            return super().forward(pixels)

    volume = noise_volume((10, 64, 96))
    device = Card("mps", "Apple graphics")
    prediction = run_to_end(predict(volume, model(FailsOnCard()), device))
    assert failed == [2, 1]  # of the slices looked at first
    assert np.array_equal(prediction.classes, expected_classes(volume.hu))
    assert prediction.device.title != device.title
    assert prediction.warnings == (
        "Apple graphics ran out of memory: went on with smaller batches.",
        "Apple graphics ran out of memory: the rest was done on the CPU.",
    )


def test_what_a_graphics_card_cannot_compute_is_done_on_the_cpu():
    failed = []

    class Missing(Thresholds):
        def forward(self, pixels):
            if not failed:
                failed.append(len(pixels))
                raise NotImplementedError("conv_transpose3d is not implemented for MPS")
            return super().forward(pixels)

    volume = noise_volume()
    prediction = run_to_end(predict(volume, model(Missing()), Card("mps", "Apple graphics")))
    assert np.array_equal(prediction.classes, expected_classes(volume.hu))
    assert "Apple graphics cannot run this network: the rest" in prediction.warnings[0]
    assert len(failed) == len(prediction.warnings) == 1


@pytest.mark.parametrize("kind", ["slices", "volumes"])
def test_a_network_that_does_not_fit_on_the_card_runs_on_the_cpu(kind):
    failed = []

    def heavy(network):
        class Heavy(type(network)):
            def to(self, *args, **kwargs):
                if not failed:
                    failed.append(args)
                    raise torch.cuda.OutOfMemoryError("CUDA out of memory")
                return super().to(*args, **kwargs)

        network.__class__ = Heavy
        return network

    volume = noise_volume()
    recipe = AxialRecipe() if kind == "slices" else VolumeRecipe(())
    used = heavy(Thresholds(recipe) if kind == "slices" else Identity())
    prediction = run_to_end(predict(volume, model(used, recipe), Card("mps", "a card")))
    assert np.array_equal(prediction.classes, expected_classes(volume.hu))
    assert prediction.warnings == ("a card has no memory left: all was done on the CPU.",)
    assert prediction.device.title.startswith("CPU")


def test_other_failures_of_the_network_are_a_model_error():
    class Broken(nn.Module):
        def forward(self, pixels):
            raise RuntimeError("expected 3 channels\nand more")

    with pytest.raises(ModelError, match=r"fake failed on CPU: expected 3 channels$"):
        classes_of(noise_volume(), model(Broken()))


def test_wrong_number_of_classes_is_a_model_error():
    class Two(nn.Module):
        def forward(self, pixels):
            return torch.cat([pixels, pixels], dim=1)

    with pytest.raises(ModelError, match="2 outputs, expected 4"):
        classes_of(noise_volume(), model(Two()))


class Scaled(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, values):
        return self.factor * values


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_same_input_same_output(precision):
    torch.manual_seed(0)
    undecided = UNet2D((8, 16, 16))
    # Chance alone has every class at 1/4, and GGO and consolidation together win everywhere.
    sharp = nn.Sequential(undecided, nn.InstanceNorm2d(4), Scaled(10.0))
    network = model(sharp)
    volume, device = noise_volume((6, 64, 96)), Device("cpu", "CPU", precision)
    first = classes_of(volume, network, device)
    assert np.array_equal(first, classes_of(volume, network, device))
    assert not np.array_equal(first, classes_of(noise_volume((6, 64, 96), seed=1), network, device))
    assert len(np.unique(first)) > 1


def test_model_is_left_as_it_was():
    network = UNet2D((4, 8)).eval()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    classes_of(noise_volume((2, 64, 96)), model(network), Device("cpu", "CPU", "bfloat16"))
    after = network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[k], after[k]) for k in before)


class Ramp(nn.Module):
    """Prefers lung on the left half of the picture, whatever it shows."""

    def forward(self, pixels):
        ramp = torch.linspace(1, -1, pixels.shape[-1]).expand_as(pixels)
        other = torch.full_like(pixels, -9.0)
        return torch.cat([torch.zeros_like(pixels), pixels + ramp, other, other], dim=1)


def test_averaging_flips_gives_mirrored_output_for_mirrored_input():
    volume = noise_volume((2, 64, 96))
    mirrored = CTVolume(volume.hu[..., ::-1].copy(), volume.geometry, "mirrored")
    for flips, agree in (("none", False), ("left-right", True), ("all", True)):
        one, other = (classes_of(v, model(Ramp()), flips=flips) for v in (volume, mirrored))
        assert np.array_equal(one, other[..., ::-1]) is agree
        assert len(np.unique(one)) == 2
