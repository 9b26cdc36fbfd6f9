"""Sending and receiving on loopback: ourselves, dcmtk and Orthanc, plain and over TLS."""

import hashlib
import socket
import subprocess
import time
from contextlib import ExitStack, suppress
from types import SimpleNamespace

import numpy as np
import pytest
from dicom_nodes import (
    certificates,
    free_port,
    orthanc,
    program,
    receiver,
    rest,
    storescp,
)
from label_phantom import series
from pydicom import dcmread

from napari_covseg.domain.errors import CovsegError, InputError, UsageError
from napari_covseg.domain.labels import Label
from napari_covseg.domain.progress import run_to_end
from napari_covseg.domain.volume import LabelMap
from napari_covseg.io import read_volume
from napari_covseg.io.dicom_maker import Maker
from napari_covseg.io.dicom_peer import Peer, TlsFiles, ae_title
from napari_covseg.io.dicom_receive import Received, ReceiveSettings, _Server, receive
from napari_covseg.io.dicom_rtstruct import ScanGrid, read_rtstruct
from napari_covseg.io.dicom_rtstruct_write import write_rtstruct
from napari_covseg.io.dicom_send import SendSettings, send_files
from napari_covseg.io.dicom_source import open_source

pytest.importorskip("pynetdicom")


@pytest.fixture(scope="module")
def slices(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ct")
    series(folder)
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    return certificates(tmp_path_factory.mktemp("tls"))


def _send(paths, port, called="COVSEG", host="127.0.0.1", **settings):
    settings = SendSettings(**{"timeout_s": 20.0, **settings})
    return run_to_end(send_files(paths, Peer(called, host, port), settings))


def _pixels(paths):
    return sorted((str(d.SOPInstanceUID), bytes(d.PixelData)) for d in map(dcmread, paths))


def test_what_is_sent_arrives_under_names_that_say_nothing(slices, tmp_path):
    with receiver(tmp_path / "in") as received:
        assert _send(slices, received.port) == len(slices) == 12
    (folder,) = (tmp_path / "in").iterdir()
    files = sorted(folder.iterdir())
    assert received.folders == {folder.name: 12}
    assert _pixels(files) == _pixels(slices)
    uid = dcmread(slices[0]).SOPInstanceUID
    assert folder / f"{hashlib.sha256(uid.encode()).hexdigest()[:24]}.dcm" in files
    # The folder is the case's name, so that results find their scan.
    volume = read_volume(folder)
    assert volume.case == folder.name
    assert (volume.hu == read_volume(slices[0].parent).hu).all()


@pytest.mark.parametrize("node", ["ours", "storescp"])
def test_contours_arrive_as_they_were_written(slices, tmp_path, node):
    volume = read_volume(slices[0].parent)
    labels = np.zeros(volume.geometry.shape, np.uint8)
    labels[2:5, 4:12, 3:9] = Label.LEFT_LUNG
    labels[3, 5:9, 4:7] = Label.GGO
    source = open_source(slices[0].parent, volume.geometry)
    sides = np.where(labels > 0, np.uint8(1), np.uint8(0))
    path = tmp_path / "rt.dcm"
    write_rtstruct(LabelMap.like(volume, labels), source, path, Maker("manual"), sides)
    arrived = tmp_path / "in"
    arrived.mkdir()
    with ExitStack() as stack:
        if node == "ours":
            received = stack.enter_context(receiver(arrived))
            assert _send([path], received.port) == 1
            assert [name.split("-")[0] for name in received.folders] == ["rtstruct"]
        else:
            assert _send([path], stack.enter_context(storescp(arrived)), "STORESCP") == 1
    (file,) = (one for one in arrived.rglob("*") if one.is_file())
    back = read_rtstruct(file, ScanGrid(volume.geometry, slices[0].parent))
    assert np.array_equal(back.labels, labels)
    assert back.warnings == ()


def test_what_comes_twice_stays_once(slices, tmp_path):
    with receiver(tmp_path / "in") as received:
        _send(slices[:3], received.port)
        _send(slices[:3], received.port)
    assert received.count == 3
    assert len(list((tmp_path / "in").rglob("*.dcm"))) == 3


def test_storescp_stores_what_we_send(slices, tmp_path):
    with storescp(tmp_path) as port:
        assert _send(slices, port, "STORESCP") == 12
    assert _pixels(p for p in tmp_path.iterdir()) == _pixels(slices)


def test_storescu_sends_to_us(slices, tmp_path):
    tool = program("storescu", "dcmtk")
    with receiver(tmp_path / "in") as received:
        command = [tool, "-aec", "COVSEG", "127.0.0.1", str(received.port)]
        subprocess.run([*command, *map(str, slices)], check=True, timeout=120)
    assert received.count == 12
    assert _pixels((tmp_path / "in").rglob("*.dcm")) == _pixels(slices)


def test_storescu_is_told_that_other_objects_are_not_taken(slices, tmp_path):
    tool = program("storescu", "dcmtk")
    other = dcmread(slices[0])
    other.SOPClassUID = other.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    other.save_as(tmp_path / "mr.dcm")
    with receiver(tmp_path / "in") as received:
        command = [tool, "127.0.0.1", str(received.port), str(tmp_path / "mr.dcm")]
        assert subprocess.run(command, capture_output=True, timeout=120).returncode != 0
    assert received.count == 0
    assert list((tmp_path / "in").iterdir()) == []


def test_orthanc_takes_from_us_and_gives_to_us(slices, tmp_path):
    with (
        receiver(tmp_path / "in") as received,
        orthanc(tmp_path, received.port) as (port, address),
    ):
        assert _send(slices, port, "ORTHANC") == 12
        (study,) = rest(f"{address}/series")
        assert len(rest(f"{address}/series/{study}")["Instances"]) == 12
        rest(f"{address}/modalities/covseg/store", study)
        end = time.monotonic() + 60
        while received.count < 12 and time.monotonic() < end:
            time.sleep(0.1)
    assert _pixels((tmp_path / "in").rglob("*.dcm")) == _pixels(slices)


def test_tls_both_ways_and_nothing_in_the_clear(slices, tmp_path, tls):
    own = TlsFiles(tls["cert"], tls["key"], tls["ca"])
    with receiver(tmp_path / "in", tls=own) as received:
        assert _send(slices[:2], received.port, host="localhost", tls=own) == 2
        with pytest.raises(CovsegError, match="was not reached"):
            _send(slices[2:3], received.port, timeout_s=3.0)
        stranger = TlsFiles(authority=tls["ca"])
        with pytest.raises(CovsegError, match="and certificates"):
            _send(slices[2:3], received.port, host="localhost", tls=stranger, timeout_s=3.0)
        with pytest.raises(CovsegError, match="and certificates"):
            _send(slices[2:3], received.port, host="localhost", tls=TlsFiles(), timeout_s=3.0)
    assert received.count == 2


def test_storescp_over_tls(slices, tmp_path, tls):
    options = ("+tls", str(tls["key"]), str(tls["cert"]), "+cf", str(tls["ca"]))
    with storescp(tmp_path, *options) as port:
        own = TlsFiles(tls["cert"], tls["key"], tls["ca"])
        assert _send(slices[:2], port, "STORESCP", host="localhost", tls=own) == 2
    assert len(list(tmp_path.iterdir())) == 2


def test_refusals_say_why(slices, tmp_path):
    with pytest.raises(CovsegError, match=r"COVSEG@127.0.0.1:\d+ was not reached"):
        _send(slices[:1], free_port(), timeout_s=3.0)
    with receiver(tmp_path / "in", title="OURS", only_title=True, callers=("FRIEND",)) as received:
        with pytest.raises(CovsegError, match="its AE title is not OTHER"):
            _send(slices[:1], received.port, "OTHER", title="FRIEND")
        with pytest.raises(CovsegError, match="does not know our AE title COVSEG"):
            _send(slices[:1], received.port, "OURS")
        assert _send(slices[:1], received.port, "OURS", title="FRIEND") == 1
        other = dcmread(slices[0])
        other.SOPClassUID = other.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
        other.save_as(tmp_path / "mr.dcm")
        with pytest.raises(CovsegError, match=r"mr.dcm: OURS.* does not take objects"):
            _send([tmp_path / "mr.dcm"], received.port, "OURS", title="FRIEND")
    (tmp_path / "no.dcm").write_bytes(b"no")
    with pytest.raises(InputError, match=r"no.dcm: not a DICOM file"):
        _send([tmp_path / "no.dcm"], 1)


def test_an_object_beyond_the_limit_is_not_taken(slices, tmp_path):
    large = dcmread(slices[0])
    large.Rows, large.Columns = 1024, 1024
    large.PixelData = bytes(2 * 1024 * 1024)
    large.save_as(tmp_path / "large.dcm")
    with receiver(tmp_path / "in", object_mb=1) as received:
        with pytest.raises(CovsegError):
            _send([tmp_path / "large.dcm"], received.port)
        assert _send(slices[:1], received.port) == 1
    assert received.refused == 1
    assert received.count == 1


def test_a_packet_of_absurd_length_is_not_read(slices, tmp_path):
    with receiver(tmp_path / "in") as received:
        with socket.create_connection(("127.0.0.1", received.port), timeout=10) as link:
            # An association request that says it is 4 GiB long.
            link.sendall(b"\x01\x00\xff\xff\xff\xf0" + bytes(1000))
            with suppress(ConnectionError):
                assert link.recv(1) == b""
        assert _send(slices[:1], received.port) == 1


def test_who_says_nothing_keeps_nobody_from_tls(slices, tmp_path, tls, monkeypatch):
    monkeypatch.setattr("napari_covseg.io.dicom_peer._HANDSHAKE_S", 60.0)
    own = TlsFiles(tls["cert"], tls["key"], tls["ca"])
    with receiver(tmp_path / "in", tls=own) as received, ExitStack() as silent:
        for said in (b"", b"\x16\x03\x01", b""):
            link = socket.create_connection(("127.0.0.1", received.port))
            silent.enter_context(link).sendall(said)
        assert _send(slices[:1], received.port, host="localhost", tls=own) == 1


def test_who_never_finishes_a_handshake_is_ended(tmp_path, tls, monkeypatch):
    monkeypatch.setattr("napari_covseg.io.dicom_peer._HANDSHAKE_S", 0.5)
    own = TlsFiles(tls["cert"], tls["key"], tls["ca"])
    with (
        receiver(tmp_path / "in", tls=own) as received,
        socket.create_connection(("127.0.0.1", received.port), timeout=20) as link,
    ):
        link.sendall(b"\x16\x03\x01")
        with suppress(ConnectionError):
            assert link.recv(1) == b""


def test_what_is_under_way_is_bounded_over_all_connections(tmp_path):
    received = Received()
    server = _Server(tmp_path, ReceiveSettings(0, object_mb=1), received)
    ended = []

    def sender(name):
        return SimpleNamespace(abort=lambda block: ended.append(name))

    large, small = sender("large"), sender("small")
    server._watch(SimpleNamespace(assoc=large, data=bytes(800_000)))
    server._watch(SimpleNamespace(assoc=small, data=bytes(200_000)))
    assert ended == []
    server._watch(SimpleNamespace(assoc=small, data=bytes(100_000)))
    assert (ended, received.refused) == (["large"], 1)
    server._watch(SimpleNamespace(assoc=small, data=bytes(700_000)))
    assert ended == ["large"]
    server._forget(SimpleNamespace(assoc=large))
    server._watch(SimpleNamespace(assoc=small, data=bytes(100_000)))
    assert (ended, received.refused) == (["large", "small"], 2)


def test_what_could_unpack_without_end_is_not_taken(slices, tmp_path):
    deflated = dcmread(slices[0])
    deflated.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    deflated.save_as(tmp_path / "deflated.dcm")
    with receiver(tmp_path / "in") as received:
        with pytest.raises(CovsegError, match=r"deflated\.dcm"):
            _send([tmp_path / "deflated.dcm"], received.port)
        assert _send(slices[:1], received.port) == 1
    assert received.count == 1


@pytest.mark.parametrize("uid", ["../../evil", "/etc/passwd", "..\\..\\evil", "a" * 400, "1.2\x00"])
def test_no_uid_leads_out_of_the_folder(slices, tmp_path, uid):
    folder = tmp_path / "in"
    folder.mkdir()
    evil = dcmread(slices[0])
    evil.SeriesInstanceUID = "../../evil"
    evil.save_as(tmp_path / "evil.dcm")
    event = SimpleNamespace(
        assoc=object(),
        request=SimpleNamespace(AffectedSOPClassUID=evil.SOPClassUID, AffectedSOPInstanceUID=uid),
        encoded_dataset=(tmp_path / "evil.dcm").read_bytes,
    )
    received = Received()
    assert _Server(folder, ReceiveSettings(0), received)._store(event) == 0
    (place,) = folder.iterdir()
    (file,) = place.iterdir()
    assert place.name == f"ct-{hashlib.sha256(b'../../evil').hexdigest()[:10]}"
    assert file.name.removesuffix(".dcm").isalnum()
    assert {path.name for path in tmp_path.iterdir()} == {"in", "evil.dcm"}


def test_what_cannot_be_kept_is_refused_with_its_status(slices, tmp_path):
    received = Received()
    server = _Server(tmp_path, ReceiveSettings(0), received)

    def status(sop_class, uid, data):
        request = SimpleNamespace(AffectedSOPClassUID=sop_class, AffectedSOPInstanceUID=uid)
        event = SimpleNamespace(assoc=object(), request=request, encoded_dataset=lambda: data)
        return server._store(event)

    ct = "1.2.840.10008.5.1.4.1.1.2"
    good = slices[0].read_bytes()
    assert status("1.2.840.10008.5.1.4.1.1.4", "1.2", good) == 0x0117
    assert status(ct, "", good) == 0x0117
    assert status(ct, "1.2", b"nonsense") == 0xC000
    series_uid = dcmread(slices[0]).SeriesInstanceUID
    (tmp_path / f"ct-{hashlib.sha256(series_uid.encode()).hexdigest()[:10]}").write_text("")
    assert status(ct, "1.2", good) == 0xA700
    assert (received.count, received.refused) == (0, 4)


def test_it_ends_when_nothing_comes_and_frees_its_port(tmp_path):
    received = Received()
    done = run_to_end(receive(tmp_path, ReceiveSettings(0, idle_s=0.5), received))
    assert done.count == 0
    port = received.port
    with receiver(tmp_path / "again", port=port) as second:
        assert second.port == port
        with pytest.raises(CovsegError, match="cannot be listened on"):
            next(receive(tmp_path, ReceiveSettings(port), Received()))


@pytest.mark.parametrize(
    "text", ["", "host:104", "AE@host", "AE@host:0", "AE@host:99999", "A" * 17 + "@h:104", "@h:1"]
)
def test_addresses_that_are_none(text):
    with pytest.raises(UsageError):
        Peer.parse(text)


def test_addresses():
    assert Peer.parse("PACS@10.0.0.5:104") == Peer("PACS", "10.0.0.5", 104)
    assert Peer.parse("MY PACS@[::1]:11112") == Peer("MY PACS", "::1", 11112)
    assert ae_title(" X ") == "X"
    with pytest.raises(UsageError, match="backslash"):
        ae_title("A\\B")
    with pytest.raises(UsageError, match="needs --tls-cert"):
        TlsFiles().server()
