"""A 3D network that says lung below -500 HU, in patches of ours and of a peer: do labels agree?

``python tests/benchmarks/threshold_patches.py monai|nnunet``, from the root of the repository; a
peer may live in another environment than the tests. Prints JSON.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.peers import ours, work

from napari_covseg.io import make_phantom


def main(peer):
    network = torch.nn.Conv3d(1, 4, 1)
    with torch.no_grad():
        # Grey level 0 is -500 HU: lung below, background above, never a lesion.
        network.weight.copy_(torch.tensor([30.0, -30.0, 0.0, 0.0]).view(4, 1, 1, 1, 1))
        network.bias.copy_(torch.tensor([0.0, 0.0, -99.0, -99.0]))
    model = replace(work.patch_model(), network=network)
    model.card["patch"] = (16, 32, 32)
    volume = make_phantom((40, 96, 96), (4.0, 2.0, 2.0)).volume
    reference = ours.segment(volume, model, "cpu")
    if peer == "monai":
        from benchmarks.peers import monai_window as other
    else:
        from benchmarks.peers import nnunet as other
    labels = other.segment(volume, model, "cpu")
    lung = float((reference == 1).mean())
    sys.stdout.write(json.dumps({**work.agreement(labels, reference), "lung": lung}))


if __name__ == "__main__":
    main(*sys.argv[1:])
