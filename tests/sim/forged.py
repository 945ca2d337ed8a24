"""`python -m sim.forged`: what a day with forged events costs, as the table of docs/security.md."""

from __future__ import annotations

import sqlite3
import sys
from dataclasses import replace
from typing import Any

from .checkers import spending
from .checkers.evidence import Evidence
from .process import EPOCH
from .scenario import FORGED
from .simulation import Result, Simulation
from .storage import make_template, workplace

COUNTS = (0, 10, 200, 1000, 10_000)
HEAD = (
    "| Forged creates | Calls for them on the worst day | Share of the day's reads | Uploads of others | "
    "Slowest | Divergences |\n|---|---|---|---|---|---|"
)


class Measured(Simulation):
    """A world that keeps its figures."""

    spent = 0
    uploads: dict[int, float]

    def _check(self, result: Result, sender: Any) -> None:
        with sqlite3.connect(self.path) as rows:
            rows.row_factory = sqlite3.Row
            start = EPOCH.timestamp()
            evidence = Evidence(
                rows, self.world, self.ledger, start + self.loop.time(), self.scenario.sync_days, start
            )
            self.spent = max(spending.spent_on_inventions(evidence).values(), default=0)
            self.uploads = spending.uploads(evidence)
        rows.close()
        super()._check(result, sender)


def main(seed: int, counts: tuple[int, ...]) -> None:
    folder = workplace()
    template = make_template(folder)
    print(HEAD)
    for count in counts:
        scenario = replace(FORGED, flood=count, flood_kinds=("create",))
        world = Measured(seed, scenario, template, folder)
        result = world.run()
        slowest, reads = max(world.uploads.values(), default=0.0), scenario.limits.read_daily
        print(
            f"| {count:,} | {world.spent} | {world.spent / reads:.1%} | {len(world.uploads)} "
            f"| {slowest:.1f} s | {len(result.divergences)} |",
            flush=True,
        )
        for line in result.divergences:
            print(line, file=sys.stderr)


if __name__ == "__main__":
    numbers = [int(text) for text in sys.argv[1:]]
    main(numbers[0] if numbers else 0, tuple(numbers[1:]) or COUNTS)
