"""Run feedzone beside a sandbox Strava for minutes: uploads, edits, deletes, faults, restarts.

    python -m bench.soak [--minutes 30] [--database postgresql]

For the first part `serve` is stopped by SIGTERM and SIGKILL in turns; then one process runs to the end, and
its memory and descriptors are watched. At the end the database must equal the sandbox, and nothing may be
left open: the command fails otherwise.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from sqlalchemy import text

from feedzone.sandbox import DeliveryRules, Limits, RunningSandbox, SandboxOptions
from feedzone.sandbox import running as running_sandbox
from feedzone.store.engine.database import Database, open_database
from feedzone.store.schema.tables import metadata

from .databases import BOTH, POSTGRES, databases
from .processes import Process, feedzone, feedzone_settings, free_port, memory_mb, running, wait_ready

RESTARTS = 0.5
"""The part of the time in which processes are restarted."""

LIFE_S = (10.0, 40.0)
EQUAL_WITHIN_S = 300.0
GROWTH_MB, GROWTH_FILES = 20.0, 10.0
"""How much more a process may hold in the last quarter of its life than in the second."""

API_KEY = "a-key-of-the-soak"
FAULTS = {
    "error_500": 0.03,
    "html_502": 0.01,
    "reset_before": 0.02,
    "reset_after": 0.01,
    "slow": 0.02,
    "slow_s": 2.0,
    "event_drop": 0.03,
    "event_duplicate": 0.1,
    "event_reorder_s": 2.0,
}
OPEN = {
    "events without an end": "SELECT count(*) FROM webhook_events WHERE status IN ('pending', 'processing')",
    "running jobs": "SELECT count(*) FROM jobs WHERE state = 'running'",
    "dead letters": "SELECT count(*) FROM jobs WHERE state = 'dead'",
}


@dataclass
class Soak:
    """One installation and the sandbox beside it."""

    strava: RunningSandbox
    port: int
    env: dict[str, str]
    database: Database
    dice: random.Random
    served: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    process: Process | None = None
    acts: dict[str, int] = field(default_factory=dict)

    async def start(self) -> Process:
        # The process starts in this thread: it ends with the thread that started it.
        home = self.env["FEEDZONE_HOME"]
        program = feedzone("serve", "--port", str(self.port))
        self.process = self.served.enter_context(running(program, self.env, home))
        await asyncio.to_thread(wait_ready, self.port, self.process)
        return self.process

    async def restart(self, *, kill: bool) -> None:
        assert self.process
        self.count("SIGKILL" if kill else "SIGTERM")
        if kill:
            self.process.kill()
        await asyncio.to_thread(self.served.close)
        await asyncio.sleep(self.dice.uniform(0, 2))
        await self.start()

    def count(self, act: str) -> None:
        self.acts[act] = self.acts.get(act, 0) + 1

    def act(self) -> None:
        """Do what one athlete does."""
        world, dice = self.strava.world, self.dice
        athlete = dice.choice(list(world.athletes))
        known = world.visible(athlete, True)
        kind = dice.choices(("upload", "rename", "edit", "delete"), (5, 4, 2, 1))[0]
        self.count(kind)
        if kind == "upload" or not known:
            world.record(athlete, minutes=dice.uniform(5, 40))
            return
        number = dice.choice(known[-30:]).id
        if kind == "rename":
            world.rename(number, f"Renamed {dice.randrange(10**6)}")
        elif kind == "edit":
            world.set_visibility(number, dice.choice(("everyone", "followers_only", "only_me")))
        else:
            world.delete(number)

    async def api(self, path: str, method: str = "GET") -> Any:
        headers = {"Authorization": f"Bearer {API_KEY}"}
        async with aiohttp.ClientSession(headers=headers) as session:
            url = f"http://127.0.0.1:{self.port}/api/v1/{path}"
            async with session.request(method, url) as answer:
                return await answer.json(content_type=None)

    def one(self, query: str) -> int:
        return int(self.database.run_sync(lambda c: c.execute(text(query)).scalar_one()))

    def differences(self) -> list[str]:
        """Return what differs between the database and the sandbox."""
        query = text("SELECT id, name, private FROM strava_activities WHERE deleted_at IS NULL")
        rows = {row.id: row for row in self.database.run_sync(lambda c: c.execute(query).all())}
        world, result = self.strava.world, []
        truth = {each["id"]: each for athlete in world.athletes for each in world.truth(athlete)}
        result += [f"{number} is missing" for number in truth.keys() - rows.keys()]
        result += [f"{number} is gone at Strava" for number in rows.keys() - truth.keys()]
        for number in truth.keys() & rows.keys():
            for name in ("name", "private"):
                if getattr(rows[number], name) != truth[number][name]:
                    result.append(f"{name} of {number} differs")
        return result


async def connect(soak: Soak) -> None:
    """Register the webhook, and let every athlete consent as in a browser."""
    home = soak.env["FEEDZONE_HOME"]
    ensure = await asyncio.create_subprocess_exec(
        *feedzone("subscription", "ensure"), env={"PATH": os.environ["PATH"]} | soak.env, cwd=home
    )
    if await ensure.wait():
        raise SystemExit("the webhook could not be registered")
    for athlete in soak.strava.world.athletes:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser:
            url = f"http://127.0.0.1:{soak.port}/connect"
            async with browser.get(url, allow_redirects=False) as leaving:
                consent = leaving.headers["Location"]
            async with browser.get(f"{consent}&sandbox_athlete={athlete}") as back:
                if back.status != 200:
                    raise SystemExit(f"athlete {athlete} could not be connected")


Samples = list[tuple[float, int]]
"""Memory in MB and open files of one process, in the order of time."""


async def live(soak: Soak, minutes: float) -> Samples:
    """Act, restart and watch until the time is over."""
    began, samples = time.monotonic(), Samples()
    end = began + minutes * 60
    calm = began + minutes * 60 * RESTARTS
    restart_at, kill, watched = began + soak.dice.uniform(*LIFE_S), False, began
    while (now := time.monotonic()) < end:
        soak.act()
        if now > restart_at and now < calm:
            await soak.restart(kill=kill)
            restart_at, kill = time.monotonic() + soak.dice.uniform(*LIFE_S), not kill
        if now > calm and now - watched > 1 and soak.process:
            watched = now
            files = len(os.listdir(f"/proc/{soak.process.pid}/fd"))
            samples.append((memory_mb(soak.process), files))
        soak.strava.world.faults.change(FAULTS if int(now) % 60 < 45 else dict.fromkeys(FAULTS, 0.0))
        await asyncio.sleep(soak.dice.uniform(0.1, 0.9))
    return samples


async def settle(soak: Soak) -> list[str]:
    """Switch the faults off and wait until all is equal; return what is wrong."""
    soak.strava.world.faults.change(dict.fromkeys(FAULTS, 0.0))
    for athlete in soak.strava.world.athletes:
        await soak.api(f"athletes/{athlete}/verify", "POST")
    end = time.monotonic() + EQUAL_WITHIN_S
    while True:
        wrong = soak.differences()
        wrong += [f"{number} {words}" for words, query in OPEN.items() if (number := soak.one(query))]
        if not wrong or time.monotonic() > end:
            return wrong
        print(f"settling: {'; '.join(wrong[:3])} ({len(wrong)})", file=sys.stderr, flush=True)
        await asyncio.sleep(5)


def growth(samples: Samples) -> list[str]:
    """Print memory and descriptors; return what grew."""
    quarter = len(samples) // 4
    if not quarter:
        return []
    wrong = []
    limits = (("memory, MB", GROWTH_MB), ("open files", GROWTH_FILES))
    for index, (name, most) in enumerate(limits):
        early, late = (
            statistics.median(sample[index] for sample in part)
            for part in (samples[quarter : 2 * quarter], samples[-quarter:])
        )
        print(f"{name}: {early:.0f} in the second quarter, {late:.0f} in the last")
        if late - early > most:
            wrong.append(f"{name} grew from {early:.0f} to {late:.0f}")
    return wrong


async def run(url: str, home: str, minutes: float) -> list[str]:
    options = SandboxOptions(
        port=0,
        seed=7,
        athletes=5,
        history_days=20,
        limits=Limits(100_000, 1_000_000, 100_000, 1_000_000),
        delivery=DeliveryRules(attempts=3, spacing_s=0.5, timeout_s=2.0),
        client_id="1",
        client_secret="bench",
    )
    async with running_sandbox(options) as strava:
        port = free_port()
        env = feedzone_settings(url, home, port, 0) | {
            "APP_URL": f"http://127.0.0.1:{port}",
            "API_KEY": API_KEY,
            "CONFIRM_DELETION_S": "0",
            "STRAVA_API_BASE_URL": f"{strava.url}/api/v3",
            "STRAVA_OAUTH_BASE_URL": f"{strava.url}/oauth",
        }
        soak = Soak(strava, port, env, open_database(url), random.Random(11))
        try:
            await soak.start()
            await connect(soak)
            samples = await live(soak, minutes)
            wrong = await settle(soak) + growth(samples)
            print(", ".join(f"{number} {act}" for act, number in sorted(soak.acts.items())))
            for table in metadata.sorted_tables:
                if rows := soak.one(f"SELECT count(*) FROM {table.name}"):
                    print(f"{table.name}: {rows} rows")
            return wrong
        finally:
            await asyncio.to_thread(soak.served.close)
            await soak.database.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--database", choices=BOTH, default=POSTGRES)
    chosen = parser.parse_args()
    with databases([chosen.database]) as maker, tempfile.TemporaryDirectory() as home:
        wrong = asyncio.run(run(maker.prepared(chosen.database), home, chosen.minutes))
    for line in wrong:
        print(line, file=sys.stderr)
    print("equal, nothing left open, nothing grew" if not wrong else f"{len(wrong)} differences")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
