"""DICOM nodes on loopback for tests: dcmtk's storescp, Orthanc, our own receiver; certificates."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from napari_covseg.io.dicom_receive import Received, ReceiveSettings, receive


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def program(name: str, package: str) -> str:
    """The path of a program, or a skip."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip(f"{name} (Debian package {package}) is not installed")
    return found


def wait_for_port(port: int, process: subprocess.Popen | None = None, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process is not None and process.poll() is not None:
            raise AssertionError(f"it ended with {process.returncode}")
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    raise AssertionError(f"nobody listens on port {port}")


@contextmanager
def running(command: list[str], port: int):
    """A server process until the block ends."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for_port(port, process)
        yield process
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def storescp(folder: Path, *options: str, title: str = "STORESCP"):
    """dcmtk's receiver; gives its port."""
    port = free_port()
    tool = program("storescp", "dcmtk")
    command = [tool, "-aet", title, "-od", str(folder), "--fork", *options, str(port)]
    with running(command, port):
        yield port


@contextmanager
def orthanc(folder: Path, peer_port: int):
    """Orthanc that knows us as COVSEG; gives its DICOM port and the address of its REST API."""
    tool = program("Orthanc", "orthanc")
    dicom, http = free_port(), free_port()
    config = {
        "Name": "test",
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "HttpPort": http,
        "DicomPort": dicom,
        "DicomAet": "ORTHANC",
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomModalities": {"covseg": ["COVSEG", "127.0.0.1", peer_port]},
        "Plugins": [],
    }
    path = folder / "orthanc.json"
    path.write_text(json.dumps(config))
    with running([tool, str(path)], dicom):
        wait_for_port(http)
        yield dicom, f"http://127.0.0.1:{http}"


def rest(address: str, body: str | None = None):
    """An answer of Orthanc's REST API."""
    data = None if body is None else body.encode()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(address, data=data), timeout=60) as answer:
        return json.loads(answer.read())


@contextmanager
def receiver(folder: Path, **settings):
    """Our receiver in a thread; gives what it has received, port included."""
    received = Received()
    folder.mkdir(exist_ok=True)
    steps = receive(folder, ReceiveSettings(port=settings.pop("port", 0), **settings), received)
    next(steps)
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set():
            if next(steps, None) is None:
                return

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield received
    finally:
        stop.set()
        thread.join()
        steps.close()


def certificates(folder: Path) -> dict[str, Path]:
    """A private authority and a certificate for localhost, made by openssl."""
    tool = program("openssl", "openssl")
    files = {name: folder / f"{name}.pem" for name in ("ca", "ca_key", "cert", "key", "request")}
    extra = folder / "extra.cnf"
    extra.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")

    def openssl(*words: object) -> None:
        subprocess.run([tool, *map(str, words)], check=True, capture_output=True)

    new = ("req", "-newkey", "rsa:2048", "-nodes", "-keyout")
    openssl(*new, files["ca_key"], "-x509", "-days", 2, "-subj", "/CN=test", "-out", files["ca"])
    openssl(*new, files["key"], "-subj", "/CN=localhost", "-out", files["request"])
    openssl(
        "x509", "-req", "-in", files["request"], "-CA", files["ca"], "-CAkey", files["ca_key"],
        "-CAcreateserial", "-days", 2, "-extfile", extra, "-out", files["cert"],
    )  # fmt: skip
    return files
