"""How a network is trained on pictures. Light to import: the command line's parser reads it."""

from __future__ import annotations

from dataclasses import dataclass

from napari_covseg.domain.errors import UsageError

STARTS = ("covseg", "imagenet", "random")
BLOCKS = 17
"""Of the encoder, its stem among them."""


@dataclass(frozen=True, slots=True)
class FineTuneSettings:
    """How a network is trained on pictures.

    Parameters
    ----------
    start
        Weights to start from: ``covseg`` (the shipped network's encoder), ``imagenet`` (extra
        ``train``) or ``random``.
    size
        Pixels a side of the network's input.
    epochs, batch, rate, weight_decay
        AdamW on a cosine, warmed up over two epochs; heads learn three times as fast.
    frozen
        First blocks of the encoder (of 17) that stay as they are: those of the finest maps, which
        are half of the work and the least about what is seen. None of a random start.
    smoothing
        Of the labels.
    dropout
        Of the features before the heads.
    heads
        Of the ensemble.
    decay
        Of the average of the weights, which is what is kept.
    seed
        Of everything that is random.

    Raises
    ------
    UsageError
        If a value is not usable.
    """

    start: str = "covseg"
    size: int = 192
    epochs: int = 15
    batch: int = 16
    rate: float = 4e-4
    weight_decay: float = 0.05
    frozen: int = 6
    smoothing: float = 0.1
    dropout: float = 0.2
    heads: int = 10
    decay: float = 0.99
    seed: int = 0

    def __post_init__(self) -> None:
        if self.start not in STARTS:
            raise UsageError(f"unknown start '{self.start}': use {', '.join(STARTS)}")
        if min(self.size, self.epochs, self.heads) < 1 or self.batch < 2 or self.size % 32:
            raise UsageError(
                f"expected a size in multiples of 32 (got {self.size}), epochs and heads from 1 "
                f"(got {self.epochs} and {self.heads}) and a batch from 2 (got {self.batch})"
            )
        if not 0 <= self.frozen < BLOCKS or (self.start == "random" and self.frozen):
            raise UsageError(
                f"expected 0 to {BLOCKS - 1} frozen blocks, and none of a random start, "
                f"got {self.frozen}"
            )
