"""A real Dask cluster of two processes on this machine, one of which is killed."""

import json
import multiprocessing
from collections import Counter
from dataclasses import replace
from multiprocessing import forkserver

import pytest
from deadly_case import CHANCES, slow_or_deadly
from small_requests import request_maker

from napari_covseg.domain.errors import UsageError
from napari_covseg.workflows.segment_cluster import Segmenting, check_workers, connected
from napari_covseg.workflows.segment_done import FOLDER
from napari_covseg.workflows.segment_run_folder import RunFolder
from napari_covseg.workflows.segment_worker import Reply

CASES = 4


@pytest.fixture
def request_of(tmp_path):
    return request_maker(tmp_path)


@pytest.fixture
def quick_workers():
    """Forked from a process that has imported everything: they are killed and started often."""
    dask = pytest.importorskip("dask")
    pytest.importorskip("distributed")
    if "forkserver" not in multiprocessing.get_all_start_methods():
        yield
        return
    context = multiprocessing.get_context("forkserver")
    rooms = ("workflows.segment_worker", "models.checkpoint", "inference.predictor", "io.nifti")
    context.set_forkserver_preload(
        ["distributed", "torch", *(f"napari_covseg.{room}" for room in rooms)]
    )
    forkserver.ensure_running()
    with dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}):
        yield


def workers(psutil):
    """The processes that work, whichever way they were started."""
    server = forkserver._forkserver._forkserver_pid
    parent = psutil.Process(server) if server else psutil.Process()
    return [one for one in parent.children() if "tracker" not in " ".join(one.cmdline())]


@pytest.mark.slow
def test_a_killed_worker_loses_nothing_and_a_deadly_case_is_given_up(
    request_of, tmp_path, monkeypatch, quick_workers
):
    """Also: each case is told once, and the same run again finds all of them done."""
    psutil = pytest.importorskip("psutil")
    from napari_covseg.workflows import segment_cluster

    monkeypatch.setattr(segment_cluster, "run_case", slow_or_deadly)
    requests = [request_of(name) for name in ("deadly", *(f"c{i}" for i in range(CASES)))]
    out, run = tmp_path / "out", RunFolder.make(tmp_path / "out")
    replies: list[tuple[str, Reply]] = []
    killed: list[int] = []
    with connected("local", 2) as client:
        assert check_workers(client, requests[0], run) == {}
        at_first = workers(psutil)
        assert len(at_first) == 2

        def told(name, reply):
            replies.append((name, reply))
            if not killed:
                # In the middle. One that has been there from the start: a nanny starts none again
                # that dies while it is being started.
                worker = next(one for one in at_first if one.is_running())
                worker.kill()
                killed.append(worker.pid)

        Segmenting(client, run, {}, pytest.fail)(((r.case, r) for r in requests), told)
        assert killed
        assert Counter(name for name, _ in replies) == Counter(r.case for r in requests)
        failed = {name: str(reply.error) for name, reply in replies if reply.error}
        assert list(failed) == ["deadly"]
        assert f"ended its worker {CHANCES} times" in failed["deadly"]
        for name in (f"c{i}" for i in range(CASES)):
            report = json.loads((out / f"{name}.json").read_text())
            assert report["case"] == name
            assert (out / f"{name}_labels.nii.gz").is_file()
        assert len(list((out / FOLDER).glob("*.json"))) == CASES
        assert not list((out / FOLDER).rglob("*.tmp"))

        replies.clear()
        run.end()
        run = RunFolder.make(out)
        Segmenting(client, run, {}, pytest.fail)(((r.case, r) for r in requests[1:]), told)
        assert all(reply.done and reply.done.before for _, reply in replies)
        assert len(replies) == CASES

        # A worker that says it has another version gets no work, and the line names it.
        other = [replace(requests[1], version="0.0.1", again=True)]
        refused: list[str] = []
        with pytest.raises(UsageError, match=r"this run needs 0\.0\.1"):
            Segmenting(client, run, {}, refused.append)(((r.case, r) for r in other), told)
        assert len(set(refused)) == len(refused) >= 1
        assert all(one.startswith("worker tcp://") for one in refused)
    run.end()
