"""Whole files of every kind that is read: what the fuzzer damages."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from label_phantom import label_map, series
from PIL import Image

DRAFT_SHAPE = (6, 10, 12)
_MOST_BYTES = 700_000


@dataclass(frozen=True)
class Seed:
    """A whole file: what reads it (a name in `fuzz_targets.TARGETS`), its name and its bytes."""

    target: str
    name: str
    content: bytes


def seeds(data: Path | None = None) -> list[Seed]:
    """Small files made here and, with the development data's folder, DICOM of many scanners."""
    with TemporaryDirectory() as folder:
        found = list(_made(Path(folder)))
    return [*found, *(_real(data) if data else ())]


def _made(folder: Path) -> Iterator[Seed]:
    ct, volume, labels = _written(folder)
    slices = sorted(ct.iterdir())
    yield Seed("volume", "slice.dcm", slices[0].read_bytes())
    yield Seed("folder", "slice.dcm", slices[3].read_bytes())
    yield Seed("volume", "scan.zip", _zipped(slices))
    yield from (Seed("volume", path.name, path.read_bytes()) for path in volume)
    yield from (Seed("labels", path.name, path.read_bytes()) for path in labels)
    yield Seed("lobes", "lobes.seg.nrrd", labels[2].read_bytes())
    yield from _pictures()
    yield from _tables()
    yield from _models(folder)
    yield from _saved(folder)


def _written(folder: Path) -> tuple[Path, list[Path], list[Path]]:
    from napari_covseg.io import write_labels, write_volume
    from napari_covseg.io.dicom import read_dicom
    from napari_covseg.io.dicom_maker import Maker
    from napari_covseg.io.dicom_rtstruct_write import write_rtstruct
    from napari_covseg.io.dicom_seg_write import write_dicom_seg
    from napari_covseg.io.dicom_source import open_source

    ct, centre = series(folder / "ct")
    volume = read_dicom(ct)
    labels = label_map(volume.geometry, centre, volume.case)
    names = ("v.nii", "v.nii.gz", "v.nrrd", "v.mha")
    volumes = [write_volume(volume, folder / name) for name in names]
    names = ("l.nii", "l.nii.gz", "l.seg.nrrd", "l.nrrd", "l.mha")
    written = [write_labels(labels, folder / name) for name in names]
    source, maker = open_source(ct, labels.geometry), Maker("automatic", "m", "2", "ab" * 32)
    write_dicom_seg(labels, source, folder / "seg.dcm", maker)
    write_rtstruct(labels, source, folder / "rt.dcm", maker)
    return ct, volumes, [*written, folder / "seg.dcm", folder / "rt.dcm"]


def _zipped(files: list[Path]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            archive.write(file, f"study/{file.name}")
    return stream.getvalue()


def _pictures() -> Iterator[Seed]:
    grey = np.add.outer(np.arange(40), np.arange(50)).astype(np.uint8)
    for name, array in (
        ("p.png", grey),
        ("p16.png", grey.astype(np.uint16) * 300),
        ("rgb.png", np.stack([grey, grey.T[:40, :40].repeat(2, 1)[:, :50], grey], -1)),
        ("p.jpg", grey),
    ):
        stream = io.BytesIO()
        Image.fromarray(array).save(stream, "JPEG" if name.endswith("jpg") else "PNG")
        yield Seed("picture", name, stream.getvalue())


def _tables() -> Iterator[Seed]:
    labels = {"background": 0, "lung": 1, "infection": [2, 3], "ignore": 4}
    about = {
        "channel_names": {"0": "CT"},
        "labels": labels,
        "numTraining": 2,
        "file_ending": ".nii.gz",
        "dataset": {"a": {"images": ["imagesTr/a_0000.nii.gz"], "label": "labelsTr/a.nii.gz"}},
    }
    yield Seed("dataset", "cases.csv", b"case,patient\na,1\nb,2\n")
    yield Seed("dataset", "dataset.json", json.dumps(about).encode())
    yield Seed("pictures", "labels.csv", b"file,label,split,group\na.png,x,train,1\nb.png,y,,2\n")
    cases = {"a": {"fold": 0, "patient": "0" * 64}, "b": {"fold": 1, "patient": "1" * 64}}
    splits = {"format": 1, "folds": 2, "seed": 0, "cases": cases}
    yield Seed("splits", "splits.json", json.dumps(splits).encode())
    yield Seed("arguments", "label-map.txt", b"lung=1,ggo=2+3,consolidation=4")


def _models(folder: Path) -> Iterator[Seed]:
    from napari_covseg.models.checkpoint import write_checkpoint
    from napari_covseg.models.networks import build
    from napari_covseg.preprocess.recipe import AxialRecipe

    arguments = {"channels": [4, 8, 8]}
    network = build("unet2d", **arguments)
    about = {"version": "1"}
    card = write_checkpoint(folder, "tiny", network, "unet2d", arguments, AxialRecipe(), about)
    yield Seed("model", "tiny.json", card.read_bytes())
    yield Seed("model", "tiny.safetensors", card.with_suffix(".safetensors").read_bytes())


def _saved(folder: Path) -> Iterator[Seed]:
    from small_stores import new_store, predicted

    from napari_covseg.editing.draft import Draft, write_draft
    from napari_covseg.training.state import write_state

    write_state(folder / "state.pt", {"epoch": 3, "name": "x"})
    yield Seed("state", "state.pt", (folder / "state.pt").read_bytes())
    drawn = Draft(np.zeros(DRAFT_SHAPE, np.uint8), None, np.zeros(DRAFT_SHAPE[0], bool), 3.5)
    yield Seed("draft", "draft.npz", write_draft(folder / "draft.npz", drawn).read_bytes())
    store = new_store(folder / "store")
    predicted(store)
    yield Seed("store", "covseg.sqlite", (store.folder / "covseg.sqlite").read_bytes())
    note = {"case": "case_0001", "author": "A", "created": "2026-01-01T00:00:00+00:00"}
    yield Seed("store", "versions/pending-ab.json", json.dumps(note).encode())


def _real(data: Path) -> Iterator[Seed]:
    for file in sorted((data / "dicom_edge").rglob("*")):
        if file.is_file() and 200 < file.stat().st_size < _MOST_BYTES:
            content = file.read_bytes()
            yield Seed("volume", "real.dcm", content)
            if "seg" in file.parts[-2]:
                yield Seed("labels", "seg.dcm", content)
            if "cr_chest" in file.parts[-2]:
                yield Seed("picture", "real.dcm", content)
