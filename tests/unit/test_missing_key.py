"""A job whose tokens lack their key waits for the key."""

from __future__ import annotations

from datetime import timedelta

from fakes import FakeQueue, job
from test_worker import ends, executor

from feedzone.domain.outcome import Snooze
from feedzone.vault import UnknownKey


async def test_a_missing_key_costs_no_attempt_and_the_job_tries_again(clock):
    (leased,) = await (queue := FakeQueue(clock, job())).lease(1, "w/1", 30)
    outcome = await executor(queue, ends(UnknownKey("0123abcd")), clock).run(leased)
    assert isinstance(outcome, Snooze)
    assert outcome.until == clock.now() + timedelta(minutes=5)
    assert "0123abcd" not in outcome.reason
