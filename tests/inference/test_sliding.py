import numpy as np
import pytest
import torch
from fakes import Card, Identity, expected_classes, model, noise_volume
from monai.inferers import sliding_window_inference
from torch import nn

from napari_covseg.domain.errors import InputError, ModelError, ResourceError
from napari_covseg.domain.geometry import Geometry
from napari_covseg.domain.progress import run_to_end
from napari_covseg.domain.volume import CTVolume
from napari_covseg.inference import runner as shared
from napari_covseg.inference import sliding
from napari_covseg.inference.predictor import predict
from napari_covseg.inference.sliding import PatchRunner, Window, predict_volume, slide
from napari_covseg.models.checkpoint import Model
from napari_covseg.models.device import Device
from napari_covseg.models.unet3d import UNet3D
from napari_covseg.preprocess.steps import ClipHU, Resample, ZScore
from napari_covseg.preprocess.volume_recipe import VolumeRecipe

CPU = Device("cpu", "CPU", "float32")
AS_IT_IS = VolumeRecipe(())
SMALL = Window((4, 16, 16))


@pytest.fixture(autouse=True)
def several_patches_a_step(monkeypatch):
    """Batches of four small patches; the real number is far too large for a test."""
    for kind in ("cpu", "mps", "cuda"):
        monkeypatch.setitem(sliding.VOXELS_PER_STEP, kind, 4 * 4 * 16 * 16)


def network_model(network=None, recipe=AS_IT_IS, **card):
    return Model("fake", "1", "0" * 64, network or Identity(), recipe, card)


def classes_of(volume, network=None, device=CPU, flips="none", window=SMALL, recipe=AS_IT_IS):
    used = network_model(network, recipe)
    return run_to_end(predict_volume(volume, used, recipe, device, flips, window)).classes


@pytest.mark.parametrize("flips", ["none", "left-right", "all"])
@pytest.mark.parametrize("shape", [(9, 40, 51), (4, 64, 64), (1, 43, 64), (11, 41, 43)])
def test_identity_network_gives_its_input_back(shape, flips):
    volume = noise_volume(shape)
    found = classes_of(volume, flips=flips)
    assert found.dtype == np.uint8
    assert np.array_equal(found, expected_classes(volume.hu))
    assert set(np.unique(found)) == {0, 1, 2, 3}


@pytest.mark.parametrize("weighting", ["constant", "gaussian"])
def test_identity_holds_for_volumes_smaller_than_a_patch(weighting):
    volume = noise_volume((3, 40, 45))
    window = Window((16, 64, 48), weighting=weighting)
    assert np.array_equal(classes_of(volume, window=window), expected_classes(volume.hu))


def probabilities_of(array, network, window, device=CPU, flips=((),)):
    runner = PatchRunner(network_model(network), device, flips, window)
    return run_to_end(slide(array, runner, []))[0]


@pytest.fixture(scope="module")
def random_network():
    """Untrained, but neither flat nor the same everywhere."""
    torch.manual_seed(3)
    network = UNet3D((4, 8)).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.05, 0.3)
    return network


def noise_array(shape):
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("weighting", ["constant", "gaussian"])
@pytest.mark.parametrize("overlap", [0.5, 0.25])
@pytest.mark.parametrize("shape", [(13, 33, 50), (8, 40, 16), (3, 40, 9)])
def test_overlaps_are_averaged_as_monai_does(random_network, shape, overlap, weighting):
    array, window = noise_array(shape), Window((8, 16, 16), overlap, weighting)
    found = probabilities_of(array, random_network, window)
    with torch.inference_mode():
        expected = sliding_window_inference(
            torch.from_numpy(array)[None, None],
            window.patch,
            sw_batch_size=1,
            predictor=lambda patch: random_network(patch).softmax(1),
            overlap=overlap,
            mode=weighting,
            padding_mode="constant",
            cval=float(array.min()),
        )
    assert found.dtype == np.float32
    assert found.std() > 0.05
    np.testing.assert_allclose(found, expected[0].numpy(), atol=2e-6)
    np.testing.assert_allclose(found.sum(axis=0), 1, atol=1e-5)


