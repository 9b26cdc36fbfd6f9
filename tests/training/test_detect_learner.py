from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_covseg.domain.errors import ModelError, UsageError
from napari_covseg.domain.labels import Label
from napari_covseg.domain.progress import run_to_end
from napari_covseg.inference.detect_slice import detect_in_slice
from napari_covseg.metrics.detection import DetectionScores, Truth, mean_precision
from napari_covseg.models.device import Device
from napari_covseg.models.mask_rcnn import LesionRCNN, set_to_train
from napari_covseg.training.cases import TrainingCase
from napari_covseg.training.detect_instances import instances_of
from napari_covseg.training.detect_learner import DetectorLearning, new_detector
from napari_covseg.training.detect_loop import Plan, check_folder, run_loop
from napari_covseg.training.detect_settings import CHANGEABLE, PRESETS

CPU = Device("cpu", "CPU")
TINY = replace(
    PRESETS["scratch"],
    channels=8,
    representation=16,
    mask_channels=8,
    patch=(64, 64),
    batch=1,
    batches=2,
    epochs=2,
    validate_every=1,
)
GREYS = np.array([0, 30, 30, 120, 230, 0, 30, 0], np.uint8)


def two_lesions():
    codes = np.full((64, 64), Label.LUNG, np.uint8)
    codes[10:26, 8:24] = Label.GGO
    codes[36:56, 34:50] = Label.CONSOLIDATION
    noise = np.random.default_rng(0).normal(0, 5, codes.shape)
    return np.clip(GREYS[codes] + noise, 0, 255).astype(np.uint8), codes


def case(name="a", patient="p"):
    grey, codes = two_lesions()
    return TrainingCase(name, "set", patient, grey[None], codes[None], (5.0, 1.35, 1.35))


def test_two_lesions_are_learned_by_heart():
    """AP at 0.5 of masks and boxes above 0.9 after few steps."""
    torch.manual_seed(0)
    grey, codes = two_lesions()
    network = LesionRCNN(channels=32, representation=64, mask_channels=16)
    there = instances_of(codes)
    image = torch.from_numpy(grey.astype(np.float32))[None] / 127.5 - 1
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3)
    for _ in range(24):
        set_to_train(network)
        loss = torch.stack(list(network([image], [there.target()]).values())).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    network.eval()
    found = detect_in_slice(network, grey, CPU)
    for overlap in ("mask", "box"):
        scores = DetectionScores((1, 2), overlap)
        scores.add(found, Truth(there.boxes, there.labels, there.masks, there.ignored))
        assert mean_precision(scores.result()).ap50 > 0.9


def trained(folder, stop_after=None, resume=False, preset=TINY):
    network, _ = new_detector(preset, None)
    rows = []
    learning = DetectorLearning(
        preset, network, CPU, [case()], [case("b", "q")], lambda *told: rows.append(told[1:])
    )
    made_for = preset.to_dict()
    state = check_folder(folder, made_for, CHANGEABLE, resume)
    plan = Plan(
        *(folder, CPU, made_for, preset.epochs, preset.batches, preset.learning_rate),
        *("cosine", preset.validate_every, preset.minutes),
        tensorboard=False,
    )
    steps = run_loop(plan, learning, state)
    if stop_after is None:
        return run_to_end(steps), network, rows
    for _ in range(stop_after):
        next(steps)
    steps.close()
    return None


def test_a_stopped_training_goes_on_to_the_same_weights(tmp_path):
    whole, network, rows = trained(tmp_path / "whole")
    trained(tmp_path / "parts", stop_after=1)
    parts, again, _ = trained(tmp_path / "parts", resume=True)
    for (name, one), other in zip(
        network.state_dict().items(), again.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other), name
    assert [row["loss"] for row in parts.rows] == [row["loss"] for row in whole.rows]
    assert (parts.stopped, [row["epoch"] for row in parts.rows]) == ("epochs", [1, 2])
    assert sum(best for _, best in rows) >= 1
    logs = [(tmp_path / name / "logs" / "measures.csv").read_text() for name in ("whole", "parts")]
    assert logs[0] == logs[1]
    assert len((tmp_path / "parts" / "logs" / "steps.csv").read_text().splitlines()) == 5
    with pytest.raises(UsageError, match="holds a training already"):
        trained(tmp_path / "whole")
    with pytest.raises(UsageError, match=r"learning_rate was 0\.0003, is 0\.1"):
        trained(tmp_path / "whole", resume=True, preset=replace(TINY, learning_rate=0.1))


def test_heads_only_leaves_the_backbone_as_it_was(tmp_path):
    body = LesionRCNN(channels=8, representation=16, mask_channels=8)
    weights = tmp_path / "body.pth"
    torch.save(body.state_dict(), weights)
    preset = replace(TINY, pretrained=True, heads_only=True)
    network, note = new_detector(preset, weights)
    assert note.startswith("body.pth: the weights of resnet18 and ")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    learning = DetectorLearning(preset, network, CPU, [case()], [], lambda *_: None)
    learning.step(1e-2)
    changed = {n.split(".")[0] for n, v in network.state_dict().items() if not v.equal(before[n])}
    assert changed == {"rpn", "roi_heads"}
    for name, value in body.state_dict().items():
        assert torch.equal(before[name], value), name


def test_weights_of_another_network_are_refused_by_name(tmp_path):
    from torchvision.models import resnet18, resnet50

    file = tmp_path / "imagenet.pth"
    torch.save(resnet50(weights=None).state_dict(), file)
    preset = replace(TINY, pretrained=True)
    with pytest.raises(ModelError, match=r"imagenet\.pth: layer1\.0\.conv1\.weight is"):
        new_detector(preset, file)
    torch.save(resnet18(weights=None).state_dict(), file)
    assert new_detector(preset, file)[1] == "imagenet.pth: the weights of resnet18"
    rgba = resnet18(weights=None)
    rgba.conv1 = torch.nn.Conv2d(4, 64, 7, 2, 3, bias=False)
    torch.save(rgba.state_dict(), file)
    with pytest.raises(ModelError, match=r"conv1\.weight is \(64, 4, 7, 7\).*colour pictures"):
        new_detector(preset, file)
    torch.save({"fc.weight": torch.zeros(2)}, file)
    with pytest.raises(ModelError, match="has no conv1"):
        new_detector(preset, file)
    file.write_text("no weights")
    with pytest.raises(ModelError, match="not a readable file of weights"):
        new_detector(preset, file)


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("batch=0", "batch=0: expected 1 or more"),
        ("heads_only=true", "without pretrained weights"),
        ("patch=8,8", "expected height and width of 64"),
        ("colour=red", "FIELD one of"),
        ("epochs=many", "not a value for epochs"),
        ("backbone=vgg", "expected one of resnet18"),
        ("pretrained=true", "give --weights"),
    ],
)
def test_wrong_settings_are_told(setting, told):
    with pytest.raises(UsageError, match=told):
        new_detector(TINY.with_settings([setting]), None)
