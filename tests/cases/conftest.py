"""Tests of a store run on both kinds of index, unless they look into one of them."""

from pathlib import Path

import pytest
from postgres_server import Server, own_postgres, postgres  # noqa: F401

from napari_covseg.cases.store import CaseStore

ON_BOTH = {
    *("test_store", "test_versions", "test_reviews", "test_queue", "test_lineage"),
    "test_two_writers",
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test of these modules once with SQLite and once with a server."""
    if Path(metafunc.module.__file__).stem in ON_BOTH:
        metafunc.parametrize(
            "index_kind", ["sqlite", "postgresql"], indirect=True, scope="function"
        )


@pytest.fixture(autouse=True)
def index_kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where `CaseStore.create` puts the index."""
    kind: str = getattr(request, "param", "sqlite")
    if kind == "postgresql":
        server: Server = request.getfixturevalue("postgres")
        create = CaseStore.create

        def on_server(folder: str | Path, *, author: str) -> CaseStore:
            return create(folder, author=author, index=server.url(), schema=server.schema())

        monkeypatch.setattr(CaseStore, "create", on_server)
    return kind
