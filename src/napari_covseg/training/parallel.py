"""One process, or several that train one network together (``torchrun``, by Lightning Fabric)."""

from __future__ import annotations

import atexit
import os
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from napari_covseg.domain.errors import UsageError

_LOST = ("gloo", "nccl", "connection closed by peer", "connection reset", "timed out waiting")


class Parallel(Protocol):
    """What the engine asks of the processes that train together."""

    @property
    def rank(self) -> int:
        """Which of them this is, from 0."""
        ...

    @property
    def size(self) -> int:
        """How many they are."""
        ...

    def wrap(self, network: nn.Module) -> nn.Module:
        """The module whose backward pass averages gradients over the processes."""
        ...

    def backward(self, loss: Tensor) -> None:
        """Gradients of ``loss``."""
        ...

    def mean(self, value: float) -> float:
        """The mean of every process's value."""
        ...

    def gather(self, item: Any) -> list[Any]:
        """Every process's item, by rank."""
        ...

    def agree(self, item: Any) -> Any:
        """The first process's item."""
        ...


@dataclass(frozen=True)
class Alone:
    """One process."""

    rank: int = 0
    size: int = 1

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network itself."""
        return network

    def backward(self, loss: Tensor) -> None:
        """Gradients of ``loss``."""
        loss.backward()  # type: ignore[no-untyped-call]

    def mean(self, value: float) -> float:
        """The value."""
        return value

    def gather(self, item: Any) -> list[Any]:
        """The item alone."""
        return [item]

    def agree(self, item: Any) -> Any:
        """The item."""
        return item


class Together:
    """Processes that ``torchrun`` started, on one machine or several; gradients are averaged (DDP).

    Raises
    ------
    UsageError
        If Lightning Fabric is not installed.
    """

    def __init__(self, device_kind: str) -> None:
        try:
            from lightning_fabric import Fabric
        except ImportError as error:
            raise UsageError(
                "training in several processes needs Lightning Fabric: "
                "pip install 'napari-covseg[train]'"
            ) from error
        here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        self._fabric = Fabric(
            accelerator=device_kind,
            devices=here,
            num_nodes=max(1, int(os.environ["WORLD_SIZE"]) // here),
            strategy="ddp",
            precision="32-true",
        )
        self._fabric.launch()
        atexit.register(_leave)
        self.rank: int = self._fabric.global_rank
        self.size: int = self._fabric.world_size

    @property
    def device(self) -> str:
        """The device of this process, as torch names it."""
        return str(self._fabric.device)

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network in DDP; its weights are those of the first process."""
        wrapped: nn.Module = self._fabric.setup_module(network)
        return wrapped

    def backward(self, loss: Tensor) -> None:
        """Gradients of ``loss``, averaged over the processes."""
        self._fabric.backward(loss)

    def mean(self, value: float) -> float:
        """The mean of every process's value."""
        return float(sum(self.gather(value)) / self.size)

    def gather(self, item: Any) -> list[Any]:
        """Every process's item, by rank."""
        items: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(items, item)
        return items

    def agree(self, item: Any) -> Any:
        """The first process's item."""
        items = [item]
        torch.distributed.broadcast_object_list(items, src=0)
        return items[0]


def _leave() -> None:
    """Stop the threads of torch's process group while Python still runs.

    One that needs Python later (Gloo's do, to let go of what was sent) ends in a call of
    ``std::terminate``: a training that was done left with signal 6 now and then. Fabric sees to it
    for NCCL only.
    """
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def another_ended(error: BaseException) -> bool:
    """Whether this is how torch tells that a process it trains with is gone, or not answering."""
    kinds = tuple(
        getattr(torch.distributed, name)
        for name in ("DistBackendError", "DistNetworkError")
        if hasattr(torch.distributed, name)
    )
    text = str(error).lower()
    return isinstance(error, kinds) or any(word in text for word in _LOST)


def several_processes() -> bool:
    """Whether ``torchrun`` started this process with others."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "LOCAL_RANK" in os.environ
