"""``kill -9`` at random moments: a short form of what ``make soak`` does a hundred times."""

import os
import random
import time

import pytest
from kill_actions import ACTIONS, model_in
from killed import check_exports, check_store, check_training, killing_context, until_killed
from small_stores import corrected, new_store, predicted

from napari_covseg.cases.store import CaseStore
from napari_covseg.io import atomic
from napari_covseg.models import checkpoint
from napari_covseg.models.zoo import load, weights_before

ROUNDS = 2


@pytest.mark.slow
@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_killed_at_a_random_moment(tmp_path, action):
    store = new_store(tmp_path / "store")
    accepted = corrected(store, predicted(store))
    store.accept(accepted.id, reader="A", whole=True)
    rng, told = random.Random(action), []
    for seed in range(ROUNDS):
        said = until_killed(
            killing_context(), ACTIONS[action], store.folder, tmp_path / "own", seed + 1, rng
        )
        assert said
        told = said if action == "train" else told + said
        check_store(store.folder, told)
        if action == "train":
            check_training(tmp_path / "own", told)
        if action == "export":
            check_exports(tmp_path / "own")
    assert accepted.id in {one.id for one in store.history("case_0001")}


@pytest.mark.parametrize("again", [False, True])
def test_a_model_cut_off_before_its_card_leaves_the_older_one_whole(tmp_path, monkeypatch, again):
    first, other, third = (load(model_in(tmp_path, seed)) for seed in range(3))
    home = tmp_path / "model-0"

    def write(model):
        made = ("unet2d", {"channels": [4, 8]}, model.recipe, {"version": "2"})
        checkpoint.write_checkpoint(home, "tiny", model.network, *made)

    original = checkpoint.replace_file

    def die_before_the_card(path, content):
        if path.suffix == ".json":
            raise KeyboardInterrupt
        original(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "replace_file", die_before_the_card)
        for model in (other, third)[: 1 + again]:
            with pytest.raises(KeyboardInterrupt):
                write(model)
    kept = weights_before(home / "tiny.safetensors")
    assert kept.is_file()
    assert load(home).sha256 == first.sha256
    write(third)
    assert load(home).sha256 == third.sha256
    assert not kept.exists()


def test_a_store_takes_the_older_model_whole(tmp_path, monkeypatch):
    from napari_covseg.workflows.models import add_model

    first = load(model_in(tmp_path, 0))
    home = tmp_path / "model-0"
    weights = home / "tiny.safetensors"
    os.link(weights, weights_before(weights))
    checkpoint.replace_file(weights, (model_in(tmp_path, 1) / "tiny.safetensors").read_bytes())
    store = new_store(tmp_path / "store")
    model = add_model(store, str(home), author="A")
    assert model.sha256 == first.sha256 == load(store.model_folder(model.sha256)).sha256
    assert store.verify() == []


def test_changed_and_missing_models_are_told(tmp_path):
    from napari_covseg.workflows.models import add_model

    store = new_store(tmp_path / "store")
    folders = []
    for seed in range(2):
        model = add_model(store, str(model_in(tmp_path, seed)), author="A")
        folders.append(store.model_folder(model.sha256))
    assert store.verify() == []
    weights = folders[0] / "tiny.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    (folders[1] / "tiny.json").unlink()
    (store.folder / "models" / "0123456789abcdef").mkdir()
    told = {problem.file: (problem.message, problem.harmless) for problem in store.verify()}
    assert told == {
        f"models/{folders[0].name}": (
            "the weights were changed; bring them back from a copy",
            False,
        ),
        f"models/{folders[1].name}": (
            "the model's files are missing; bring them back from a copy",
            False,
        ),
        "models/0123456789abcdef": (
            "left by an interrupted training, holds no model of the store; it may be deleted",
            True,
        ),
    }


def test_what_killed_programs_left_goes_after_a_day(tmp_path, monkeypatch):
    store = new_store(tmp_path / "store")
    old = time.time() - 25 * 3600
    left = [store.folder / "models" / ".abc.0011.tmp", tmp_path / ".a.json.0123abcd.tmp"]
    young = [store.folder / "models" / ".abd.0011.tmp", tmp_path / ".b.json.0123abcd.tmp"]
    strangers = [tmp_path / ".a.tmp", tmp_path / "a.json.0123abcd.tmp", tmp_path / ".git"]
    for place in (left[0], young[0]):
        place.mkdir()
        (place / "half").write_text("x")
    for place in (left[1], young[1], *strangers):
        place.write_text("x")
    for place in (*left, *strangers):
        os.utime(place, (old, old))
    monkeypatch.setattr(atomic, "_SWEPT", set())
    CaseStore.open(store.folder)
    atomic.write_json(tmp_path / "c.json", {})
    assert [place.exists() for place in (*left, *young, *strangers)] == [
        *(False, False),
        *(True, True),
        *(True, True, True),
    ]
    young[1].touch()
    os.utime(young[1], (old, old))
    atomic.write_json(tmp_path / "d.json", {})
    assert young[1].exists(), "a folder is looked through once, not at every file"
