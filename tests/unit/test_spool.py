"""Refused deliveries are kept until they are stored, also over a crash, and never without a limit."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from feedzone.domain.event import parse_event
from feedzone.ingest import spool as spool_module
from feedzone.ingest.deliveries import Delivery
from feedzone.ingest.spool import FOLDER, Spool

NOW = 1_790_000_000.0


def delivery(number: int = 1, owner: int = 7, title: str = "Secret ride") -> Delivery:
    body = {
        "object_type": "activity",
        "object_id": number,
        "aspect_type": "update",
        "owner_id": owner,
        "subscription_id": 1,
        "event_time": 1_790_000_000,
        "updates": {"title": title},
    }
    return Delivery(parse_event(msgspec.json.encode(body)), "verified")


def opened(home: Path) -> Spool:
    spool = Spool(home)
    spool.open()
    return spool


def numbers(spool: Spool) -> list[int]:
    return [each.event.object_id for each in spool.oldest(1000)]


def content(home: Path) -> bytes:
    return b"".join(path.read_bytes() for path in (home / FOLDER).iterdir())


def crash(spool: Spool) -> None:
    """End as a killed process does: the lock goes, the file stays."""
    os.close(spool._file._descriptor)


def test_a_copy_of_an_event_is_kept_once_and_forgotten_when_it_is_stored(tmp_path):
    spool = opened(tmp_path)
    for each in (delivery(1), delivery(2), delivery(1)):
        spool.keep(each, NOW)
    spool.write()
    assert numbers(spool) == [1, 2]
    assert content(tmp_path).count(b"Secret ride") == 2
    spool.forget([delivery(1).event])
    assert numbers(spool) == [2]
    spool.forget([delivery(2).event])
    spool.write()
    assert b"Secret ride" not in content(tmp_path)
    assert not spool.has_work


def test_only_the_user_of_feedzone_reads_the_file(tmp_path):
    opened(tmp_path)
    (file,) = (tmp_path / FOLDER).iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / FOLDER).stat().st_mode & 0o077 == 0


def test_the_file_has_its_room_from_the_start(tmp_path):
    spool = opened(tmp_path)
    (file,) = (tmp_path / FOLDER).iterdir()
    before = file.stat()
    assert before.st_blocks * 512 >= spool_module.FILE_BYTES
    for number in range(100):
        spool.keep(delivery(number), NOW)
    spool.write()
    assert (file.stat().st_size, file.stat().st_blocks) == (before.st_size, before.st_blocks)


def test_what_is_written_survives_a_power_failure(tmp_path, monkeypatch):
    spool, synced = opened(tmp_path), []
    (file,) = (tmp_path / FOLDER).iterdir()
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append((descriptor, file.read_bytes())))
    spool.keep(delivery(1), NOW)
    spool.write()
    assert [descriptor for descriptor, _ in synced] == [spool._file._descriptor]
    assert b"Secret ride" in synced[0][1]


def test_the_next_process_takes_over_what_a_crash_left(tmp_path):
    crashed = opened(tmp_path)
    crashed.keep(delivery(1), NOW)
    crashed.keep(delivery(2), NOW + 1)
    crashed.write()
    crash(crashed)
    later = opened(tmp_path)
    assert numbers(later) == [1, 2]
    assert later.oldest(1)[0].signature == "verified"
    assert later.losses.everybody, "the last events before the crash may be missing"
    assert len(list((tmp_path / FOLDER).iterdir())) == 1
    crash(later)
    assert numbers(opened(tmp_path)) == [1, 2]


def test_the_file_of_a_living_process_is_left_alone_and_counted(tmp_path):
    living, other = opened(tmp_path), opened(tmp_path)
    living.keep(delivery(1, owner=7), NOW)
    living.keep(delivery(2, owner=8), NOW + 5)
    living.keep(delivery(3, owner=8), NOW + 6)
    living.write()
    third = opened(tmp_path)
    assert numbers(third) == []
    for spool in (living, other, third, Spool(tmp_path)):
        refused = spool.refusals()
        assert (refused.since.timestamp(), refused.events, refused.athletes) == (NOW, 3, 2)


@pytest.mark.parametrize("torn", [b'{"event":"{', b"not json\n", b'{"event":1}\n', b"\xff\xfe\n"])
def test_a_torn_line_ends_the_file(tmp_path, torn):
    crashed = opened(tmp_path)
    crashed.keep(delivery(1), NOW)
    crashed.write()
    crashed._file.append(torn)
    crash(crashed)
    assert numbers(opened(tmp_path)) == [1]


def test_a_closed_spool_leaves_a_file_only_for_what_is_not_stored(tmp_path):
    opened(tmp_path).close()
    assert list((tmp_path / FOLDER).iterdir()) == []
    spool = opened(tmp_path)
    spool.keep(delivery(1), NOW)
    spool.close()
    assert numbers(opened(tmp_path)) == [1]


@pytest.mark.parametrize(
    ("name", "value"), [("MOST_EVENTS", 2), ("FILE_BYTES", 2 * len(spool_module._line(delivery(0), NOW)) + 9)]
)
def test_what_does_not_fit_is_noted_with_its_athlete(tmp_path, monkeypatch, name, value):
    monkeypatch.setattr(spool_module, name, value)
    spool = opened(tmp_path)
    for number in range(5):
        spool.keep(delivery(number, owner=number), NOW)
    assert numbers(spool) == [0, 1]
    assert spool.losses.athletes == {2, 3, 4}


def test_losses_of_very_many_athletes_concern_everybody(monkeypatch):
    monkeypatch.setattr(spool_module, "MOST_EVENTS", 0)
    monkeypatch.setattr(spool_module, "MOST_ATHLETES", 3)
    spool = Spool()
    for number in range(5):
        spool.keep(delivery(number, owner=number), NOW)
    assert (spool.losses.everybody, len(spool.losses.athletes) <= 3) == (True, True)


def test_an_athlete_who_leaves_is_in_no_file(tmp_path):
    crashed = opened(tmp_path)
    spool = opened(tmp_path)
    for each in (crashed, spool):
        each.keep(delivery(1, owner=7, title="of seven"), NOW)
        each.keep(delivery(2, owner=8, title="of eight"), NOW)
        each.write()
    crash(crashed)
    spool.forget_athlete(7)
    assert numbers(spool) == [2]
    assert (content(tmp_path).count(b"of seven"), content(tmp_path).count(b"of eight")) == (0, 2)


def test_a_home_that_cannot_be_written_leaves_the_memory(tmp_path):
    (tmp_path / FOLDER).write_text("not a folder")
    spool = opened(tmp_path)
    spool.keep(delivery(1), NOW)
    spool.write()
    assert numbers(spool) == [1]
    assert spool.refusals().events == 1
    spool.close()
