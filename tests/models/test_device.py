import pytest
import torch

from napari_covseg.domain.errors import UsageError
from napari_covseg.models import device as module
from napari_covseg.models.device import choose_device, gpu_hint


def test_cpu_can_always_be_asked_for():
    found = choose_device("cpu")
    assert (found.name, found.kind, found.hint) == ("cpu", "cpu", "")
    assert found.title.startswith("CPU (")
    assert found.precision in ("float32", "bfloat16")


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "cpu:0", "cuda:-1", "mps:1"])
def test_unknown_names_are_refused(name):
    with pytest.raises(UsageError, match="use auto, cpu, cuda, cuda:N or mps"):
        choose_device(name)


def test_without_graphics_auto_is_the_cpu_and_says_how_to_get_better(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    found = choose_device("auto")
    assert found.kind == "cpu"
    assert found.hint == gpu_hint()
    assert "pytorch.org" in found.hint
    for name in ("cuda", "mps"):
        with pytest.raises(UsageError, match="choose --device auto or cpu"):
            choose_device(name)


def test_hint_knows_a_card_that_pytorch_cannot_use(monkeypatch):
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    assert "No graphics card" in gpu_hint()
    monkeypatch.setattr(module.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    assert "CUDA build" in gpu_hint()


def test_missing_card_number_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UsageError, match="no cuda:7: the devices are cuda:0 to cuda:1"):
        choose_device("cuda:7")


def test_card_that_does_not_work_is_passed_over(monkeypatch):
    """A driver too old or a card too old: torch sees it and then fails."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)

    def fail(*args, **kwargs):
        raise RuntimeError("CUDA error: no kernel image is available\ndetails")

    monkeypatch.setattr(torch, "ones", fail)
    with pytest.raises(UsageError, match=r"does not work .CUDA error: no kernel image"):
        choose_device("cuda")
    assert choose_device("auto").kind in ("cpu", "mps")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_is_chosen_where_it_is():
    found = choose_device("auto")
    assert found.name == "cuda:0"
    assert found.title == torch.cuda.get_device_name(0)
