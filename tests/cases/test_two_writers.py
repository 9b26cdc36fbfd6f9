"""Several programs on one store at once, and some of them killed, on both kinds of index."""

import multiprocessing
import random
from collections import Counter

import pytest
from small_stores import new_store, predicted
from two_writers import ROUNDS, annotate

from napari_covseg.cases.records import Decision
from napari_covseg.cases.store import CaseStore
from napari_covseg.io.labels import read_labels


def _context():
    forks = "forkserver" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if forks else "spawn")
    if forks:
        context.set_forkserver_preload(["napari_covseg.cases.store"])
    return context


def _start(context, act, *arguments):
    ours, theirs = context.Pipe()
    process = context.Process(target=act, args=(*arguments, theirs), daemon=True)
    process.start()
    theirs.close()
    assert ours.recv()[0] == "ready"
    return process, ours


def _heard(ours) -> list[tuple[str, str]]:
    told = []
    try:
        while not told or told[-1][0] != "done":
            assert ours.poll(240), "a writer hangs"
            told.append(ours.recv())
    except EOFError:
        pass
    return told


def _whole(store: CaseStore) -> None:
    history = store.history("case_0001")
    assert [one.number for one in history] == list(range(1, len(history) + 1))
    assert len({one.id for one in history}) == len(history)
    problems = [p for p in store.verify() if not p.harmless]
    assert [p for p in problems if not p.file.startswith("models/")] == [], "they have no files"
    record = store.case("case_0001")
    if record.accepted is not None:
        written = read_labels(store.labels_path("case_0001")).labels
        slices = sorted(record.accepted_slices)
        assert (written[slices] == store.labels(record.accepted).labels[slices]).all()


def _promoted(store: CaseStore, told: list[list[tuple[str, str]]]) -> None:
    """Every promotion is there once, each author's in their order, and the last one is live."""
    promoted = [one.model for one in store.promotions()]
    for heard in told:
        theirs = [what for kind, what in heard if kind == "live"]
        assert len(theirs) == ROUNDS
        assert [one for one in promoted if one in theirs] == theirs
    assert len(promoted) == len(set(promoted)) == len(told) * ROUNDS
    live = store.live_model()
    assert live is not None
    assert live.sha256 == promoted[-1]
    assert {one.sha256 for one in store.models()} == set(promoted)
    numbers = [one.number for one in store.events()]
    assert numbers == sorted(set(numbers))


@pytest.mark.slow
def test_two_writers_at_once(tmp_path):
    store, context = new_store(tmp_path / "store"), _context()
    predicted(store)
    writers = [
        _start(context, annotate, store.folder, author, seed)
        for seed, author in enumerate("AB", start=1)
    ]
    for _, pipe in writers:
        pipe.send("go")
    told = [_heard(pipe) for _, pipe in writers]
    for process, _ in writers:
        process.join(60)
    assert [one[-1][0] for one in told] == ["done", "done"]
    again = CaseStore.open(store.folder)
    _whole(again)
    by_author = {
        author: [what for kind, what in heard if kind == "version"]
        for author, heard in zip("AB", told, strict=True)
    }
    history = {one.id: one for one in again.history("case_0001")}
    assert len(history) == 1 + 2 * ROUNDS
    for author, versions in by_author.items():
        assert [history[one].author for one in versions] == [author] * ROUNDS
        assert [history[one].number for one in versions] == sorted(
            history[one].number for one in versions
        )
    accepted = [what for heard in told for kind, what in heard if kind == "accepted"]
    reviews = [r.version for r in again.reviews("case_0001") if r.decision is Decision.ACCEPT]
    assert Counter(accepted) == Counter(reviews)
    assert len(accepted) == 2 * ROUNDS, "every one is accepted in the end"
    added = [what for heard in told for kind, what in heard if kind == "case"]
    assert sorted(added) == [one.name for one in again.cases()][1:]
    assert len(set(added)) == len(added) == 6
    _promoted(again, told)


@pytest.mark.slow
def test_one_of_two_is_killed(tmp_path):
    """Again and again; the other one goes on, and nothing that was said to be kept is lost."""
    store, context, rng = new_store(tmp_path / "store"), _context(), random.Random(0)
    predicted(store)
    survivor, pipe = _start(context, annotate, store.folder, "B", 7)
    pipe.send("go")
    versions, cases = set(), set()
    for seed in range(3):
        victim, heard = _start(context, annotate, store.folder, f"A{seed}", seed + 1)
        heard.send("go")
        told = [heard.recv() for _ in range(rng.randint(1, 4))]
        victim.kill()
        victim.join()
        told += _heard(heard)
        versions |= {what for kind, what in told if kind == "version"}
        cases |= {what for kind, what in told if kind == "case"}
    told = _heard(pipe)
    survivor.join(60)
    assert told[-1][0] == "done"
    versions |= {what for kind, what in told if kind == "version"}
    again = CaseStore.open(store.folder)
    _whole(again)
    assert versions <= {one.id for one in again.history("case_0001")}
    assert cases <= {one.name for one in again.cases()}
    assert len(versions) >= ROUNDS + 3
