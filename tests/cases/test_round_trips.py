"""How often a store asks its server: over a network each message costs a way there and back.

Counted in the server's own log, which has a line for every message.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from postgres_server import Server
from small_stores import MODEL, corrected, lungs, predicted, volume

from napari_covseg.cases.queue import Order
from napari_covseg.cases.records import Kind, NewVersion, Score
from napari_covseg.cases.store import CaseStore
from napari_covseg.plugin.annotating import overview_steps
from napari_covseg.plugin.review_waiting import Shown, listing_steps

CASES = 1000


@pytest.fixture(scope="module")
def many(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> CaseStore:
    """A thousand cases of 500 patients, each with two versions and a score; one has its image."""
    schema = postgres.schema()
    folder = tmp_path_factory.mktemp("many") / "store"
    store = CaseStore.create(folder, author="RA", index=postgres.url(), schema=schema)
    store.add_case(volume(), author="RA")
    first = predicted(store)
    corrected(store, first)
    store.record_scores([Score("case_0001", MODEL, 0.5, 1, (1.0,))])
    names = {
        table: ", ".join(
            f'"{name}"'
            for (name,) in postgres.sql(
                "SELECT column_name FROM information_schema.columns WHERE table_schema = "
                f"'{schema}' AND table_name = '{table}' ORDER BY ordinal_position"
            )
        )
        for table in ("cases", "versions", "scores")
    }

    def copies(table: str, changed: dict[str, str], number: str = "n") -> None:
        told = names[table]
        for column, value in changed.items():
            told = told.replace(f'"{column}"', value)
        postgres.sql(
            f"SET search_path = {schema}; INSERT INTO {table} ({names[table]}) SELECT {told} "
            f"FROM {table}, generate_series(2, {CASES}) AS {number}"
        )

    name = "'case_' || lpad(n::text, 4, '0')"
    copies("cases", {"id": "n", "name": name, "image_sha256": f"md5({name})"})
    copies("versions", {"id": "md5(id || n)", "case_id": "n", "parent_id": "NULL"})
    copies("scores", {"case_id": "n", "value": "value + n"})
    return store


@pytest.fixture
def messages(postgres: Server) -> Callable[[Callable[[], object]], int]:
    """How many messages an act sends."""

    def counted(act: Callable[[], object]) -> int:
        act()
        before = _count(postgres.log)
        act()
        return _count(postgres.log) - before

    return counted


def _count(log: Path) -> int:
    text = log.read_text(errors="replace")
    return text.count("LOG:  statement:") + text.count("LOG:  execute ")


def _to_end(steps):
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def test_the_list_of_a_thousand_cases(many, messages):
    assert len(many.cases()) == CASES
    assert messages(many.cases) <= 5
    assert messages(lambda: many.case("case_0500")) <= 5
    assert messages(many.histories) <= 3
    assert messages(lambda: many.queue("A", model=MODEL)) <= 7
    assert messages(lambda: CaseStore.open(many.folder)) <= 6
    overview = _to_end(overview_steps(many.folder, "A", Order.FIRST_COME))
    assert len(overview.lines) == CASES
    assert messages(lambda: _to_end(overview_steps(many.folder, "A", Order.FIRST_COME))) <= 30


@pytest.mark.parametrize("shown", list(Shown))
def test_the_list_for_a_second_reader(many, messages, shown):
    listed = _to_end(listing_steps(many.folder, "B", shown))
    assert len(listed) == (CASES if shown in (Shown.WAITING, Shown.ALL) else 0)
    assert messages(lambda: _to_end(listing_steps(many.folder, "B", shown))) <= 24


def test_a_save_and_what_is_decided(many, messages, postgres):
    sizes = iter(range(1, 6))

    def save():
        return many.save_version(
            "case_0001",
            lungs(size=next(sizes)),
            NewVersion(
                author="RA",
                kind=Kind.CORRECTION,
                parent=many.case("case_0001").newest,
                reviewed=[0, 1],
            ),
        )

    asking = messages(lambda: many.case("case_0001"))
    assert messages(save) - asking <= 16
    newest = many.case("case_0001").newest
    assert messages(lambda: many.accept(newest, reader="RA")) <= 22
    assert messages(lambda: many.claim("case_0002", "A")) <= 6
    assert messages(lambda: many.release("case_0002", "A")) <= 5
    assert messages(lambda: many.next_case("A", model=MODEL)) <= 16
    scores = [Score(f"case_{n:04d}", MODEL, float(n)) for n in range(2, 302)]
    before = postgres.log.read_text().count("SELECT")
    many.record_scores(scores)
    # Rows are sent without waiting for an answer to each.
    assert postgres.log.read_text().count("SELECT") - before <= 10
