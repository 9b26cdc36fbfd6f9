"""``covseg receive`` and ``covseg export --send`` as a user calls them."""

import json
import re
import signal
import subprocess
import sys

import pytest
from dicom_nodes import receiver
from label_phantom import label_map, series
from pydicom import dcmread

from napari_covseg.cli.main import main
from napari_covseg.io import read_volume, write_labels

pytest.importorskip("pynetdicom")


@pytest.fixture
def export(tmp_path):
    folder, centre = series(tmp_path / "ct")
    volume = read_volume(folder)
    labels = write_labels(label_map(volume.geometry, centre), tmp_path / "labels.nii.gz")
    return [
        "export", str(labels), "--source", str(folder), "--format", "dicom-sr",
        "--made-by", "manual", "--output", str(tmp_path / "out_sr.dcm"),
    ]  # fmt: skip


def test_export_sends_the_report_and_its_segmentation(export, tmp_path, capsys):
    with receiver(tmp_path / "in") as received:
        address = f"COVSEG@127.0.0.1:{received.port}"
        assert main([*export, "--send", address, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sent_to"] == address
    assert sorted(name.split("-")[0] for name in received.folders) == ["seg", "sr"]
    sent = {dcmread(path).SOPInstanceUID for path in tmp_path.glob("out*.dcm")}
    assert {dcmread(path).SOPInstanceUID for path in (tmp_path / "in").rglob("*.dcm")} == sent
    assert len(sent) == 2


def test_what_cannot_be_sent_is_said_before_anything_is_written(export, tmp_path, capsys):
    assert main([*export, "--send", "nowhere"]) == 2
    assert "expected AE@HOST:PORT" in capsys.readouterr().err
    assert main([*export, "--tls"]) == 2
    assert main([*export, "--tls-ca", "x.pem"]) == 2
    as_nifti = [word.replace("dicom-sr", "nifti") for word in export]
    assert main([*as_nifti, "--send", "A@127.0.0.1:104"]) == 2
    assert "--send needs --format dicom-seg, dicom-sr, rtstruct" in capsys.readouterr().err
    assert not list(tmp_path.glob("out*"))


def test_a_pacs_that_is_away_is_one_line_and_the_files_stay(export, tmp_path, capsys):
    assert main([*export, "--send", "PACS@127.0.0.1:9", "--timeout", "2"]) == 1
    error = capsys.readouterr().err
    assert "PACS@127.0.0.1:9 was not reached within 2 s" in error
    assert error.count("\n") == 1
    assert (tmp_path / "out_sr.dcm").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="no Ctrl-C for a child process there")
def test_ctrl_c_ends_a_receiver_cleanly(tmp_path):
    folder, _ = series(tmp_path / "ct")
    # A shell's background job, and what it starts, ignores Ctrl-C.
    listening = (
        "import signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from napari_covseg.cli.main import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    command = [
        sys.executable, "-c", listening, "receive", "--port", "0",
        "--output", str(tmp_path / "in"), "--json",
    ]  # fmt: skip
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        line = server.stderr.readline()
        port = int(re.search(r"127\.0\.0\.1 port (\d+)", line)[1])
        from napari_covseg.domain.progress import run_to_end
        from napari_covseg.io.dicom_peer import Peer
        from napari_covseg.io.dicom_send import send_files

        run_to_end(send_files(sorted(folder.iterdir()), Peer("COVSEG", "127.0.0.1", port)))
        server.send_signal(signal.SIGINT)
        try:
            out, error = server.communicate(timeout=60)
        finally:
            server.kill()
    assert server.returncode == 0
    assert error == ""
    content = json.loads(out)
    assert (content["received"], content["refused"]) == (12, 0)
    (name,) = content["folders"]
    assert name.startswith("ct-")
    assert len(list((tmp_path / "in" / name).iterdir())) == 12


def test_usage(capsys, tmp_path):
    for options in (["--port", "70000"], ["--port", "x"], ["--max-mb", "0"], ["--idle", "-1"]):
        with pytest.raises(SystemExit):
            main(["receive", "--port", "0", "--output", str(tmp_path), *options])
    assert main(["receive", "--port", "0", "--output", str(tmp_path), "--tls"]) == 2
    assert "--tls-cert" in capsys.readouterr().err
    assert main(["receive", "--port", "0", "--output", str(tmp_path), "--idle", "0.3"]) == 0
    assert "0 received, 0 refused" in capsys.readouterr().out
