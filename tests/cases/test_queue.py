from datetime import UTC, datetime, timedelta
from threading import Barrier, Thread

import numpy as np
import pytest
from small_stores import MODEL, corrected, names, new_store, predicted

from napari_covseg.cases import rows
from napari_covseg.cases.order import TO_REVIEW
from napari_covseg.cases.queue import HOLD_BACK, Candidate, Order, ordered
from napari_covseg.cases.records import CaseTaken, Score
from napari_covseg.cases.store import CaseStore
from napari_covseg.domain.errors import InputError

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def _case(number: int, score: float | None = None, **more: object) -> Candidate:
    settings = {"patient": f"p{number}", **more}
    return Candidate(f"c{number}", number=number, score=score, **settings)


def _line(candidates, order=Order.SCORE, **more):
    return [int(one.name[1:]) for one in ordered(candidates, order, NOW, **more)]


def test_first_come():
    assert _line([_case(3, 9.0), _case(1, 1.0), _case(2)], Order.FIRST_COME) == [1, 2, 3]


def test_highest_score_first_then_those_without():
    assert _line([_case(1), _case(2, 0.1), _case(3, 0.9), _case(4), _case(5, 0.5)]) == [
        3,
        5,
        2,
        1,
        4,
    ]


def test_random_is_a_shuffle_that_stays():
    cases = [_case(n) for n in range(20)]
    line = _line(cases, Order.RANDOM, seed=1)
    assert sorted(line) == list(range(20)) != line
    assert line == _line(cases[::-1], Order.RANDOM, seed=1)
    assert line != _line(cases, Order.RANDOM, seed=2)
    assert [n for n in _line([*cases, _case(20)], Order.RANDOM, seed=1) if n < 20] == line


def test_alike_cases_do_not_follow_one_another():
    alike = [_case(n, 1.0 - n / 100, features=(0.0, n / 1000)) for n in range(4)]
    other = [_case(n, 0.92, features=(5.0, 1.0)) for n in (4,)]
    far = [_case(5, 0.0, features=(0.0, 5.0))]
    assert _line([*alike, *other, *far])[:2] == [0, 4]
    plain = sorted([*alike, *other, *far], key=lambda one: -one.score)
    assert [one.number for one in plain][:2] == [0, 1], "by score alone they would"


def test_scans_of_one_patient_are_alike():
    cases = [_case(1, 1.0, patient="a"), _case(2, 0.99, patient="a"), _case(3, 0.9), _case(4, 0.0)]
    assert _line(cases) == [1, 3, 2, 4]


def test_cases_served_before_count_for_diversity():
    served = _case(9, 0.0, patient="a", served=NOW - 2 * HOLD_BACK)
    cases = [_case(1, 1.0, patient="a"), _case(2, 0.9), _case(3, 0.0)]
    assert _line(cases) == [1, 2, 3]
    assert _line(cases, recent=[served]) == [2, 1, 3]


def test_cases_served_lately_come_last():
    minutes = timedelta(minutes=1)
    cases = [
        _case(1, 0.9, served=NOW - 2 * minutes),
        _case(2, 0.8, served=NOW - 20 * minutes),
        _case(3, 0.1, served=NOW - HOLD_BACK - minutes),
        _case(4, 0.0),
    ]
    assert _line(cases) == [3, 4, 2, 1]


@pytest.fixture
def store(tmp_path):
    return new_store(tmp_path / "store", cases=3)


def test_scores_by_model(store):
    store.record_scores([Score("case_0002", MODEL, 0.5, 3, (1.0, 2.0), {"lesion": 0.4})])
    store.record_scores([Score("case_0002", "b" * 64, 0.7)])
    store.record_scores([Score("case_0002", MODEL, 0.6)])
    assert store.scores(MODEL) == {"case_0002": Score("case_0002", MODEL, 0.6)}
    store.forget_scores(MODEL)
    assert store.scores(MODEL) == {}
    assert store.scores("b" * 64)["case_0002"].value == 0.7
    with pytest.raises(InputError, match="no such case"):
        store.record_scores([Score("case_0009", MODEL, 0.5)])
    with pytest.raises(InputError, match="case_0001: its score is not a number"):
        store.record_scores([Score("case_0002", MODEL, 1.0), Score("case_0001", MODEL, np.nan)])
    assert store.scores(MODEL) == {}, "all or none"


def test_next_follows_the_scores_of_the_model_asked_for(store):
    store.record_scores(Score(f"case_000{n}", MODEL, n / 10) for n in (1, 2, 3))
    store.record_scores(Score(f"case_000{n}", "b" * 64, -n / 10) for n in (1, 2, 3))
    assert names(store.queue("A", model=MODEL)) == ["case_0003", "case_0002", "case_0001"]
    assert names(store.queue("A", model="b" * 64)) == ["case_0001", "case_0002", "case_0003"]
    assert names(store.queue("A")) == ["case_0001", "case_0002", "case_0003"]
    assert [store.next_case("A", model=MODEL).name for _ in range(4)] == [
        *("case_0003", "case_0002", "case_0001"),
        "case_0003",
    ], "what was served lately comes when nothing else is left"


def test_two_annotators_get_different_cases(store):
    first, second = store.next_case("A"), store.next_case("B")
    assert (first.name, first.claimed_by) == ("case_0001", "A")
    assert (second.name, second.claimed_by) == ("case_0002", "B")
    assert names(store.queue("B")) == ["case_0003", "case_0002"]
    with pytest.raises(CaseTaken, match="case_0001: A has it in work"):
        store.claim("case_0001", "B")
    store.release("case_0001", "B")
    with pytest.raises(CaseTaken):
        store.claim("case_0001", "B")
    store.claim("case_0001", "A")
    store.release("case_0001", "A")
    store.claim("case_0001", "B")
    assert store.case("case_0001").claimed_by == "B"


def test_annotators_at_the_same_moment_get_different_cases(tmp_path):
    folder = new_store(tmp_path / "store", cases=4).folder
    barrier, got = Barrier(4), []

    def take(author: str) -> None:
        mine = CaseStore.open(folder)
        barrier.wait()
        got.append(mine.next_case(author).name)

    threads = [Thread(target=take, args=(name,)) for name in "ABCD"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == [f"case_000{n}" for n in (1, 2, 3, 4)]


def test_nobody_waits_for_an_annotator_who_went_home(store, monkeypatch):
    store.claim("case_0001", "A", minutes=10)
    later = rows.now() + timedelta(minutes=11)
    monkeypatch.setattr("napari_covseg.cases.rows.now", lambda *_: later)
    monkeypatch.setattr("napari_covseg.cases.claims.now", lambda *_: later)
    assert store.case("case_0001").claimed_by == ""
    store.claim("case_0001", "B")
    assert store.case("case_0001").claimed_by == "B"


def test_saving_is_never_kept_from_anyone(store):
    version = predicted(store)
    store.claim("case_0001", "B")
    assert corrected(store, version, author="A").author == "A"
    assert store.case("case_0001").claimed_by == "B", "A's save does not end B's claim"


def test_the_second_readers_queue(store):
    for case, author in (("case_0001", "A"), ("case_0002", "B")):
        corrected(store, predicted(store, case), author=author)
    assert names(store.queue("A", states=TO_REVIEW)) == ["case_0001", "case_0002"]
    assert names(store.queue("A", states=TO_REVIEW, second_reader=True)) == ["case_0002"]
    assert names(store.queue("A")) == ["case_0003"], "what waits for a reader needs no annotator"
    store.flag("case_0003", reader="A", comment="motion")
    assert store.next_case("A") is None
