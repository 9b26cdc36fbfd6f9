"""Pictures with their labels: a CSV beside them, or a folder for each class.

Only names are held; pictures are read one at a time by who needs them. What is wrong with the
labels is said before any picture is read.
"""

from __future__ import annotations

import csv
import io
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.errors import InputError, UsageError
from napari_covseg.io.images import find_pictures, walk_pictures
from napari_covseg.io.sniff import readable

LABEL_FILES = ("labels.csv", "classification.csv")
_WANTED = "expected a header with file,label and, if there are any, split and group"


@dataclass(frozen=True, slots=True)
class LabelledPicture:
    """One picture of a set: its file, its class, and what it may not be parted from.

    ``split`` is what the labels call its part (train, val, ...) and empty where they do not say;
    pictures of one ``group`` (a patient) belong in the same fold.
    """

    path: Path
    label: str
    split: str
    group: str


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Labelled pictures, as names.

    ``names`` are files below ``root``; ``codes`` int32 ``(n,)`` is each one's place in ``classes``
    (sorted names); ``splits`` and ``groups`` are texts, one each.
    """

    root: Path
    names: tuple[str, ...]
    codes: NDArray[np.int32]
    classes: tuple[str, ...]
    splits: tuple[str, ...]
    groups: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[LabelledPicture]:
        return map(self.picture, range(len(self)))

    def picture(self, index: int) -> LabelledPicture:
        """The picture at that place."""
        return LabelledPicture(
            self.root / self.names[index],
            self.classes[self.codes[index]],
            self.splits[index],
            self.groups[index],
        )

    def counts(self) -> dict[str, int]:
        """Pictures of each class."""
        found = np.bincount(self.codes, minlength=len(self.classes))
        return dict(zip(self.classes, map(int, found), strict=True))

    def subset(self, places: Sequence[int] | NDArray) -> ImageSet:
        """The pictures at these places; the classes stay, whether any is left of them or not."""
        places = [int(place) for place in places]
        return replace(
            self,
            names=tuple(self.names[i] for i in places),
            codes=self.codes[places],
            splits=tuple(self.splits[i] for i in places),
            groups=tuple(self.groups[i] for i in places),
        )

    def of_split(self, split: str) -> ImageSet:
        """The pictures of that part.

        Raises
        ------
        InputError
            If there are none.
        """
        places = [i for i, own in enumerate(self.splits) if own == split]
        if not places:
            known = ", ".join(sorted(set(self.splits) - {""})) or "none"
            raise InputError(f"no picture is of split '{split}' (the labels name: {known})")
        return self.subset(places)


def read_image_set(path: str | Path, within: str = "") -> ImageSet:
    """The labelled pictures of a CSV, of a folder with such a CSV, or of class-named subfolders.

    Parameters
    ----------
    path
        A CSV with ``file,label[,split][,group]``, files relative to it; or a folder that holds one
        called ``labels.csv`` or ``classification.csv``; or a folder whose subfolders are classes.
    within
        Only rows whose file starts so (``xray_images/``), where a CSV describes several sets.

    Raises
    ------
    InputError
        If a picture has no label or two, is listed but not there, or a file cannot be read.
    """
    path = Path(path)
    with readable(path):
        if not path.exists():
            raise FileNotFoundError
    if path.is_file():
        return read_labels(path, within)
    for name in LABEL_FILES:
        if (path / name).is_file():
            return read_labels(path / name, within)
    return read_class_folders(path)


def read_labels(file: Path, within: str = "") -> ImageSet:
    """The pictures that a CSV lists; see `read_image_set`."""
    rows = _rows(file)
    seen: dict[str, str] = {}
    splits: list[str] = []
    groups: list[str] = []
    for line, row in rows:
        name, label = row["file"], row["label"]
        if not name.startswith(within):
            continue
        if not label:
            raise InputError(f"{file.name}: line {line}, {name}: has no label; give one or drop it")
        if name in seen:
            what = "twice" if seen[name] == label else f"as {seen[name]} and as {label}"
            raise InputError(f"{file.name}: line {line}, {name}: is listed {what}; keep one row")
        seen[name] = label
        splits.append(row["split"])
        groups.append(row["group"])
    if not seen:
        raise InputError(f"{file.name}: lists no picture; {_WANTED}")
    _check_there(file, tuple(seen))
    found = _image_set(file.parent, tuple(seen), list(seen.values()), splits, groups)
    return replace(found, warnings=_unlisted(file, within, seen))


def read_class_folders(folder: Path) -> ImageSet:
    """The pictures of a folder whose subfolders are named by their class; see `read_image_set`."""
    names: list[str] = []
    labels: list[str] = []
    for path in find_pictures([folder]):
        inner = path.relative_to(folder)
        if len(inner.parts) < 2:
            raise InputError(
                f"{inner}: has no label: it lies beside the folders of the classes; move it into "
                f"one, or write {LABEL_FILES[0]} with file,label"
            )
        names.append(inner.as_posix())
        labels.append(inner.parts[0])
    if not names:
        raise InputError(
            f"{folder.name}: no labelled pictures; expected {LABEL_FILES[0]} (file,label), or a "
            "folder for each class with PNG, JPEG or DICOM files"
        )
    empty = [""] * len(names)
    return _image_set(folder, tuple(names), labels, empty, empty)


def check_classes(images: ImageSet, folds: int = 1) -> None:
    """See that there is something to learn, before any work.

    Raises
    ------
    InputError
        If there is one class only, a class without pictures, or one with fewer pictures, or fewer
        groups, than ``folds``.
    UsageError
        If ``folds`` is below 1.
    """
    if folds < 1:
        raise UsageError(f"expected at least 1 fold, got {folds}")
    counts = images.counts()
    if sum(count > 0 for count in counts.values()) < 2:
        raise InputError(
            f"all pictures are of one class ({next(iter(counts))}); expected at least two classes"
        )
    groups = _groups_of_classes(images)
    for name, count in counts.items():
        if count < folds:
            raise InputError(
                f"class '{name}' has {count} pictures, fewer than {folds} folds; use fewer folds "
                "or more pictures"
            )
        if len(groups[name]) < folds:
            raise InputError(
                f"class '{name}' has pictures of {len(groups[name])} groups, fewer than {folds} "
                "folds; use fewer folds"
            )


def _groups_of_classes(images: ImageSet) -> dict[str, set[str]]:
    groups: dict[str, set[str]] = {name: set() for name in images.classes}
    for index, (code, group) in enumerate(zip(images.codes, images.groups, strict=True)):
        groups[images.classes[code]].add(group or f"\x00{index}")
    return groups


def _image_set(
    root: Path, names: tuple[str, ...], labels: list[str], splits: list[str], groups: list[str]
) -> ImageSet:
    classes = tuple(sorted(set(labels)))
    places = {name: code for code, name in enumerate(classes)}
    codes = np.fromiter((places[label] for label in labels), np.int32, len(labels))
    return ImageSet(root, names, codes, classes, tuple(splits), tuple(groups))


def _rows(file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Each row with its line's number, names of columns in lower case, without blanks around."""
    with readable(file):
        content = file.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{file.name}: is no text in UTF-8; {_WANTED}") from None
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, restval="")
    try:
        columns = {name.strip().lower(): name for name in reader.fieldnames or ()}
        if not {"file", "label"} <= set(columns):
            raise InputError(f"{file.name}: no columns file and label; {_WANTED}")
        for row in reader:
            yield (
                reader.line_num,
                {
                    name: (row[columns[name]] or "").strip() if name in columns else ""
                    for name in ("file", "label", "split", "group")
                },
            )
    except csv.Error as error:
        raise InputError(f"{file.name}: line {reader.line_num}: {error}") from None


def _check_there(file: Path, names: tuple[str, ...]) -> None:
    with readable(file):
        gone = [name for name in names if not (file.parent / name).is_file()]
    if gone:
        more = f" and {len(gone) - 1} more" if len(gone) > 1 else ""
        raise InputError(
            f"{file.name}: {gone[0]}{more}: listed but not there; files are looked for beside the "
            "CSV"
        )


def _unlisted(file: Path, within: str, listed: dict[str, str]) -> tuple[str, ...]:
    """A sentence about pictures beside the CSV that it does not list."""
    start = file.parent / within
    if not start.is_dir():
        return ()
    known = {posixpath.normpath(name) for name in listed}
    found = (path.relative_to(file.parent).as_posix() for path in walk_pictures(start))
    count = sum(name not in known for name in found)
    if not count:
        return ()
    verb = "picture has no label and is" if count == 1 else "pictures have no label and are"
    return (f"{count} {verb} left out: not listed in {file.name}.",)
