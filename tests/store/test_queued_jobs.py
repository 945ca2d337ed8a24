"""An object has one live job, jobs are leased by lane and in turns, and each lease is exclusive."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from itertools import chain

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import IntegrityError
from store_makers import ACTIVITY, OTHER, OWNER, Store, event, spec

from feedzone.domain.job import Lane, RefreshHint
from feedzone.domain.outcome import Done
from feedzone.store.jobs import lifecycle
from feedzone.store.reads import jobs as job_lists
from feedzone.store.schema.tables import jobs as jobs_table

THIRD = 271828

NEWS = RefreshHint(action="delete", cause="event:2")


async def test_an_object_has_one_live_job_however_often_it_is_enqueued(store):
    await store.enqueue(spec())
    await store.enqueue(spec(), spec())
    row = await store.row(jobs_table)
    assert (row.version, row.state) == (2, "queued")


async def test_the_database_itself_refuses_a_second_live_job(store):
    await store.enqueue(spec())
    (row,) = await store.rows(jobs_table)
    twin = row._asdict() | {"id": "01a00000-0000-7000-8000-000000000001"}
    with pytest.raises(IntegrityError):
        await store.write(lambda c: c.execute(jobs_table.insert().values(twin)))


async def test_different_kinds_of_work_for_one_key_do_not_mix(store):
    await store.enqueue(spec(), spec(kind="backfill_athlete"))
    assert len(await store.rows(jobs_table)) == 2


async def test_the_newer_hint_stays_whichever_comes_first(store):
    await store.enqueue(spec(hint=NEWS, hint_time=20))
    await store.enqueue(spec(hint_time=19))
    job = await store.lease_one()
    assert (job.hint, job.hint_time, job.version) == (NEWS, 20, 2)


async def test_of_two_hints_of_the_same_second_the_later_received_one_stays(store):
    await store.enqueue(spec(hint_time=20))
    await store.enqueue(spec(hint=NEWS, hint_time=20))
    assert (await store.lease_one()).hint == NEWS


async def test_a_request_does_not_replace_the_hint_of_an_event(store):
    await store.enqueue(spec(hint=NEWS, hint_time=20))
    await store.enqueue(spec(lane=Lane.INTERACTIVE))
    assert (await store.lease_one()).hint == NEWS


async def test_a_higher_lane_brings_its_fair_position_and_a_lower_one_changes_nothing(store):
    await store.enqueue(spec(1, lane=Lane.LIVE))
    await store.enqueue(spec(2, lane=Lane.BACKFILL))
    await store.enqueue(spec(2, lane=Lane.LIVE))
    await store.enqueue(spec(2, lane=Lane.RECONCILE))
    row = await store.row(jobs_table, key="activity:2")
    assert (row.priority, row.fair_position) == (Lane.LIVE, 1)


async def test_an_earlier_due_time_wins(store, clock):
    later, sooner = clock.now() + timedelta(hours=1), clock.now() + timedelta(minutes=1)
    for due_at in (later, sooner, later):
        await store.enqueue(spec(due_at=due_at, lane=Lane.RECHECK))
    assert (await store.row(jobs_table)).due_at == sooner


def update(clock, longest_s: float = 30):
    """Return the job of an update: it is due in four seconds, unless more updates come."""
    now = clock.now()
    due, longest = now + timedelta(seconds=4), now + timedelta(seconds=longest_s)
    return spec(due_at=due, debounce_until=longest)


async def test_repeated_updates_delay_their_fetch_but_not_for_ever(store, clock):
    """A job that is due at once, or waits for another reason, is not delayed."""
    began = clock.now()
    for number in range(20):
        await store.enqueue(update(clock))
        if number == 3:
            assert (await store.row(jobs_table)).due_at == clock.now() + timedelta(seconds=4)
        clock.advance(seconds=2)
    assert (await store.row(jobs_table)).due_at == began + timedelta(seconds=30)
    await store.enqueue(spec())
    assert (await store.row(jobs_table)).due_at <= clock.now()


async def test_the_first_fetch_of_an_update_is_not_delayed_by_later_updates(store, clock):
    """The first result is there within five seconds, even if more updates come."""
    began = clock.now()
    for longest_s in (4, 4, 30, 30):
        await store.enqueue(update(clock, longest_s))
        clock.advance(seconds=1)
    assert (await store.row(jobs_table)).due_at == began + timedelta(seconds=4)


@pytest.mark.parametrize("longest", [(4, 30), (30, 4)])
async def test_updates_that_arrive_together_wait_no_longer_than_the_first_one_may(store, clock, longest):
    """That holds also when one transaction stores both."""
    began = clock.now()
    await store.enqueue(*(update(clock, longest_s) for longest_s in longest))
    clock.advance(seconds=1)
    await store.enqueue(update(clock))
    assert (await store.row(jobs_table)).due_at == began + timedelta(seconds=4)


async def test_updates_during_a_fetch_cost_one_more_fetch(store, clock):
    """Guarantee 2: a storm of events on a new activity is its fetch, and one when the storm is over."""
    await store.enqueue(spec())
    job = await store.lease_one()
    for _ in range(3):
        await store.enqueue(update(clock, 4))
        clock.advance(seconds=1)
    await store.queue.finish(job, Done())
    for _ in range(10):
        assert await store.lease() == []
        await store.enqueue(update(clock))
        clock.advance(seconds=1)
    assert await store.lease() == []
    clock.advance(seconds=3)
    await store.queue.finish(await store.lease_one(), Done())
    assert await store.rows(jobs_table) == []


async def test_a_delete_during_a_fetch_is_next(store, clock):
    await store.enqueue(spec())
    job = await store.lease_one()
    await store.enqueue(update(clock))
    await store.enqueue(spec())
    await store.queue.finish(job, Done())
    assert len(await store.lease()) == 1


SPECS = st.lists(
    st.builds(
        lambda lane, rank, time, due: (lane, rank, time, due),
        st.sampled_from(list(Lane)),
        st.integers(-3, 3),
        st.integers(0, 3),
        st.one_of(st.none(), st.integers(0, 3)),
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(SPECS)
def test_specs_in_one_batch_end_like_the_same_specs_one_by_one(sqlite_database, clock, drawn):
    now = clock.now()
    specs = [
        spec(
            lane=lane,
            rank=rank,
            hint_time=time,
            hint=RefreshHint(cause=f"{number}"),
            due_at=None if due is None else now + timedelta(minutes=due),
        )
        for number, (lane, rank, time, due) in enumerate(drawn)
    ]

    def end(batches):
        def body(connection):
            connection.execute(jobs_table.delete())
            for batch in batches:
                lifecycle.enqueue(connection, batch, now)
            row = connection.execute(jobs_table.select()).one()
            return row.hint, row.hint_time, row.priority, row.fair_position, row.due_at

        return sqlite_database.run_sync(body)

    assert end([specs]) == end([[single] for single in specs])


async def test_jobs_are_leased_by_lane_and_those_of_an_athlete_in_order_of_arrival(store):
    await store.enqueue(
        spec(1, lane=Lane.BACKFILL, rank=-9),
        spec(2, lane=Lane.LIVE, rank=8),
        spec(3, lane=Lane.LIVE, rank=5),
        spec(4, lane=Lane.INTERACTIVE),
    )
    await store.enqueue(spec(5, lane=Lane.LIVE, rank=-5))
    assert [job.object_id for job in await store.lease()] == [3, 2, 5, 4, 1]


async def test_within_a_lane_athletes_take_turns(store):
    """A backfill of ten years does not delay the first week of another athlete."""
    await store.enqueue(*(spec(n, lane=Lane.BACKFILL, rank=-n) for n in range(1, 2001)))
    assert len(await store.lease(limit=20)) == 20
    await store.enqueue(
        *(spec(n, lane=Lane.BACKFILL, rank=n, athlete_id=OTHER) for n in range(3001, 3004)),
        *(spec(n, lane=Lane.BACKFILL, rank=n, athlete_id=THIRD) for n in range(4001, 4003)),
    )
    order = [job.object_id for job in await store.lease(limit=9)]
    assert order == [1980, 3001, 4001, 1979, 3002, 4002, 1978, 3003, 1977]


async def test_athletes_take_turns_whether_their_jobs_arrive_one_by_one_or_at_once(store):
    await store.connect(THIRD)
    for n in range(3):
        await store.enqueue(spec(n + 1))
        await store.enqueue(spec(n + 11, athlete_id=OTHER), spec(n + 21, athlete_id=THIRD))
    assert [job.object_id for job in await store.lease()] == [1, 11, 21, 2, 12, 22, 3, 13, 23]


async def test_a_job_marked_as_first_goes_first_and_the_rest_keeps_its_order(store):
    await store.enqueue(spec(1), spec(2, rank=1), spec(3, athlete_id=OTHER))
    await store.enqueue(spec(9, athlete_id=OTHER, first=True))
    assert [job.object_id for job in await store.lease()] == [9, 1, 3, 2]


async def test_two_thousand_backfill_jobs_do_not_delay_one_webhook(store):
    await store.enqueue(*(spec(n, lane=Lane.BACKFILL, rank=-n) for n in range(1, 2001)))
    await store.deliver(event())
    (job,) = await store.lease(limit=1)
    assert job.object_id == ACTIVITY


async def test_a_lease_takes_no_more_than_its_limit(store):
    await store.enqueue(*(spec(n) for n in range(25)))
    assert len(await store.lease(limit=10)) == 10
    assert await store.read(job_lists.counts) == {"queued": 15, "running": 10}


async def test_a_leased_job_is_not_leased_again(store):
    await store.enqueue(spec(1), spec(2))
    first = await store.lease(limit=1)
    second = await store.lease()
    assert [job.object_id for job in first + second] == [1, 2]
    assert await store.lease() == []


async def test_a_job_is_not_leased_before_it_is_due(store, clock):
    due = clock.now() + timedelta(minutes=5)
    await store.enqueue(spec(due_at=due))
    assert await store.lease() == []
    assert await store.queue.next_due() == due
    clock.advance(minutes=5)
    assert len(await store.lease()) == 1
    assert await store.queue.next_due() is None


async def test_a_leased_job_has_everything_that_a_handler_needs(store, clock):
    received = clock.now()
    await store.deliver(event(aspect_type="delete", object_id=2**62))
    clock.advance(seconds=9)
    job = await store.lease_one(owner="host:1:x/7")
    assert (job.kind, job.object_id, job.athlete_id) == ("refresh_activity", 2**62, OWNER)
    assert job.hint.action == "delete"
    assert job.hint.cause.startswith("event:")
    assert (job.lane, job.attempts, job.version) == (Lane.LIVE, 0, 1)
    assert (job.first_received_at, job.lease_owner) == (received, "host:1:x/7")


async def test_the_age_of_the_oldest_due_job_is_known(store, clock):
    assert await store.read(lambda c: job_lists.oldest_due(c, clock.now())) is None
    since = clock.now()
    await store.enqueue(spec(1))
    clock.advance(minutes=2)
    await store.enqueue(spec(2), spec(3, due_at=clock.now() + timedelta(days=1)))
    assert await store.read(lambda c: job_lists.oldest_due(c, clock.now())) == since


async def test_jobs_are_listed_by_age_page_by_page(store):
    for number in range(5):
        await store.enqueue(spec(number))
    await store.lease(limit=2)

    def page(state, after):
        return lambda c: job_lists.listing(c, state=state, limit=2, after_id=after)

    first = await store.read(page("queued", None))
    rest = await store.read(page("queued", first[-1].id))
    assert [row.key for row in [*first, *rest]] == ["activity:2", "activity:3", "activity:4"]


async def test_two_processes_share_many_jobs_and_run_each_once(postgres_store, second_postgres, clock):
    other = Store.over(second_postgres, clock)
    await postgres_store.enqueue(*(spec(n, rank=n) for n in range(300)))

    async def drain(store, owner):
        leased_ids = []
        while leased := await store.lease(limit=7, owner=owner):
            leased_ids += [job.object_id for job in leased]
        return leased_ids

    workers = [drain(store, f"w{n}/{k}") for n, store in enumerate((postgres_store, other)) for k in range(3)]
    shares = await asyncio.gather(*workers)
    assert sorted(chain.from_iterable(shares)) == list(range(300))
    assert sum(1 for share in shares if share) > 1


async def test_two_processes_that_enqueue_the_same_objects_at_once_make_one_job_each(
    postgres_store, second_postgres, clock
):
    other = Store.over(second_postgres, clock)
    forth, back = [spec(n) for n in range(40)], [spec(n) for n in reversed(range(40))]
    await asyncio.gather(
        *(store.enqueue(*specs) for store in (postgres_store, other) for specs in (forth, back) * 3)
    )
    rows = await postgres_store.rows(jobs_table)
    assert len(rows) == 40
    assert {row.version for row in rows} == {12}


@pytest.mark.parametrize("owners", [(OTHER, OWNER), (OWNER, OTHER)], ids=["forged first", "forged last"])
async def test_an_event_that_names_another_owner_does_not_replace_the_owners_job(store, owners):
    """Events can be forged: one with another owner must not replace the real one."""
    for number, owner in enumerate(owners):
        await store.deliver(event(owner_id=owner, event_time=1516126040 + number))
    leased = {(job.athlete_id, job.object_id) for job in await store.lease()}
    assert (OWNER, ACTIVITY) in leased


async def test_a_hint_survives_the_queue_unchanged(store):
    hint = RefreshHint(action="delete", verified=True, cause="event:x", detail_version=2, streams_only=True)
    await store.enqueue(spec(hint=hint))
    job = await store.lease_one()
    assert msgspec.structs.asdict(job.hint) == msgspec.structs.asdict(hint)
