"""The live model looks at a store's cases: labels, scores, the queue; and what stops it."""

import numpy as np
import pytest
import torch
from small_stores import corrected, lungs, names, new_store, predicted, volume
from toy_stores import toy_store, untrained

from napari_covseg.cases.records import Kind, NewModel, NewVersion, State
from napari_covseg.cases.store import CaseStore
from napari_covseg.domain.errors import InputError, ModelError, ResourceError, UsageError
from napari_covseg.domain.progress import Progress, run_to_end
from napari_covseg.domain.volume import LabelMap
from napari_covseg.io.write import write_labels, write_volume
from napari_covseg.models.checkpoint import read_checkpoint
from napari_covseg.models.zoo import DEFAULT, shipped_sha256
from napari_covseg.quantify.volumes import measure
from napari_covseg.workflows import dataset_predict
from napari_covseg.workflows.dataset_add import AddRequest, add_cases
from napari_covseg.workflows.dataset_predict import PredictRequest, map_of_case, predict_cases
from napari_covseg.workflows.segment import SegmentResult
from napari_covseg.workflows.store_models import hash_of, live_hash, model_source, publish
from napari_covseg.workflows.uncertainty import uncertainty_map

SHIPPED = shipped_sha256()


@pytest.fixture
def network(monkeypatch):
    """In the place of a segmentation: known labels, more doubt from call to call."""

    class Fake:
        calls, doubts, errors = (), (60, 200, 120), {}

        def __call__(self, volume, settings, uncertainty):
            number = len(self.calls)
            self.calls = (*self.calls, settings)
            yield Progress(0, 1, "segmenting")
            if number in self.errors:
                raise self.errors[number]
            labels = LabelMap.like(volume, lungs())
            unsure = np.where(lungs() > 0, np.uint8(self.doubts[number % 3]), np.uint8(0))
            unsure[2] //= 2
            return SegmentResult(labels, measure(labels), (), {}, unsure if uncertainty else None)

    fake = Fake()
    monkeypatch.setattr(dataset_predict, "segment", fake)
    return fake


def _run(store, **more):
    return run_to_end(predict_cases(PredictRequest(store.folder, "RA", device="cpu", **more)))


def test_new_cases_get_labels_a_score_and_a_map_by_the_shipped_model(tmp_path, network):
    store = new_store(tmp_path / "store", cases=3)
    result = _run(store)
    assert result.model == SHIPPED
    assert [one.version for one in result.cases] == [1, 1, 1]
    assert [settings.model for settings in network.calls] == [DEFAULT] * 3
    assert {settings.flips for settings in network.calls} == {"left-right"}
    for name in ("case_0001", "case_0002", "case_0003"):
        assert store.case(name).state is State.PREDICTED
        (version,) = store.history(name)
        assert (version.kind, version.model, version.author) == (Kind.PREDICTION, SHIPPED, "RA")
        np.testing.assert_array_equal(store.labels(version.id).labels, lungs())
    scores = store.scores(SHIPPED)
    voxel_ml = store.case("case_0001").geometry.voxel_ml
    per_slice = (lungs() > 0).sum(axis=(1, 2)) * voxel_ml / 255
    assert scores["case_0002"].value == pytest.approx(
        200 * per_slice.sum() - 100 * per_slice[2], rel=1e-6
    )
    assert scores["case_0001"].value < scores["case_0003"].value < scores["case_0002"].value
    assert scores["case_0001"].slice != 2
    assert uncertainty_map(store, "case_0002", SHIPPED).max() == 200
    assert store.verify() == []


def test_the_queue_follows_the_scores(tmp_path, network, monkeypatch):
    store = new_store(tmp_path / "store", cases=3)
    assert names(store.queue("RA", model=SHIPPED)) == ["case_0001", "case_0002", "case_0003"]
    _run(store)
    monkeypatch.setattr("napari_covseg.cases.queue.DIVERSITY", 0.0)
    assert names(store.queue("RA", model=SHIPPED)) == ["case_0002", "case_0003", "case_0001"]
    other = store.queue("RA", model="b" * 64)
    assert names(other) == ["case_0001", "case_0002", "case_0003"]


def test_a_second_run_does_nothing_and_a_broken_one_goes_on(tmp_path, network):
    store = new_store(tmp_path / "store", cases=3)
    steps = predict_cases(PredictRequest(store.folder, "RA"))
    for step in steps:
        if step.message.startswith("case 2"):
            break
    steps.close()
    assert set(store.scores(SHIPPED)) == {"case_0001"}
    result = _run(store)
    assert [one.done for one in result.cases] == [False, True, True]
    calls = len(network.calls)
    assert not any(one.done for one in _run(store).cases)
    assert len(network.calls) == calls
    assert [one.versions for one in store.cases()] == [1, 1, 1]


def test_what_a_person_drew_stays_the_newest_version(tmp_path, network):
    store = new_store(tmp_path / "store", cases=2)
    drawn = corrected(store, predicted(store), kind=Kind.DRAFT)
    result = _run(store)
    assert [one.version for one in result.cases] == [None, 1]
    assert all(one.score is not None for one in result.cases)
    assert store.case("case_0001").newest == drawn.id
    assert _run(store, uncertainty=False).cases[0].done is False


