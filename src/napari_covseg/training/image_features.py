"""Features of picture files, each computed once: kept on disk by what the file holds.

A picture's name and place say nothing: the same bytes under another name have the same features,
and changed bytes have others. Pictures are read and computed in batches; only features are held.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.errors import InputError, ResourceError
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.io.images import content_hash, read_picture
from napari_covseg.preprocess.pictures import PictureRecipe

if TYPE_CHECKING:
    from napari_covseg.io.image_sets import ImageSet
    from napari_covseg.models.device import Device
    from napari_covseg.models.feature_extractors import Extractor

BATCH = 16
_READERS = 4
_VERSION = 2
"""Of how features are computed: another one than that of features on disk makes them anew."""


@dataclass(frozen=True, eq=False)
class FeatureSource:
    """What features are computed with.

    ``cache`` is a folder for them (None keeps nothing); ``pooled`` false takes the whole map.
    """

    extractor: Extractor
    recipe: PictureRecipe
    device: Device
    pooled: bool = True
    cache: Path | None = None

    @property
    def key(self) -> str:
        """Of everything but the picture that the features depend on."""
        parts = [_VERSION, self.extractor.name, self.extractor.sha256, self.recipe.to_dict()]
        text = json.dumps([*parts, self.pooled], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def hash_pictures(images: ImageSet) -> Steps[tuple[str, ...]]:
    """The content of each picture as a hash; see that no content has two labels.

    Raises
    ------
    InputError
        If two files with the same content are of different classes, or one cannot be read.
    """
    seen: dict[str, int] = {}
    hashes = []
    for index, picture in enumerate(images):
        if index % 256 == 0:
            yield Progress(index, len(images), "looking for copies among the pictures")
        found = content_hash(picture.path)
        first = seen.setdefault(found, index)
        if images.codes[first] != images.codes[index]:
            raise InputError(
                f"{images.names[first]} and {images.names[index]} are the same picture, labelled "
                f"{images.picture(first).label} and {picture.label}; keep one"
            )
        hashes.append(found)
    return tuple(hashes)


def features_of(
    paths: Sequence[Path], source: FeatureSource, hashes: Sequence[str] | None = None
) -> Steps[NDArray[np.float32]]:
    """Features float32 ``(n, d)`` of picture files, from the cache where they are in it.

    On disk whole maps are float16 and pooled features float32.

    Raises
    ------
    InputError
        If a picture cannot be read.
    ResourceError
        If memory runs out, or the cache cannot be written.
    """
    rows: NDArray[np.float32] | None = None
    for start in range(0, len(paths), BATCH):
        yield Progress(start, len(paths), f"features of picture {start + 1} of {len(paths)}")
        part = list(paths[start : start + BATCH])
        found = list(hashes[start : start + BATCH]) if hashes else [content_hash(p) for p in part]
        values = _of_batch(part, found, source)
        if rows is None:
            rows = _room(len(paths), values.shape[1])
        rows[start : start + len(part)] = values
    return np.empty((0, 0), np.float32) if rows is None else rows


def features_of_planes(
    planes: Iterator[NDArray[np.float32]], source: FeatureSource
) -> Iterator[NDArray[np.float32]]:
    """Features ``(d,)`` of grey planes in [0, 1] one after the other, computed in batches."""
    batch: list[NDArray[np.float32]] = []
    for plane in planes:
        batch.append(source.recipe.apply(plane))
        if len(batch) == BATCH:
            yield from compute(batch, source)
            batch = []
    if batch:
        yield from compute(batch, source)


def compute(planes: Sequence[NDArray[np.float32]], source: FeatureSource) -> NDArray[np.float32]:
    """Features ``(n, d)`` of prepared pictures ``(size, size)``, on the source's device."""
    import torch

    device = source.device
    batch = torch.from_numpy(np.stack(planes))[:, None].to(device.name)
    network = source.extractor.to(device.name)
    if device.kind == "cpu":
        batch = batch.contiguous(memory_format=torch.channels_last)
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    half = device.precision != "float32"
    cast = torch.autocast(device.kind, getattr(torch, device.precision)) if half else nullcontext()
    with torch.inference_mode(), cast:
        found: NDArray[np.float32] = network(batch, source.pooled).float().cpu().numpy()
    return found


def _of_batch(paths: list[Path], hashes: list[str], source: FeatureSource) -> NDArray[np.float32]:
    kept = [_from_cache(one, source) for one in hashes]
    missing = [i for i, row in enumerate(kept) if row is None]
    if missing:
        with ThreadPoolExecutor(_READERS) as pool:
            planes = list(pool.map(lambda i: _prepared(paths[i], source.recipe), missing))
        for i, row in zip(missing, compute(planes, source), strict=True):
            kept[i] = row
            _to_cache(hashes[i], row, source)
    return np.stack([row for row in kept if row is not None])


def _prepared(path: Path, recipe: PictureRecipe) -> NDArray[np.float32]:
    return recipe.apply(read_picture(path).grey)


def _cache_file(found: str, source: FeatureSource) -> Path | None:
    if source.cache is None:
        return None
    return source.cache / source.key / found[:2] / f"{found}.npy"


def _from_cache(found: str, source: FeatureSource) -> NDArray[np.float32] | None:
    file = _cache_file(found, source)
    if file is None:
        return None
    try:
        row = np.load(file, allow_pickle=False).astype(np.float32)
    except (OSError, ValueError, EOFError):
        return None
    return row if row.ndim == 1 else None


def _to_cache(found: str, row: NDArray[np.float32], source: FeatureSource) -> None:
    from napari_covseg.io.atomic import atomic_file

    file = _cache_file(found, source)
    if file is None:
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResourceError(
            f"{source.cache}: features cannot be kept there ({error.strerror}); choose another "
            "folder"
        ) from None
    with atomic_file(file) as opened:
        np.save(opened, row if source.pooled else row.astype(np.float16), allow_pickle=False)


def _room(count: int, width: int) -> NDArray[np.float32]:
    """Memory for all features, or a word on what is too much."""
    wanted = count * width * 4
    if wanted > _memory() * 0.6:
        raise ResourceError(
            f"features of {count} pictures take {wanted / 1e9:.0f} GB of memory; use pooled "
            "features or fewer pictures"
        )
    return np.empty((count, width), np.float32)


def _memory() -> float:
    """Bytes of memory of this machine; endless where the system does not say."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return float("inf")
