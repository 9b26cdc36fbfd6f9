"""One measurement in a process of its own: ``python -m benchmarks.peers.child PEER ...``.

The last line printed is JSON: seconds by the clock and of all processors, imports apart.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.peers.work import Segment, agreement, measure, middle, patch_model

if TYPE_CHECKING:
    from napari_covseg.models.checkpoint import Model

SLICES, PATCHES = "slices", "patches"


def main(peer: str, kind: str, scan: str, count: str, device: str, kept: str, model: str) -> None:
    """Measure; ours keeps its labels in ``kept``, a peer's are compared with those."""
    from napari_covseg.io import read_volume
    from napari_covseg.models.zoo import load

    used = load(model) if kind == SLICES else patch_model()
    volume = middle(read_volume(Path(scan)), int(count))
    labels, said = measure(_segment(peer, used, device), volume, warm_up=kind == SLICES)
    if peer == "ours":
        np.save(kept, labels)
    else:
        said |= agreement(labels, np.load(kept))
    print(json.dumps(said))


def _segment(peer: str, model: Model, device: str) -> Segment:
    if peer == "nnunet":
        from benchmarks.peers import nnunet

        return partial(nnunet.segment, model=model, device=device)
    if peer == "ours":
        from benchmarks.peers import ours

        return partial(ours.segment, model=model, device=device)
    from benchmarks.peers import monai_window

    autocast = peer == "monai_autocast"
    return partial(monai_window.segment, model=model, device=device, autocast=autocast)


if __name__ == "__main__":
    main(*sys.argv[1:])
