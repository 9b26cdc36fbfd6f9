"""Ctrl-C, as a terminal sends it to every process, in the middle of a run on a local cluster."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from segment_command import command, listed
from small_requests import request_maker

from napari_covseg.cli.main import main
from napari_covseg.io import read_labels
from napari_covseg.workflows.segment_done import FOLDER

CASES = [f"c{number:02}" for number in range(12)]
# A shell's background job starts with the signal ignored.
PROGRAM = (
    "import signal, sys\n"
    "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "from napari_covseg.cli.main import main\n"
    "sys.exit(main(sys.argv[1:]))\n"
)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is no signal there")
def test_ctrl_c_ends_all_processes_and_the_same_command_goes_on(tmp_path, capsys):
    pytest.importorskip("distributed")
    psutil = pytest.importorskip("psutil")
    make = request_maker(tmp_path)
    for name in CASES:
        make(name)
    out = tmp_path / "out"
    arguments = command(tmp_path / "in", tmp_path / "model", out)
    with (tmp_path / "err").open("w") as err:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *arguments, "--scheduler", "local", "--jobs", "2"],
            stdout=subprocess.DEVNULL,
            stderr=err,
            start_new_session=True,
        )
    try:
        end = time.monotonic() + 240
        while not list(out.glob("*.json")):
            assert process.poll() is None, (tmp_path / "err").read_text()
            assert time.monotonic() < end, "no case was segmented"
            time.sleep(0.02)
        own = psutil.Process(process.pid).children(recursive=True)
        workers = [one for one in own if "resource_tracker" not in " ".join(one.cmdline())]
        assert len(workers) == 2
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(60) == 130
    finally:
        process.kill()
    _, alive = psutil.wait_procs(own, timeout=20)
    assert [one for one in alive if one.status() != psutil.STATUS_ZOMBIE] == []
    assert (tmp_path / "err").read_text() == "covseg: cancelled\n"

    done = [name.removesuffix(".json") for name in listed(out) if name.endswith(".json")]
    assert 0 < len(done) < len(CASES)
    assert not list((out / FOLDER).glob("run-*"))
    assert not list(out.rglob("*.tmp"))
    for name in done:
        assert json.loads((out / f"{name}.json").read_text())["case"] == name
        read_labels(out / f"{name}_labels.nii.gz")
    assert main([*arguments, "--json"]) == 0
    results = json.loads(capsys.readouterr().out)["results"]
    assert [one["case"] for one in results] == CASES
    assert [one["case"] for one in results if one["done_before"]] == done
