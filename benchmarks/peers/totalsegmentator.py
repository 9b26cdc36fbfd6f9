"""TotalSegmentator's `--fast`, from a file to a written label map; nothing is sent or fetched.

``python -m benchmarks.peers.totalsegmentator SCAN DEVICE``. With its own weights where they are
installed; else with random ones in a network of the same outline, for they cannot be had offline.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.peers.work import processor_s

DATASET = "Dataset297_TotalSegmentator_total_3mm_1559subj"
TRAINER = "nnUNetTrainer_4000epochs_NoMirroring"
FEATURES = (32, 64, 128, 256, 320)
PATCH = [112, 112, 128]
"""Outline of the 3 mm network, as others print it who load its weights."""


def main(scan: str, device: str) -> None:
    """Measure one run; the last line printed is JSON."""
    own = _weights() / DATASET
    with TemporaryDirectory() as folder:
        home = Path(folder)
        _settle(home)
        if own.is_dir():
            # A link alone: it tidies the folder of weights that it is given.
            (home / "weights" / DATASET).symlink_to(own, target_is_directory=True)
        else:
            _random_weights(home / "weights" / DATASET)
        # The first too: else it is imported within the call that is measured.
        from totalsegmentator import nnunet  # noqa: F401
        from totalsegmentator.python_api import totalsegmentator

        where = "cpu" if device == "cpu" else "gpu"
        before, start = processor_s(), time.perf_counter()
        found = totalsegmentator(
            scan, home / "labels.nii.gz", ml=True, fast=True, device=where, quiet=True
        )
        took = {"total_s": time.perf_counter() - start, "cpu_s": processor_s() - before}
    print(json.dumps({**took, "own_weights": own.is_dir(), "shape": found.shape}))


def _weights() -> Path:
    """Where its weights are, if anywhere: as its `config.py` has it."""
    if "TOTALSEG_WEIGHTS_PATH" in os.environ:
        return Path(os.environ["TOTALSEG_WEIGHTS_PATH"])
    home = os.environ.get("TOTALSEG_HOME_DIR", Path.home() / ".totalsegmentator")
    return Path(home) / "nnunet" / "results"


def _settle(home: Path) -> None:
    """A home of its own, in which no use is reported."""
    settings = {
        "totalseg_id": "benchmark",
        "send_usage_stats": False,
        "prediction_counter": 0,
        "statistics_disclaimer_shown": True,
    }
    (home / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    (home / "weights").mkdir()
    os.environ["TOTALSEG_HOME_DIR"] = str(home)
    os.environ["TOTALSEG_WEIGHTS_PATH"] = str(home / "weights")


def _random_weights(folder: Path) -> None:
    """A trained model's folder as nnU-Net leaves it."""
    import torch
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
    from totalsegmentator.map_to_binary import class_map

    from benchmarks.peers.nnunet import configuration

    names = class_map["total"]
    labels = {"background": 0, **{name: index for index, name in names.items()}}
    used = configuration("3d_fullres", [3.0, 3.0, 3.0], PATCH)
    used["architecture"] = outline = _outline()
    levels = {"mean": -50.0, "std": 400.0, "percentile_00_5": -1000.0, "percentile_99_5": 900.0}
    plans = {
        "dataset_name": DATASET,
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "label_manager": "LabelManager",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "foreground_intensity_properties_per_channel": {"0": levels},
        "configurations": {"3d_fullres": used},
    }
    dataset = {"channel_names": {"0": "CT"}, "labels": labels, "file_ending": ".nii.gz"}
    torch.manual_seed(0)
    network = get_network_from_plans(
        outline["network_class_name"],
        outline["arch_kwargs"],
        outline["_kw_requires_import"],
        1,
        len(labels),
        deep_supervision=False,
    )
    model = folder / f"{TRAINER}__nnUNetPlans__3d_fullres"
    (model / "fold_0").mkdir(parents=True)
    for name, content in (("plans", plans), ("dataset", dataset)):
        (model / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    checkpoint = {
        "network_weights": network.state_dict(),
        "trainer_name": TRAINER,
        "init_args": {"configuration": "3d_fullres"},
        "inference_allowed_mirroring_axes": None,
    }
    torch.save(checkpoint, model / "fold_0" / "checkpoint_final.pth")


def _outline() -> dict[str, object]:
    stages = len(FEATURES)
    arguments = {
        "n_stages": stages,
        "features_per_stage": list(FEATURES),
        "conv_op": "torch.nn.modules.conv.Conv3d",
        "kernel_sizes": [[3, 3, 3]] * stages,
        "strides": [[1, 1, 1]] + [[2, 2, 2]] * (stages - 1),
        "n_conv_per_stage": [2] * stages,
        "n_conv_per_stage_decoder": [2] * (stages - 1),
        "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    return {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": arguments,
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
