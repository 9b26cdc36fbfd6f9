"""A real PostgreSQL server of one's own: made in a temporary folder, heard on a socket in it only.

PostgreSQL does not run as root; root's tests start it as the user ``postgres`` or ``nobody``. On
Windows, where the module is imported and `pwd` is not there, the tests are skipped.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

OWNER = "boss"
"""Superuser of the server."""
_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "shared_buffers": "16MB",
    "max_wal_size": "16MB",
    "min_wal_size": "2MB",
    "max_connections": "40",
    "log_statement": "all",
    "timezone": "Asia/Kolkata",
}
_schemas = count(1)


class Server:
    """A server; `start` and `stop` as often as one likes."""

    def __init__(self, folder: Path, binaries: Path, user: str | None) -> None:
        self.folder, self._binaries, self._user = folder, binaries, user
        self._process: subprocess.Popen[bytes] | None = None
        self.log = folder / "server.log"

    def make(self) -> None:
        """The files of a server, with a database ``covseg``."""
        data = str(self.folder / "data")
        made = (
            "-D",
            data,
            "-U",
            OWNER,
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
            "--wal-segsize=1",
        )
        self._run("initdb", *made)
        self.start()
        self.sql("CREATE DATABASE covseg", database="postgres")

    def start(self) -> None:
        """Start it and wait until it answers."""
        settings = {**_SETTINGS, "unix_socket_directories": str(self.folder)}
        options = [f"--{name}={value}" for name, value in settings.items()]
        command = [str(self._binaries / "postgres"), "-D", str(self.folder / "data"), *options]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self.folder, **self._as_user()
            )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                self.sql("SELECT 1", database="postgres")
            except Exception:
                time.sleep(0.1)
            else:
                return
        raise RuntimeError(self.log.read_text())

    def stop(self) -> None:
        """Stop it at once, as a machine that is switched off; connections break."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            try:
                self._process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def url(self, database: str = "covseg", user: str = OWNER) -> str:
        """An address without a password."""
        return f"postgresql://{user}@/{database}?host={self.folder}"

    def schema(self) -> str:
        """A name that no other test uses."""
        return f"store_{os.getpid()}_{next(_schemas)}"

    def sql(self, statement: str, database: str = "covseg") -> list[tuple[object, ...]]:
        """What a statement of the superuser finds."""
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self._binaries / program), *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            **self._as_user(),
        )
        assert done.returncode == 0, done.stderr

    def _as_user(self) -> dict[str, object]:
        if self._user is None:
            return {}
        import pwd

        entry = pwd.getpwnam(self._user)
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _binaries() -> Path | None:
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return places[-1].parent if places else None


def _place() -> str:
    """Memory if there is enough of it: a server's files are many and small."""
    memory = Path("/dev/shm")
    return str(memory if memory.is_dir() and shutil.disk_usage(memory).free > 2**29 else "/tmp")


def _server_user() -> str | None:
    """Who may run it; None: we ourselves."""
    if os.getuid() != 0:
        return None
    import pwd

    known = {one.pw_name for one in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in known)


@contextmanager
def running_server() -> Iterator[Server]:
    """A server for the block; the test is skipped where there is none to start."""
    pytest.importorskip("psycopg", reason="psycopg is not installed (the extra postgres)")
    binaries = _binaries() if os.name == "posix" else None
    if binaries is None:
        pytest.skip("no PostgreSQL server is installed (Debian, Ubuntu: apt install postgresql)")
    user = _server_user()
    # Not pytest's own folder: its path may be too long for a socket, and only root enters it.
    folder = Path(tempfile.mkdtemp(prefix="covseg-pg-", dir=_place()))
    try:
        if user is not None:
            shutil.chown(folder, user)
            folder.chmod(0o755)
        server = Server(folder, binaries, user)
        try:
            server.make()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """One server for all tests of a process; each store gets a schema of its own."""
    with running_server() as server:
        yield server


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[Server]:
    """A server that a module may stop."""
    with running_server() as server:
        yield server
