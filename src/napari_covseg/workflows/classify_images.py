"""The labelled pictures of a training, which of them train and which measure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.errors import UsageError
from napari_covseg.domain.progress import Steps

if TYPE_CHECKING:
    from napari_covseg.io.image_sets import ImageSet
    from napari_covseg.training.image_evaluation import Part
    from napari_covseg.workflows.classify_train_request import ClassifyTrainRequest

TEST = ("test", "testing")


@dataclass(frozen=True, eq=False)
class Labelled:
    """Pictures in whose groups copies are joined.

    ``hashes`` are of what each file holds; ``parts`` train and measure; what is kept is trained on
    the pictures at ``kept``, int ``(n,)``; ``positive`` is the code of the class that figures are
    about, or None.
    """

    images: ImageSet
    hashes: tuple[str, ...]
    parts: tuple[Part, ...]
    kept: NDArray[np.intp]
    positive: int | None

    @property
    def paths(self) -> list[Path]:
        """Of all pictures."""
        return [picture.path for picture in self.images]

    def groups_of(self, places: NDArray[np.intp]) -> list[str]:
        """The groups of the pictures there."""
        return [self.images.groups[i] for i in places]


def read_labelled(request: ClassifyTrainRequest) -> tuple[ImageSet, int | None]:
    """The pictures that the request names, and the code of its positive class: quick, no content.

    Raises
    ------
    InputError, UsageError
        If labels are not usable; if there is no such class.
    """
    from napari_covseg.io.image_sets import check_classes, read_image_set

    images = read_image_set(request.images, request.within)
    check_classes(images, 1 if request.held_out else request.folds)
    return images, _code(images, request.positive)


def parted(
    images: ImageSet, positive: int | None, request: ClassifyTrainRequest
) -> Steps[Labelled]:
    """Look for copies, and say what trains and what measures.

    Raises
    ------
    InputError
        If copies have different labels, or too few pictures are left of a class.
    """
    from napari_covseg.io.image_sets import check_classes
    from napari_covseg.training.image_features import hash_pictures

    hashes = yield from hash_pictures(images)
    images = with_copies(images, hashes)
    # Copies are one group: there may be fewer groups than it seemed.
    check_classes(images, 1 if request.held_out else request.folds)
    parts, kept = _parts(images, request)
    return Labelled(images, hashes, tuple(parts), kept, positive)


def _code(images: ImageSet, positive: str) -> int | None:
    if not positive:
        return None
    if positive not in images.classes:
        raise UsageError(f"no class '{positive}': the classes are {', '.join(images.classes)}")
    return images.classes.index(positive)


def with_copies(images: ImageSet, hashes: tuple[str, ...]) -> ImageSet:
    """Copies of a picture are of one group, so that none measures what another trained."""
    root: dict[str, str] = {}

    def find(key: str) -> str:
        while root.setdefault(key, key) != key:
            key = root[key]
        return key

    keys = [f"group {group}" if group else "" for group in images.groups]
    for key, one in zip(keys, hashes, strict=True):
        if key:
            root[find(key)] = find(one)
    return replace(images, groups=tuple(find(one) for one in hashes))


def _parts(images: ImageSet, request: ClassifyTrainRequest) -> tuple[list[Part], NDArray[np.intp]]:
    """What trains and measures, and what the classifier that is kept is trained on."""
    from napari_covseg.io.image_sets import check_classes
    from napari_covseg.training.image_evaluation import Part, fold_parts

    if not request.held_out:
        parts = fold_parts(images.codes, images.groups, request.folds, request.seed)
        return parts, np.arange(len(images))
    images.of_split(request.held_out)
    is_held_out = np.array([split == request.held_out for split in images.splits])
    groups = np.array(images.groups)
    # A group, or a copy, on both sides of the split would measure what was learnt by heart.
    measure = is_held_out | np.isin(images.splits, TEST)
    train = np.flatnonzero(~measure & ~np.isin(groups, groups[measure]))
    check_classes(images.subset(train))
    return [Part(train, np.flatnonzero(is_held_out))], train
