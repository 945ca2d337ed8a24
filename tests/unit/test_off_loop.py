"""No long answer of Strava is decoded on the event loop: success, error or foreign."""

from __future__ import annotations

import dataclasses
import threading

import pytest

from feedzone import offload
from feedzone.ports import Response
from feedzone.store import stream_codec
from feedzone.strava import calls, responses
from feedzone.strava.responses import read_off_loop

LOOP = threading.main_thread()
CALLS = [
    calls.activity(7),
    calls.activity_page(1, 7),
    calls.photos(7),
    calls.athlete(7),
    calls.gear(7),
    calls.EXCHANGE,
    calls.REFRESH,
    calls.SUBSCRIPTIONS,
]


@pytest.fixture
def readers(monkeypatch):
    """The threads that read answers."""
    threads = []
    read = responses.read

    def noted(response, call):
        threads.append(threading.current_thread())
        return read(response, call)

    monkeypatch.setattr(responses, "read", noted)
    return threads


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.name)
async def test_a_long_success_is_decoded_in_a_thread(readers, call):
    decoders = []
    call = dataclasses.replace(call, parse=lambda body: decoders.append(threading.current_thread()))
    for size in (offload.THREAD_FROM, 8 * offload.THREAD_FROM):
        await read_off_loop(Response(200, {}, b"x" * size), call)
    assert LOOP not in (*readers, *decoders)
    assert len(decoders) == 2
    await read_off_loop(Response(200, {}, b"{}"), call)
    assert decoders[2:] == [LOOP]


@pytest.mark.parametrize("call", [*CALLS, calls.streams(7)], ids=lambda call: call.name)
@pytest.mark.parametrize("status", [302, 401, 404, 500])
async def test_a_long_error_is_decoded_in_a_thread(readers, call, status):
    body = b'{"message":"%s"}' % (b"x" * offload.THREAD_FROM)
    assert (await read_off_loop(Response(status, {}, body), call)).error is not None
    assert len(readers) == 1
    assert LOOP not in readers


async def test_long_streams_pass_the_loop_undecoded(monkeypatch):
    """A decoder would refuse them: they are cut short."""
    body = b'{"time":{"data":[' + b"1," * offload.THREAD_FROM
    assert (await read_off_loop(Response(200, {}, body), calls.streams(7))).result() == body


async def test_long_streams_are_encoded_in_a_thread(monkeypatch):
    threads = []
    encode = stream_codec._encode

    def noted(entries, decode):
        threads.append(threading.current_thread())
        return encode(entries, decode)

    monkeypatch.setattr(stream_codec, "_encode", noted)
    await stream_codec.encoded(b'{"time":{"data":[0%s]}}' % (b",10" * (offload.THREAD_FROM // 3)))
    assert len(threads) == 1
    assert LOOP not in threads
