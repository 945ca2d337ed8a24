"""Read models of what belongs to athletes and activities: gear, photos, changes."""

from __future__ import annotations

from typing import Any

import msgspec

from ..store import gear as gear_store
from ..store import photos as photo_store
from ..store.engine.database import Connection, Row
from .schemas.core import Change, Gear, GearPage, Photos


def gear(connection: Connection, athlete_id: int) -> GearPage:
    columns = [name for name in Gear.__struct_fields__ if name != "raw"]
    return GearPage(
        [
            Gear(**{name: row._mapping[name] for name in columns}, raw=msgspec.Raw(row.raw.encode()))
            for row in gear_store.listing(connection, athlete_id)
        ]
    )


def photos(connection: Connection, activity_id: int) -> Photos:
    held = photo_store.get(connection, activity_id)
    if held is None:
        return Photos(None, [])
    return Photos(held.state, msgspec.json.decode(held.photos or "[]"))


def change(row: Row[Any]) -> Change:
    values = {name: row._mapping[name] for name in Change.__struct_fields__}
    for name in ("old_value", "new_value"):
        values[name] = None if values[name] is None else msgspec.Raw(values[name].encode())
    return Change(**values)