def test_another_models_prediction_is_followed_by_one_of_the_live_model(tmp_path, network):
    store = new_store(tmp_path / "store")
    predicted(store)
    _run(store)
    first, second = store.history("case_0001")
    assert (first.model, second.model) == ("a" * 64, SHIPPED)
    assert second.kind is Kind.PREDICTION


def test_labels_drawn_while_the_model_was_at_it_are_not_covered(tmp_path, network):
    store = new_store(tmp_path / "store")
    steps = predict_cases(PredictRequest(store.folder, "RA"))
    for step in steps:
        if step.message == "case 1 of 1: segmenting":
            store.save_version("case_0001", lungs(size=4), NewVersion(author="B", kind=Kind.DRAFT))
    (version,) = store.history("case_0001")
    assert version.kind is Kind.DRAFT
    assert "case_0001" in store.scores(SHIPPED)


def test_labels_brought_in_later_are_taken_over_a_prediction(tmp_path, network):
    store = new_store(tmp_path / "store")
    _run(store)
    scan = write_volume(volume(0), tmp_path / "scan.nii.gz")
    drawn = write_labels(LabelMap.like(volume(0), lungs(size=4)), tmp_path / "drawn.nii.gz")
    for notes in (0, 1):
        (added,) = run_to_end(add_cases(store, AddRequest((scan,), "RA", labels=drawn)))
        assert added.already_there
        assert len([one for one in added.warnings if "has labels already" in one]) == notes
    assert [one.kind for one in store.history("case_0001")] == [Kind.PREDICTION, Kind.IMPORT]


def test_accepted_cases_are_left_alone_unless_named(tmp_path, network):
    store = new_store(tmp_path / "store")
    store.accept(corrected(store, predicted(store)).id, reader="B")
    assert _run(store).cases == ()
    (named,) = _run(store, cases=("case_0001",)).cases
    assert named.version is None
    assert named.score is not None
    assert store.case("case_0001").state is State.ACCEPTED


def test_without_uncertainty_there_are_labels_only(tmp_path, network):
    store = new_store(tmp_path / "store")
    (one,) = _run(store, uncertainty=False).cases
    assert (one.version, one.score) == (1, None)
    assert store.scores(SHIPPED) == {}
    (later,) = _run(store).cases
    assert later.version is None
    assert later.score is not None


def test_one_case_that_fails_stops_no_other(tmp_path, network):
    store = new_store(tmp_path / "store", cases=3)
    network.errors = {1: ResourceError("not enough memory")}
    result = _run(store)
    assert [one.version for one in result.cases] == [1, None, 1]
    assert str(result.cases[1].error) == "not enough memory"
    store.image_path("case_0002").unlink()
    network.errors = {}
    (gone,) = [one for one in _run(store).cases if one.error is not None]
    assert gone.case == "case_0002"


@pytest.mark.parametrize("error", [ModelError("no such model"), UsageError("no CUDA here")])
def test_what_would_fail_for_every_case_fails_at_once(tmp_path, network, error):
    network.errors = {0: error}
    with pytest.raises(type(error)):
        _run(new_store(tmp_path / "store", cases=2))
    assert len(network.calls) == 1


def test_cases_and_models_that_are_not_there(tmp_path, network):
    store = new_store(tmp_path / "store")
    with pytest.raises(InputError, match="case_0009"):
        _run(store, cases=("case_0009",))
    with pytest.raises(InputError, match="no model"):
        _run(store, model="c" * 64)
    assert network.calls == ()


def test_the_shipped_model_goes_by_its_hash(tmp_path):
    store = new_store(tmp_path / "store")
    assert len(SHIPPED) == 64
    assert live_hash(store) == hash_of(store, None) == hash_of(store, SHIPPED[:8]) == SHIPPED
    assert model_source(store, SHIPPED) == model_source(store, None) == DEFAULT


def test_a_promoted_model_really_predicts(tmp_path):
    torch.manual_seed(0)
    store = toy_store(tmp_path / "store", 1)
    card = untrained(tmp_path / "base") / "base.json"
    model = read_checkpoint(card)
    publish(card, store.model_folder(model.sha256))
    store.record_model(NewModel(model.sha256, "base", code_version="0"), author="RA")
    store.promote(model.sha256, by="RA", why="a test")
    fresh = store.image("case_0001")
    twin = type(fresh)(fresh.hu[::-1].copy(), fresh.geometry, "twin")
    name = store.add_case(twin, author="RA").name
    result = _run(CaseStore.open(store.folder))
    assert result.model == live_hash(store) == model.sha256 != SHIPPED
    (one,) = result.cases
    assert (one.case, one.version) == (name, 1)
    assert store.history(name)[0].model == model.sha256
    # A network that has learned nothing is most unsure.
    assert uncertainty_map(store, name, model.sha256).max() > 200
    assert one.score.value > 0


def test_a_map_is_read_where_it_is_and_computed_and_kept_where_it_is_not(tmp_path, network):
    store = new_store(tmp_path / "store")
    first = run_to_end(map_of_case(store.folder, "case_0001", volume(0), "cpu"))
    again = run_to_end(map_of_case(store.folder, "case_0001", volume(0), "cpu"))
    np.testing.assert_array_equal(first, again)
    assert len(network.calls) == 1
    assert store.scores(SHIPPED)["case_0001"].value > 0
    assert store.case("case_0001").versions == 0
    result = _run(store)  # the labels are still to be predicted
    assert (result.cases[0].version, result.cases[0].score) == (1, None)
