"""A short form of ``make soak``: damaged files of every kind are read or refused, with one line."""

import sys
from random import Random

import fuzz_mutations
import fuzz_seeds
import fuzz_targets
import guarded
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ROUNDS = 8


@pytest.fixture(scope="module")
def seeds():
    return fuzz_seeds.seeds()


@pytest.mark.parametrize("target", sorted(fuzz_targets.TARGETS))
def test_damaged_files_are_read_or_refused(seeds, target, tmp_path):
    mine = [one for one in seeds if one.target == target]
    donors = [one.content for one in seeds if len(one.content) < 20_000]
    for number in range(ROUNDS):
        rng = Random(f"suite/{target}/{number}")
        seed = mine[number % len(mine)]
        place = tmp_path / str(number)
        file = place / seed.name
        file.parent.mkdir(parents=True)
        file.write_bytes(fuzz_mutations.mutate(seed.content, rng, donors))
        problem, said = guarded.attempt(fuzz_targets.TARGETS[target], file, place)
        assert (problem, bool(said)) == ("", True), (number, seed.name)


@pytest.mark.parametrize("target", sorted(fuzz_targets.TARGETS))
def test_whole_files_are_read(seeds, target, tmp_path):
    for number, seed in enumerate(one for one in seeds if one.target == target):
        place = tmp_path / str(number)
        file = place / seed.name
        file.parent.mkdir(parents=True)
        file.write_bytes(seed.content)
        said = guarded.attempt(fuzz_targets.TARGETS[target], file, place)[1]
        # A single part cannot always be read alone, but it is never called damaged.
        assert said == "read" or not {"damaged", "cut"} & set(said.split()), (seed.name, said)


def _finite(volume):
    assert np.isfinite(volume.hu).all()


@settings(max_examples=60, deadline=None, derandomize=True, database=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(st.lists(st.tuples(st.integers(0, 347), st.binary(min_size=1, max_size=8)), max_size=4))
def test_any_bytes_in_a_nifti_header(seeds, tmp_path, changes):
    from napari_covseg.io.read import read_volume

    content = bytearray(next(one.content for one in seeds if one.name == "v.nii"))
    for at, new in changes:
        content[at : at + len(new)] = new
    file = tmp_path / "a.nii"
    file.write_bytes(content)
    problem, said = guarded.attempt(lambda *_: _finite(read_volume(file)), file, tmp_path)
    assert problem == ""
    assert said == "read" or said.startswith("a.nii: ")


def _hang(*_):
    while True:
        pass


def _die(*_):
    import os

    os._exit(7)


def _flood(*_):
    np.ones(80 * 2**20, np.uint8).sum()


@pytest.mark.skipif(sys.platform != "linux", reason="forks, and measures by /proc")
@pytest.mark.parametrize(
    ("target", "found"), [(_hang, "hung"), (_die, "exit code 7"), (_flood, "took 0.1 GiB")]
)
def test_the_meter_sees_what_it_is_there_for(monkeypatch, target, found):
    monkeypatch.setattr(guarded, "MOST_SECONDS", 0.3)
    monkeypatch.setattr(guarded, "MOST_BYTES", 64 * 2**20)
    monkeypatch.setattr(fuzz_targets, "TARGETS", {"mine": target, "whole": lambda *_: None})
    with guarded.Guarded("fork") as reader:
        assert found in reader.read("mine", "a.bin", b"x").problem
        assert reader.read("whole", "a.bin", b"x").problem == ""
