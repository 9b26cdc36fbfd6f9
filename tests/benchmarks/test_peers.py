"""The peers are given the same work as ours: with our network in them they give our labels."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from benchmarks.common import Run, run_child
from benchmarks.peers import rows
from benchmarks.peers.work import agreement, middle, processor_s
from tools import see_packages

from napari_covseg.io import make_phantom, write_volume

ROOT = Path(__file__).resolve().parents[2]
PEERS = {"monai": "monai", "monai_autocast": "monai", "nnunet": "nnunetv2"}
measured = pytest.mark.skipif(not hasattr(os, "wait4"), reason="no peak memory of a child there")


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    path = tmp_path_factory.mktemp("peers") / "scan.nii.gz"
    write_volume(make_phantom((24, 128, 128), (12.0, 2.8, 2.8)).volume, path)
    return path


@pytest.fixture(scope="module")
def kept(scan):
    """Our labels of the scan's middle slices, and the file they are in."""
    path = scan.with_name("labels.npy")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        run_child("-m", "benchmarks.peers.child", "ours", *_arguments(scan, path))
    return path


def _arguments(scan, kept):
    return "slices", str(scan), "12", "cpu", str(kept), "covseg-default"


def _python_with(module):
    python = rows.python_with(module, rows.PEER_PYTHON)
    if python is None:
        pytest.skip(f"{module} is not installed: make bench puts it into {rows.PEER_PYTHON}")
    return python


@measured
@pytest.mark.parametrize("peer", PEERS)
def test_the_shipped_network_finds_the_same_in_a_peers_window(peer, scan, kept):
    python = _python_with(PEERS[peer])
    run = run_child("-m", "benchmarks.peers.child", peer, *_arguments(scan, kept), python=python)
    labels = np.load(kept)
    assert labels.shape == (12, 128, 128)
    assert (labels > 0).mean() > 0.05
    assert run.said["slices"] == 12
    assert run.said["lung_dice"] > 0.97
    assert run.said["same"] > 0.98
    assert 0 < run.said["total_s"] < run.wall_s


@pytest.mark.parametrize("peer", ["monai", "nnunet"])
def test_a_network_on_volumes_finds_the_same_in_a_peers_patches(peer):
    python = _python_with(PEERS[peer])
    script = Path(__file__).with_name("threshold_patches.py")
    done = subprocess.run([python, script, peer], capture_output=True, text=True, check=True)
    said = json.loads(done.stdout.splitlines()[-1])
    assert 0.1 < said["lung"] < 0.9
    assert said["lung_dice"] > 0.97
    assert said["same"] > 0.97


@measured
@pytest.mark.slow
def test_totalsegmentator_runs_with_random_weights(tmp_path, monkeypatch):
    python = _python_with("totalsegmentator")
    scan, weights = tmp_path / "scan.nii.gz", tmp_path / "weights"
    # One patch of its network: 107x107x48 voxels of 3 mm.
    write_volume(make_phantom((24, 64, 64), (6.0, 5.0, 5.0)).volume, scan)
    weights.mkdir()
    monkeypatch.setenv("TOTALSEG_WEIGHTS_PATH", str(weights))
    run = run_child("-m", "benchmarks.peers.totalsegmentator", str(scan), "cpu", python=python)
    assert run.said["own_weights"] is False
    assert run.said["shape"] == [64, 64, 24]
    assert list(weights.iterdir()) == []


def test_agreement_tells_equal_from_unequal():
    labels = np.zeros((2, 4, 4), np.uint8)
    labels[0] = 1
    other = labels.copy()
    other[0, :2] = 0
    assert agreement(labels, labels) == {"same": 1.0, "lung_dice": 1.0}
    assert agreement(other, labels) == {"same": 0.75, "lung_dice": pytest.approx(2 / 3)}


def test_what_the_processors_did_is_counted():
    before = processor_s()
    sum(range(10_000_000))
    assert 0 < processor_s() - before < 60


def test_the_middle_is_where_the_lungs_are():
    volume = make_phantom((9, 16, 16)).volume
    part = middle(volume, 3)
    assert (part.hu == volume.hu[3:6]).all()
    assert part.geometry.shape == (3, 16, 16)
    assert (middle(volume, 99).hu == volume.hu).all()


def test_rows_say_what_is_missing_and_how_many_times_faster(monkeypatch, tmp_path):
    asked = []

    def run(*arguments, python=sys.executable):
        asked.append((arguments[2], python))
        ours = "ours" in arguments
        return Run(9.0, 1.5, {"total_s": 2.0 if ours else 5.0, "lung_dice": 0.99})

    monkeypatch.setattr(rows, "run_child", run)
    monkeypatch.setattr(rows, "python_with", lambda m, _: "theirs" if m == "nnunetv2" else None)
    found = {row.what: row for row in rows.peer_rows(tmp_path, "m", "cpu", 30, tmp_path)}
    assert found["m, 30 slices: ours"].value == "2.0 s, 1.50 GB"
    missing = found["m, 30 slices: MONAI's sliding window, float32"]
    assert missing.value == "not installed (pip install monai)"
    assert missing.met is None
    nnunet = found["m, 30 slices: nnU-Net v2's predictor"]
    assert nnunet.value == ("5.0 s, 1.50 GB: ours is 2.5 times as fast, lungs agree (Dice 0.990)")
    assert nnunet.met is True
    whole = found["file to written label map, 30 slices: TotalSegmentator --fast"]
    assert whole.value == "not installed (pip install TotalSegmentator)"
    assert ("nnunet", "theirs") in asked
    assert ("ours", sys.executable) in asked


def test_a_module_is_looked_for_here_and_with_the_peers(tmp_path):
    assert rows.python_with("json", tmp_path / "none") == sys.executable
    assert rows.python_with("no_such_module_at_all", tmp_path / "none") is None


def test_the_page_keeps_what_stands_below_its_table(tmp_path):
    from benchmarks.__main__ import sections

    page = tmp_path / "page.md"
    assert sections(page) == ""
    page.write_text("# Speed\n\n| a |\n\n## Peers\n\ntext\n\n## More\n")
    assert sections(page) == "\n## Peers\n\ntext\n\n## More\n"


def test_an_environment_sees_another_with_its_own_packages_first(tmp_path, monkeypatch):
    folder = tmp_path / "own"
    folder.mkdir()
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(folder))
    see_packages.main(sys.executable)
    (line,) = (folder / "seen.pth").read_text().splitlines()
    monkeypatch.setattr(sys, "path", ["first"])
    exec(line)
    assert sys.path[0] == "first"
    assert any((Path(place) / "numpy").is_dir() for place in sys.path[1:])
