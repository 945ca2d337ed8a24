"""Measure how much anonymous clients delay the webhook, and how much memory they take.

Four clients send forms of 10 MB, forms of 64 KB and 64 KB of headers without a pause, one sends events that
no decoder reads, 20 send slow bodies, and 1,100 connections stay idle. The goal: at most 100 ms more than
without them, and every delivery answered 200.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import aiohttp

from .webhook import event, post, wait_ready

DELIVERIES = 100
GOAL_MS = 100.0
FORM = b"Content-Type: application/x-www-form-urlencoded\r\n"


def _request(line: bytes, body: bytes, length: int) -> bytes:
    return b"%s HTTP/1.1\r\nHost: a\r\n%sContent-Length: %d\r\n\r\n%s" % (line, FORM, length, body)


async def _talk(port: int, data: bytes) -> None:
    with contextlib.suppress(OSError):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(data)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(reader.read(1000), 5)
        writer.close()


async def _attack(port: int) -> None:
    large = b"password=" + b"&a=1" * 2_500_000
    idle = []
    for number in range(1_120):
        with contextlib.suppress(OSError):
            idle.append(await asyncio.open_connection("127.0.0.1", port))
            if number >= 1_100:
                idle[-1][1].write(_request(b"POST /login", b"pass", 20))

    async def attacker() -> None:
        while True:
            await _talk(port, _request(b"POST /login", large, len(large)))
            await _talk(port, _request(b"GET /join", large, len(large)))
            await _talk(port, _request(b"POST /login", large[:65_000], 65_000))
            await _talk(port, b"GET / HTTP/1.1\r\nX-A: " + b"a" * 70_000)

    async def forger() -> None:
        body = json.dumps(event(1) | {"z": "?"}).encode().replace(b'"?"', b"1e999")
        head = b"POST /api/webhooks/strava HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        while True:
            await _talk(port, head + b"Content-Length: %d\r\n\r\n" % len(body) + body)

    await asyncio.gather(forger(), *(attacker() for _ in range(4)))


def attack(port: int) -> None:
    """Run the strangers in a process of their own until it is stopped."""
    asyncio.run(_attack(port))


async def _round(url: str, first: int) -> list[float]:
    times = []
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(connector=connector) as session:
        for number in range(first, first + DELIVERIES):
            status, elapsed_ms = await post(session, url, number)
            assert status == 200, status
            times.append(elapsed_ms)
            await asyncio.sleep(0.02)
    return sorted(times)


def _memory_mb(process: int) -> float:
    text = Path(f"/proc/{process}/status").read_text()
    return int(text.partition("VmHWM:")[2].split()[0]) / 1024


async def measure(url: str, port: int, server: int) -> None:
    async with aiohttp.ClientSession() as session:
        await wait_ready(session, url)
    alone, memory_mb = await _round(url, 0), _memory_mb(server)
    strangers = multiprocessing.get_context("spawn").Process(target=attack, args=(port,), daemon=True)
    strangers.start()
    await asyncio.sleep(3)
    attacked = await _round(url, DELIVERIES)
    strangers.terminate()
    strangers.join()
    for name, times in (("alone", alone), ("with strangers", attacked)):
        print(
            f"{name}: median {statistics.median(times):.1f} ms, "
            f"p99 {times[int(len(times) * 0.99) - 1]:.1f} ms, slowest {times[-1]:.1f} ms"
        )
    delay = attacked[int(DELIVERIES * 0.99) - 1] - alone[int(DELIVERIES * 0.99) - 1]
    verdict = "met" if delay < GOAL_MS else "missed"
    print(f"delay at p99: {delay:.0f} ms (goal: under {GOAL_MS:.0f} ms, {verdict})")
    print(f"most memory: {memory_mb:.0f} MB alone, {_memory_mb(server):.0f} MB with strangers")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
        probe.close()
        settings = {
            "PATH": os.environ["PATH"],
            "FEEDZONE_HOME": folder,
            "APP_URL": f"http://127.0.0.1:{port}",
            "ADMIN_PASSWORD": "a password of the benchmark",
            "LOG_LEVEL": "ERROR",
        }
        program = str(Path(sys.executable).parent / "feedzone")
        command = [program, "serve", "--port", str(port), "--no-worker"]
        server = subprocess.Popen(command, env=settings, cwd=folder)
        try:
            start = time.perf_counter()
            asyncio.run(measure(f"http://127.0.0.1:{port}", port, server.pid))
            print(f"measured in {time.perf_counter() - start:.0f} s")
        finally:
            server.terminate()
            server.wait(20)


if __name__ == "__main__":
    main()