def test_weightings_and_overlaps_do_differ(random_network):
    array = noise_array((13, 33, 50))
    results = [
        probabilities_of(array, random_network, Window((8, 16, 16), overlap, weighting))
        for overlap, weighting in ((0.5, "constant"), (0.5, "gaussian"), (0.0, "constant"))
    ]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(results[one] - results[other]).max() > 0.01


def test_a_batch_of_patches_equals_one_by_one(random_network, monkeypatch):
    array = noise_array((10, 33, 41))
    batched = probabilities_of(array, random_network, SMALL)
    monkeypatch.setitem(sliding.VOXELS_PER_STEP, "cpu", 1)
    np.testing.assert_allclose(batched, probabilities_of(array, random_network, SMALL), atol=1e-6)


def test_half_overlap_of_the_papers_patch_is_its_stride():
    starts = Window().starts((104, 254, 267))
    assert starts[0] == (0, 0, 0)
    assert starts[-1] == (24, 94, 107)
    assert {start[0] for start in starts} == {0, 24}
    assert {start[1] for start in starts} == {0, 80, 94}
    assert {start[2] for start in starts} == {0, 80, 107}
    assert [z for z, y, x in Window().starts((200, 160, 160))] == [0, 40, 80, 120]


def test_every_voxel_counts_and_the_middle_counts_most():
    weight = Window((8, 16, 32), weighting="gaussian").weights()
    assert weight.shape == (8, 16, 32)
    assert weight.min() >= 1e-3
    assert weight.argmax() in (weight.numel() // 2 - 16 * k - j for k in range(64) for j in (0, 1))
    assert weight[4, 8, 16] > 100 * weight[0, 8, 16]
    assert (Window((2, 3, 4)).weights() == 1).all()


def test_what_lies_beside_a_small_volume_is_air():
    seen = []

    class Spy(Identity):
        def forward(self, image):
            seen.append(image.numpy().copy())
            return super().forward(image)

    volume = noise_volume((2, 40, 50))
    recipe = VolumeRecipe((ClipHU(-1000.0, 200.0), ZScore(-400.0, 300.0)))
    classes_of(volume, Spy(), window=Window((8, 64, 64)), recipe=recipe)
    (image,) = seen
    inside = image[0, 0, 3:5, 12:52, 7:57]
    expected = (np.clip(volume.hu, -1000, 200) + 400) / 300
    np.testing.assert_allclose(inside, expected, atol=1e-5)
    assert float(inside.min()) == -2.0
    inside[:] = -2.0
    assert (image == -2.0).all()


def test_probabilities_go_back_to_the_grid_of_the_volume():
    """Blocks of 2 mm seen in voxels of 1 mm and in voxels of 4 mm come back where they are."""
    hu = np.full((12, 48, 64), -1000, np.int16)
    hu[4:8, 16:32, 32:48] = -500
    volume = CTVolume(hu, Geometry.from_spacing(hu.shape, (2.0, 2.0, 2.0)), "block")
    for mm, most_wrong in ((1.0, 0.0), (4.0, 0.1)):
        recipe = VolumeRecipe((Resample((mm, mm, mm)),))
        found = classes_of(volume, recipe=recipe)
        assert found.shape == hu.shape
        block, truth = found == 2, hu == -500
        assert (block & truth).sum() > 0.9 * truth.sum()
        # Edges pass through lung on the way from air, so only the block is compared.
        assert (block & ~truth).sum() <= most_wrong * truth.sum()
        for axis in range(3):
            centres = [np.nonzero(mask)[axis].mean() for mask in (block, truth)]
            assert abs(centres[0] - centres[1]) < 0.01


def test_the_recipe_decides_how_a_model_is_run(monkeypatch):
    volume = noise_volume((5, 43, 50))
    network = Identity()
    found = run_to_end(predict(volume, network_model(network, patch=[4, 16, 16]), CPU))
    assert np.array_equal(found.classes, expected_classes(volume.hu))
    assert found.warnings == ()
    assert np.array_equal(run_to_end(predict(volume, model(), CPU)).classes, found.classes)


def test_patch_overlap_and_weighting_are_the_cards():
    assert Window.of(network_model()) == Window((80, 160, 160), 0.5, "constant")
    card = {"patch": [32, 64, 96], "overlap": 0.25, "weighting": "gaussian"}
    assert Window.of(network_model(**card)) == Window((32, 64, 96), 0.25, "gaussian")


@pytest.mark.parametrize(
    "card",
    [
        {"patch": [16, 16]},
        {"patch": [16, 16, 0]},
        {"patch": [16, 16, 16.5]},
        {"patch": 16},
        {"patch": "big"},
        {"overlap": 1.0},
        {"overlap": "half"},
        {"weighting": "linear"},
    ],
)
def test_cards_whose_patches_cannot_be_used_are_refused(card):
    with pytest.raises(ModelError, match="the model fake: its card's patches: ") as caught:
        run_to_end(predict(noise_volume(), network_model(**card), CPU))
    assert "\n" not in str(caught.value)


def test_a_patch_that_the_network_cannot_take_is_a_model_error():
    with pytest.raises(ModelError, match=r"fake failed on CPU: expected .* multiples of 2, got"):
        classes_of(noise_volume(), UNet3D((2, 2)), window=Window((3, 16, 16)))


@pytest.mark.parametrize(("shape", "word"), [((30, 64, 1), "sagittal"), ((30, 1, 64), "coronal")])
def test_input_without_an_axial_plane_is_refused(shape, word):
    volume = CTVolume(np.zeros(shape, np.int16), Geometry.from_spacing(shape, (3, 1, 1)), "thin")
    with pytest.raises(InputError, match=word):
        classes_of(volume)


def test_wrong_number_of_classes_is_a_model_error():
    with pytest.raises(ModelError, match="3 outputs, expected 4"):
        classes_of(noise_volume(), UNet3D((2,), classes=3))


def test_progress_grows_to_the_number_of_patches_and_closing_stops_between_batches():
    network = Identity()
    volume = noise_volume((9, 48, 48))
    steps = predict_volume(volume, network_model(network), AS_IT_IS, CPU, window=SMALL)
    progress = list(steps)
    count = len(SMALL.starts((9, 48, 48)))
    work = [p for p in progress if p.message == "segmenting on CPU"]
    assert [p.done for p in work] == [*range(0, count, 4), count]
    assert {p.total for p in work} == {count}
    steps = predict_volume(volume, network_model(network), AS_IT_IS, CPU, window=SMALL)
    for _ in range(4):  # preparing, none, 4, 8 patches
        assert next(steps).done <= 8
    steps.close()
    with pytest.raises(StopIteration):
        next(steps)


class Hungry(Identity):
    """Runs out of memory for batches above a size, as CUDA does."""

    def __init__(self, largest):
        super().__init__()
        self.largest = largest

    def forward(self, image):
        if len(image) > self.largest:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return super().forward(image)


def test_out_of_memory_is_answered_by_smaller_batches():
    volume = noise_volume((9, 40, 43))
    used = network_model(Hungry(1), patch=[4, 16, 16])
    prediction = run_to_end(predict(volume, used, CPU))
    assert np.array_equal(prediction.classes, expected_classes(volume.hu))
    assert prediction.warnings == ("CPU ran out of memory: went on with smaller batches.",)


def test_out_of_memory_on_the_cpu_at_one_patch_is_an_error():
    with pytest.raises(ResourceError, match="memory"):
        classes_of(noise_volume(), Hungry(0))


@pytest.mark.parametrize("free", [0, 10**9], ids=["sums in memory", "sums on the card"])
def test_out_of_memory_on_a_card_in_the_midst_goes_on_with_the_cpu(
    monkeypatch, random_network, free
):
    """Nothing of what was done is lost, nothing is counted twice."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda name: (free, 10**9))
    monkeypatch.setattr(shared, "choose_device", lambda name: CPU)
    calls = []

    class RunsOut(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = random_network

        def forward(self, image):
            calls.append(len(image))
            if 3 <= len(calls) < 6:  # 4, 2 and 1 patch: after two good batches
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")
            return self.network(image)

    array = noise_array((10, 33, 41))
    runner = PatchRunner(network_model(RunsOut()), Card("cuda", "a card"), ((),), SMALL)
    warnings = []
    found, used = run_to_end(slide(array, runner, warnings))
    assert calls[:8] == [4, 4, 4, 2, 1, 4, 4, 4]
    assert warnings == [
        "a card ran out of memory: went on with smaller batches.",
        "a card ran out of memory: the rest was done on the CPU.",
    ]
    assert used.device == CPU
    np.testing.assert_allclose(found, probabilities_of(array, random_network, SMALL), atol=1e-6)


def test_large_volumes_are_added_up_in_float16(monkeypatch, random_network):
    array = noise_array((10, 33, 41))
    exact = probabilities_of(array, random_network, SMALL)
    monkeypatch.setattr(sliding, "FLOAT32_LIMIT", exact.nbytes - 1)
    found = probabilities_of(array, random_network, SMALL)
    assert found.dtype == np.float16
    np.testing.assert_allclose(found, exact, atol=2e-3)
    volume = noise_volume((9, 40, 43))
    assert np.array_equal(classes_of(volume), expected_classes(volume.hu))


def test_model_and_volume_are_left_as_they_were(random_network):
    volume = noise_volume()
    hu, state = volume.hu.copy(), {k: v.clone() for k, v in random_network.state_dict().items()}
    classes_of(volume, random_network, Device("cpu", "CPU", "bfloat16"), "all")
    assert np.array_equal(volume.hu, hu)
    assert all(torch.equal(v, state[k]) for k, v in random_network.state_dict().items())


def test_flips_are_averaged():
    """A network that says lung on the left of its patch, whatever that shows, says 1/2 for both."""

    class Left(nn.Module):
        def forward(self, image):
            ramp = torch.linspace(8, -8, image.shape[-1]).expand_as(image)
            return torch.cat([torch.zeros_like(ramp), ramp, ramp * 0 - 99, ramp * 0 - 99], dim=1)

    array, window = noise_array((4, 16, 16)), Window((4, 16, 16))
    one = probabilities_of(array, Left(), window)
    both = probabilities_of(array, Left(), window, flips=((), (-1,)))
    assert one[1, 0, 0, 0] > 0.99
    assert one[1, 0, 0, -1] < 0.01
    np.testing.assert_allclose(both[1], 0.5, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("target_mm", [(7.0, 2.0, 2.0), (1.0, 6.0, 6.0)])
def test_classes_of_some_slices_at_a_time_are_those_of_the_whole(target_mm, dtype):
    recipe = VolumeRecipe((Resample(target_mm),))
    volume = noise_volume((70, 40, 44))
    prepared = recipe.prepare(volume.hu, (2.0, 3.0, 3.0))
    random = np.random.default_rng(0).random((4, *prepared.array.shape)).astype(np.float32)
    probabilities = (random / random.sum(axis=0)).astype(dtype)
    background, lung, ggo, solid = probabilities
    best = recipe.restore(background, prepared)
    share = recipe.restore(lung, prepared)
    expected = (share > best).astype(np.uint8)
    lesion = recipe.restore(ggo.astype(np.float32) + solid, prepared) > np.maximum(best, share)
    expected[lesion] = 2
    more = recipe.restore(solid.astype(np.float32) - ggo, prepared) > 0
    expected[lesion & more] = 3
    found = run_to_end(sliding._to_classes(probabilities, recipe, prepared))
    assert np.array_equal(found, expected)
    assert set(np.unique(found)) == {0, 1, 2, 3}
    assert not np.array_equal(found[1:], expected[:-1])
