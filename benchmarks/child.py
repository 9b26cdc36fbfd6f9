"""What is measured, each in a process of its own: ``python -m benchmarks.child TASK ...``.

The last line printed is JSON with the time of each stage, imports apart.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path


def ours(path: str, output: str, model: str, device: str) -> dict[str, object]:
    """File to written label map; stages are told apart by the workflow's own progress."""
    from napari_covseg.cli.process import tune
    from napari_covseg.workflows.segment import SegmentSettings, segment_file

    tune()
    stages: dict[str, float] = {}
    start = time.perf_counter()
    steps = segment_file(path, output, SegmentSettings(model=model, device=device))
    stage, begun = "start", start
    lung_ml = 0.0
    while True:
        try:
            step = next(steps)
        except StopIteration as stop:
            lung_ml = stop.value.result.measurements.both.lung_ml
            break
        now = time.perf_counter()
        stages[stage] = stages.get(stage, 0.0) + now - begun
        stage, begun = step.message, now
    stages[stage] = stages.get(stage, 0.0) + time.perf_counter() - begun
    total = time.perf_counter() - start
    return {"total_s": total, "stages_s": stages, "lung_ml": lung_ml, **_gpu()}


def network(path: str, model: str, device: str, warm: str) -> dict[str, object]:
    """Inference only: voxels in memory to classes in memory, after ``warm`` warm-up slices."""
    from dataclasses import replace

    from napari_covseg.domain.geometry import Geometry
    from napari_covseg.domain.progress import run_to_end
    from napari_covseg.inference.predictor import predict
    from napari_covseg.io import read_volume
    from napari_covseg.models.device import choose_device
    from napari_covseg.models.zoo import load

    volume, chosen, loaded = read_volume(path), choose_device(device), load(model)
    few = int(warm)
    shape = (few, *volume.geometry.shape[1:])
    first = replace(volume, hu=volume.hu[:few], geometry=Geometry(shape, volume.geometry.affine))
    run_to_end(predict(first, loaded, chosen))
    start = time.perf_counter()
    run_to_end(predict(volume, loaded, chosen))
    return {"total_s": time.perf_counter() - start, **_gpu()}


def lungmask_r231(path: str, slices: str) -> dict[str, object]:
    """lungmask's own inference with R231's network, random weights, without its postprocessing.

    Noise out of random weights would make its postprocessing slower than trained weights do.
    """
    import SimpleITK as sitk
    import torch
    from lungmask import LMInferer, mask
    from lungmask.resunet import UNet

    torch.manual_seed(0)
    # As `lungmask.mask.get_model` builds it; its weights cannot be downloaded everywhere.
    mask.get_model = lambda *_: UNet(
        n_classes=3, padding=True, depth=5, up_mode="upsample", batch_norm=True, residual=False
    ).eval()
    image = sitk.ReadImage(path)
    count = min(int(slices), image.GetSize()[2])
    start = (image.GetSize()[2] - count) // 2
    part = image[:, :, start : start + count]
    inferer = LMInferer(modelname="R231", volume_postprocessing=False, tqdm_disable=True)
    begun = time.perf_counter()
    inferer.apply(part)
    return {"total_s": time.perf_counter() - begun, "slices": count}


def read_ours(folder: str) -> dict[str, object]:
    """Our DICOM reader, the best of three."""
    from napari_covseg.io import read_volume

    times = []
    for _ in range(3):
        start = time.perf_counter()
        volume = read_volume(folder)
        times.append(time.perf_counter() - start)
    return {"total_s": min(times), "sum": int(volume.hu.sum(dtype="int64"))}


def read_itk(folder: str) -> dict[str, object]:
    """SimpleITK's series reader, the best of three."""
    import SimpleITK as sitk

    times = []
    for _ in range(3):
        start = time.perf_counter()
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(folder))
        image = reader.Execute()
        array = sitk.GetArrayViewFromImage(image)
        times.append(time.perf_counter() - start)
    return {"total_s": min(times), "sum": int(array.sum(dtype="int64"))}


def _gpu() -> dict[str, object]:
    import torch

    if not torch.cuda.is_available():
        return {}
    return {"gpu_gb": torch.cuda.max_memory_reserved() / 1e9}


TASKS = {task.__name__: task for task in (ours, network, lungmask_r231, read_ours, read_itk)}

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    print(json.dumps(TASKS[sys.argv[1]](*sys.argv[2:])))
