"""Files of a case store's models: where they lie, and how they come there. Light to import."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from napari_covseg.domain.errors import ResourceError
from napari_covseg.models.zoo import DEFAULT, shipped_sha256, whole_weights

if TYPE_CHECKING:
    from napari_covseg.cases.store import CaseStore

DECIDED = "gate decided"
"""The kind of event that keeps what the gate said of a model."""
_SHORTEST = 6
"""Characters of the shipped model's hash that tell it."""


def model_source(store: CaseStore, sha256: str | None) -> str:
    """What `napari_covseg.models.zoo.load` takes for a model of the store, or the shipped one."""
    if sha256 is None or sha256 == shipped_sha256():
        return DEFAULT
    return str(store.model_folder(sha256))


def live_hash(store: CaseStore) -> str | None:
    """SHA-256 of the model that predicts now: the live one, else the shipped one."""
    live = store.live_model()
    return live.sha256 if live is not None else shipped_sha256()


def hash_of(store: CaseStore, told: str | None) -> str | None:
    """SHA-256 of the model meant by a hash or its beginning; None means the live one.

    The shipped model is known by its hash too, though no store lists it.

    Raises
    ------
    InputError
        If there is no such model.
    """
    if told is None:
        return live_hash(store)
    shipped = shipped_sha256()
    if shipped is not None and len(told) >= _SHORTEST and shipped.startswith(told.lower()):
        return shipped
    return store.model(told).sha256


def publish(card: Path, target: Path, logs: Path | None = None) -> None:
    """Copy a model, whole or not at all; one that is there already is the same.

    Parameters
    ----------
    card
        The model's card; its weights lie beside it.
    target
        The folder that holds it afterwards, named by its hash.
    logs
        A folder to keep with it.

    Raises
    ------
    ResourceError
        If the disk is full or may not be written to.
    """
    if target.is_dir():
        return
    coming = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        coming.mkdir(parents=True)
        weights = whole_weights(card, json.loads(card.read_text(encoding="utf-8")))
        for file, name in ((card, card.name), (weights, f"{card.stem}.safetensors")):
            copied = Path(shutil.copyfile(file, coming / name))
            with copied.open("rb+") as stream:
                os.fsync(stream.fileno())
        if logs is not None and logs.is_dir():
            shutil.copytree(logs, coming / "logs")
        with suppress(FileExistsError):
            coming.rename(target)
    except OSError as error:
        raise ResourceError(
            f"{target.name}: the model cannot be kept ({error.strerror}); make room, then go on "
            "with --resume"
        ) from None
    finally:
        shutil.rmtree(coming, ignore_errors=True)
