"""What a damaged file is given to: every reader of the package, each with the company it needs."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
from fuzz_seeds import DRAFT_SHAPE

Target = Callable[[Path, Path], None]


@cache
def _scene() -> tuple[Path, Path]:
    """Folder of a whole CT series, and of a whole case store."""
    from label_phantom import series
    from small_stores import new_store, predicted

    folder = Path(mkdtemp(prefix="covseg-fuzz-scene-"))
    ct, _ = series(folder / "ct")
    store = new_store(folder / "store")
    predicted(store)
    return ct, store.folder


def _volume(file: Path, _: Path) -> None:
    from napari_covseg.io import find_inputs
    from napari_covseg.io.labels import is_label_file
    from napari_covseg.io.read import read_volume

    is_label_file(file)
    for path in find_inputs([file]):
        volume = read_volume(path)
        assert volume.hu.shape == volume.geometry.shape
        assert np.isfinite(volume.hu).all()


def _folder(file: Path, place: Path) -> None:
    from napari_covseg.io import find_inputs
    from napari_covseg.io.dicom import list_series

    ct, _ = _scene()
    for slice_ in sorted(ct.iterdir())[:6]:
        shutil.copy(slice_, place / f"good-{slice_.name}")
    for path in find_inputs([place]):
        list_series(path)
        _volume(path, place)


def _labels(file: Path, _: Path) -> None:
    from napari_covseg.io.dicom import read_dicom
    from napari_covseg.io.labels import ScanGrid, is_label_file, read_labels

    is_label_file(file)
    ct, _ = _scene()
    labels = read_labels(file, onto=ScanGrid(read_dicom(ct).geometry, ct))
    assert labels.labels.shape == labels.geometry.shape
    assert labels.labels.max() <= 7


def _lobes(file: Path, _: Path) -> None:
    from napari_covseg.domain.lobes import Lobe
    from napari_covseg.io.lobes import read_lobes

    read_lobes(file, {3: next(iter(Lobe))})


def _picture(file: Path, _: Path) -> None:
    from napari_covseg.io.images import is_picture, read_picture

    is_picture(file)
    grey = read_picture(file).grey
    assert np.isfinite(grey).all()
    assert 0 <= grey.min() <= grey.max() <= 1


def _dataset(file: Path, place: Path) -> None:
    from napari_covseg.io.nnunet import read_datasets

    for name in ("imagesTr/a_0000.nii.gz", "imagesTr/b_0000.nii.gz"):
        for path in (place / name, place / name.replace("images", "labels").replace("_0000", "")):
            path.parent.mkdir(exist_ok=True)
            path.touch()
    if file.name != "dataset.json":
        about = {"labels": {"background": 0, "lung": 1}, "channel_names": {"0": "CT"}}
        (place / "dataset.json").write_text(json.dumps(about))
    read_datasets(place)


def _pictures(file: Path, place: Path) -> None:
    from napari_covseg.io.image_sets import read_image_set

    for name in ("a.png", "b.png"):
        (place / name).touch()
    read_image_set(file)


def _splits(file: Path, _: Path) -> None:
    from napari_covseg.training.splits import read_or_draw

    read_or_draw(file, {"a": "1", "b": "2", "c": "3"}, 2, 0)


def _arguments(file: Path, _: Path) -> None:
    from napari_covseg.io.label_schemes import parse_label_map
    from napari_covseg.io.lobes import parse_lobe_map

    text = file.read_bytes().decode(errors="surrogateescape")
    parse_label_map(text)
    parse_lobe_map(text)


def _model(file: Path, place: Path) -> None:
    from napari_covseg.models.zoo import load

    for path in _model_scene().iterdir():
        if path.name != file.name:
            shutil.copy(path, place)
    if file.suffix == ".safetensors":
        # As a hostile file would: its card says its hash.
        card = json.loads(file.with_suffix(".json").read_text())
        card["sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
        file.with_suffix(".json").write_text(json.dumps(card))
    load(place)
    load(file)


@cache
def _model_scene() -> Path:
    from fuzz_seeds import _models

    folder = Path(mkdtemp(prefix="covseg-fuzz-model-"))
    list(_models(folder))
    return folder


def _state(file: Path, _: Path) -> None:
    from napari_covseg.training.state import read_state

    head, _, body = file.read_bytes().partition(b"\n")
    read_state(file)
    digest = hashlib.sha256(body).hexdigest().encode()
    file.write_bytes(head.partition(b" ")[0] + b" " + digest + b"\n" + body)
    read_state(file)


def _draft(file: Path, _: Path) -> None:
    from napari_covseg.editing.draft import read_draft

    read_draft(file, DRAFT_SHAPE)


def _store(file: Path, place: Path) -> None:
    from napari_covseg.cases.store import CaseStore

    _, whole = _scene()
    inner = file.relative_to(place)
    shutil.copytree(whole, place / "store")
    shutil.copy(file, place / "store" / inner)
    store = CaseStore.open(place / "store")
    store.verify()
    for case in store.cases():
        store.history(case.name)
        store.image(case.name)
        if case.newest:
            store.labels(case.newest)
    store.events()
    store.models()


TARGETS: Mapping[str, Target] = {
    "volume": _volume,
    "folder": _folder,
    "labels": _labels,
    "lobes": _lobes,
    "picture": _picture,
    "dataset": _dataset,
    "pictures": _pictures,
    "splits": _splits,
    "arguments": _arguments,
    "model": _model,
    "state": _state,
    "draft": _draft,
    "store": _store,
}
