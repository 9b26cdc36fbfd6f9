"""Our networks in nnU-Net v2's predictor, with plans as its own planner writes them.

Crop, normalise, resample (cubic), tiles half a tile apart with Gaussian weights and without
mirroring, logits resampled to full size, argmax: its defaults throughout.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from benchmarks.peers.work import Labels
from napari_covseg.domain.labels import NetworkClass
from napari_covseg.domain.volume import CTVolume
from napari_covseg.models.device import choose_device
from napari_covseg.preprocess.recipe import AxialRecipe
from napari_covseg.preprocess.steps import ClipHU, Resample, ZScore

if TYPE_CHECKING:
    from napari_covseg.models.checkpoint import Model

RESAMPLE = "resample_data_or_seg_to_shape"


def segment(volume: CTVolume, model: Model, device: str) -> Labels:
    """Classes by a slice-wise (2d) or a volume-wise (3d_fullres) network, as its recipe says."""
    plans = PlansManager(_plans(volume, model))
    (name,) = plans.available_configurations
    predictor = nnUNetPredictor(
        tile_step_size=0.5,
        use_gaussian=True,
        use_mirroring=False,
        device=torch.device(choose_device(device).name),
        allow_tqdm=False,
    )
    labels = {one.name.lower(): int(one) for one in NetworkClass}
    predictor.manual_initialization(
        model.network,
        plans,
        plans.get_configuration(name),
        [model.network.state_dict()],
        {"channel_names": {"0": "CT"}, "labels": labels, "file_ending": ".nii.gz"},
        "nnUNetTrainer",
        None,
    )
    spacing = {"spacing": list(volume.geometry.spacing_mm)}
    found: Labels = predictor.predict_single_npy_array(volume.hu[None], spacing)
    return found


def _plans(volume: CTVolume, model: Model) -> dict[str, Any]:
    recipe = model.recipe
    if isinstance(recipe, AxialRecipe):
        (low, high), name = recipe.window_hu, "2d"
        spacing = [recipe.pixel_mm, recipe.pixel_mm]
        patch = [
            _tile(size * mm / recipe.pixel_mm, recipe.multiple)
            for size, mm in zip(volume.hu.shape[1:], volume.geometry.spacing_mm[1:], strict=True)
        ]
        mean, deviation = (low + high) / 2, (high - low) / 2
    else:
        of_kind = {type(step): step for step in recipe.steps}
        clip, grey, resample = (of_kind[kind] for kind in (ClipHU, ZScore, Resample))
        low, high, mean, deviation = clip.low, clip.high, grey.mean, grey.std
        name, spacing, patch = "3d_fullres", list(resample.spacing_mm), list(model.card["patch"])
    levels = {"mean": mean, "std": deviation, "percentile_00_5": low, "percentile_99_5": high}
    return {
        "dataset_name": "Dataset001_covseg",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "label_manager": "LabelManager",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "foreground_intensity_properties_per_channel": {"0": levels},
        "configurations": {name: configuration(name, spacing, patch)},
    }


def configuration(name: str, spacing: list[float], patch: list[int]) -> dict[str, Any]:
    """What nnU-Net's planner writes of a CT's configuration, without a network's outline."""
    smooth = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    linear = {**smooth, "order": 1}
    return {
        "data_identifier": f"nnUNetPlans_{name}",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": patch,
        "spacing": spacing,
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": RESAMPLE,
        "resampling_fn_data_kwargs": smooth,
        "resampling_fn_seg": RESAMPLE,
        "resampling_fn_seg_kwargs": {**linear, "is_seg": True},
        "resampling_fn_probabilities": RESAMPLE,
        "resampling_fn_probabilities_kwargs": linear,
        "architecture": {"network_class_name": "", "arch_kwargs": {}, "_kw_requires_import": []},
    }


def _tile(size: float, multiple: int) -> int:
    """nnU-Net plans one tile a slice where it fits: the image's size, up to what can be halved."""
    return -(-round(size) // multiple) * multiple
