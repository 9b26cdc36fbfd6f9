"""What keeps a run on a cluster whole, without a cluster (that is in `tests/integration`)."""

import threading
from dataclasses import replace

import pytest
from small_requests import request_maker

from napari_covseg import __version__
from napari_covseg.domain.errors import Cancelled, ResourceError
from napari_covseg.workflows import segment_worker
from napari_covseg.workflows.segment_names import Wish
from napari_covseg.workflows.segment_run_folder import RunFolder
from napari_covseg.workflows.segment_worker import CHANCES, Facts, Reply, run_case


@pytest.fixture
def request_of(tmp_path):
    return request_maker(tmp_path)


def test_what_a_worker_is_refused_for():
    good = Facts(__version__, "key", "", True)
    assert good.refused("w", __version__, "key") is None
    assert "worker w: has napari-covseg" in str(good.refused("w", "9.9", "key"))
    assert "worker w: has another model" in str(good.refused("w", __version__, "other"))
    assert "share" in str(replace(good, sees_run=False).refused("w", __version__, "key"))
    missing = Facts(__version__, "", "x: no such model", True)
    assert missing.refused("w", __version__, "key") == "worker w: x: no such model"


def test_another_model_is_refused_before_work(request_of, tmp_path):
    run = RunFolder.make(tmp_path / "out")
    reply = run_case(replace(request_of("one"), model="0" * 64), run, None)
    assert reply.done is None
    assert reply.refused is not None
    assert "another model" in reply.refused[1]
    assert list((tmp_path / "out").glob("[!.]*")) == []


def test_a_case_that_never_ended_its_work_is_given_up(request_of, tmp_path):
    run, one = RunFolder.make(tmp_path / "out"), request_of("one")
    for _ in range(CHANCES):
        run.begin(one.key)
    reply = run_case(one, run, None)
    assert isinstance(reply.error, ResourceError)
    assert f"ended its worker {CHANCES} times" in str(reply.error)
    assert run.begin(one.key) == 0  # an end in good order wipes the notes


def test_a_run_that_has_ended_stops_its_cases_and_leaves_whole_files(
    request_of, tmp_path, monkeypatch
):
    run, one = RunFolder.make(tmp_path / "out"), request_of("one")
    real = segment_worker.segment_case

    def ended_midway(*args):
        steps = real(*args)
        for number, step in enumerate(steps):
            if number == 2:
                run.end()
            yield step

    monkeypatch.setattr(segment_worker, "segment_case", ended_midway)
    assert isinstance(run_case(one, run, None).error, Cancelled)
    assert isinstance(run_case(one, run, None).error, Cancelled)
    assert list((tmp_path / "out").glob("[!.]*")) == []


def test_what_is_unexpected_is_told_without_its_text(request_of, tmp_path, monkeypatch):
    def fail(*_):
        raise ValueError("Doe^Jane")

    monkeypatch.setattr(segment_worker, "segment_case", fail)
    reply = run_case(request_of("one"), RunFolder.make(tmp_path / "out"), None)
    assert "unexpected ValueError" in str(reply.error)
    assert "Doe" not in str(reply.error)


def test_names_go_by_order_whoever_tells_first(tmp_path):
    run = RunFolder.make(tmp_path)
    wishes = {0: Wish("ct-1"), 1: Wish("ct-1", "ct-1_3"), 2: Wish("CT-1"), 4: Wish("ct-1", "ct-1")}
    threads = [threading.Thread(target=run.wish, args=one) for one in list(wishes.items())[1:]]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert [run.name(number) for number in range(5)] == [None] * 5
    run.wish(0, wishes[0])
    run.wish(0, Wish("other"))  # too late
    assert [run.name(number) for number in range(5)] == ["ct-1", "ct-1_3", "CT-1_2", None, None]
    run.wish(3, None)
    assert [run.name(number) for number in (3, 4)] == [None, "ct-1_4"]
    other = RunFolder.make(tmp_path)
    assert other.name(0) is None


def test_a_case_that_waits_in_vain_gives_way(request_of, tmp_path, monkeypatch):
    """The case before it may be queued behind it."""
    monkeypatch.setattr(segment_worker, "PATIENCE_S", 0.1)
    run, one = RunFolder.make(tmp_path / "out"), replace(request_of("one"), number=1)
    assert run_case(one, run, None) == Reply(early=True)
    assert list((tmp_path / "out").glob("[!.]*")) == []
    run.wish(0, Wish("one"))
    reply = run_case(one, run, None)
    assert reply.done is not None
    assert reply.done.case == "one_2"
