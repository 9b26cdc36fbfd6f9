"""What a network runs on: the best device there is, and how to get a better one."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

from napari_covseg.domain.errors import UsageError

_STOPPED = ("cuda error", "cudnn_status", "cublas_status", "no cuda-capable device", "cuda driver")
CUDA_WHEELS = "https://pytorch.org/get-started/locally"


@dataclass(frozen=True, slots=True)
class Device:
    """A device that was tried and works.

    ``name`` is what torch takes (``cuda:0``), ``title`` what a person reads, ``precision`` the
    arithmetic that is safe and fast there (``float32``, ``bfloat16`` or ``float16``), ``hint``
    how to get a faster one, empty where there is nothing to gain.
    """

    name: str
    title: str
    precision: str = "float32"
    hint: str = ""

    @property
    def kind(self) -> str:
        """``cuda``, ``mps`` or ``cpu``."""
        return self.name.partition(":")[0]


def choose_device(requested: str = "auto") -> Device:
    """The device asked for, or the best one with ``auto`` (CUDA, then MPS, then the CPU).

    Raises
    ------
    UsageError
        If the name is unknown, or that device is not there or does not work.
    """
    kind, _, index = requested.partition(":")
    if kind not in ("auto", "cpu", "cuda", "mps") or (
        index and (kind != "cuda" or not _whole(index))
    ):
        raise UsageError(f"unknown device {requested!r}: use auto, cpu, cuda, cuda:N or mps")
    if kind == "cpu":
        return _cpu()
    if kind == "cuda":
        return _cuda(int(index or 0))
    if kind == "mps":
        return _mps()
    for find in (_cuda, _mps):
        try:
            return find()
        except UsageError:
            continue
    return _cpu(gpu_hint())


def gpu_hint() -> str:
    """How to get a graphics card used, for a machine where none was found."""
    if shutil.which("nvidia-smi"):
        return (
            "An NVIDIA card seems to be present but this PyTorch cannot use it: install a CUDA "
            f"build of PyTorch ({CUDA_WHEELS}) into this environment and restart."
        )
    return (
        "No graphics card was found. With an NVIDIA card, its driver and a CUDA build of PyTorch "
        f"({CUDA_WHEELS}) this is many times faster."
    )


def stopped_working(error: BaseException) -> bool:
    """Whether a graphics card, not the network, failed: it fell off the bus, its driver crashed.

    After that nothing that lies on the card can be read any more, in this process.
    """
    text = str(error).lower()
    if not isinstance(error, RuntimeError) or "out of memory" in text:
        return False
    return any(sign in text for sign in _STOPPED)


def _whole(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _cpu(hint: str = "") -> Device:
    import torch

    cores = torch.get_num_threads()
    # bfloat16 pays only where the instructions exist: elsewhere it is emulated, and slower.
    fast = any(
        getattr(torch.cpu, name, bool)()
        for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )
    title = f"CPU ({cores} core{'s' if cores != 1 else ''})"
    return Device("cpu", title, "bfloat16" if fast else "float32", hint)


def _cuda(index: int = 0) -> Device:
    import torch

    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if found == 0:
        raise UsageError(f"no CUDA device can be used; choose --device auto or cpu. {gpu_hint()}")
    if index >= found:
        raise UsageError(f"there is no cuda:{index}: the devices are cuda:0 to cuda:{found - 1}")
    try:
        (torch.ones(8, device=f"cuda:{index}") * 2).sum().item()
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise UsageError(
            f"cuda:{index} was found but does not work ({reason}); choose --device cpu, or "
            f"install a PyTorch that fits the card and its driver ({CUDA_WHEELS})"
        ) from error
    major, _ = torch.cuda.get_device_capability(index)
    precision = "bfloat16" if major >= 8 else "float16" if major == 7 else "float32"
    return Device(f"cuda:{index}", torch.cuda.get_device_name(index), precision)


def _mps() -> Device:
    import torch

    if not torch.backends.mps.is_available():
        raise UsageError("no Apple graphics (MPS) can be used; choose --device auto or cpu")
    return Device("mps", "Apple graphics (MPS)")
