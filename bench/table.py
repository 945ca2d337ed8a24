"""Turn the figures of all rounds into one table: medians, ratios to feedzone, and the goals."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Key = tuple[str, str]
"""A measure and a program."""

Figures = Mapping[Key, Sequence[float]]
Medians = Mapping[Key, float]

HEAD = """\
| Measure | Program | Median | Times feedzone | Goal | Reached |
|---|---|---|---|---|---|"""


@dataclass(frozen=True)
class Goal:
    """`value` computes the goal from the medians of the same run; it raises KeyError if one is missing."""

    words: str
    value: Callable[[Medians], float]


@dataclass(frozen=True)
class Line:
    """One figure. The first line of a measure is what the others are compared with."""

    measure: str
    program: str
    goal: Goal | None = None
    more_is_better: bool = False

    @property
    def key(self) -> Key:
        return self.measure, self.program


def medians(figures: Figures) -> dict[Key, float]:
    """Return the median of each figure over the rounds in which it was measured."""
    return {key: statistics.median(values) for key, values in figures.items() if values}


def share(line: Line, middle: Medians) -> float | None:
    """Return which part of its goal a figure reaches: 1 or more is a goal that was met."""
    if line.goal is None or line.key not in middle:
        return None
    try:
        goal, value = line.goal.value(middle), middle[line.key]
    except KeyError:
        return None
    above, below = (value, goal) if line.more_is_better else (goal, value)
    return above / below if below > 0 else 1.0


def rows(lines: Sequence[Line], figures: Figures) -> list[str]:
    """Return the rows of the table. What was not measured has none."""
    middle, first, result, named = medians(figures), dict[str, Line](), [], set[str]()
    for line in lines:
        reference = middle.get(first.setdefault(line.measure, line).key)
        if line.key not in middle:
            continue
        value, begins = middle[line.key], line.measure not in named
        named.add(line.measure)
        ratio = f"{value / reference:.2f}" if reference else ""
        part = share(line, middle)
        goal = (
            f"{line.goal.words}: {number(line.goal.value(middle))}" if line.goal and part is not None else ""
        )
        reached = "" if part is None else "met" if part >= 1 else f"{math.floor(part * 100)}%"
        measure = line.measure if begins else ""
        result.append(f"| {measure} | {line.program} | {number(value)} | {ratio} | {goal} | {reached} |")
    return result


def number(value: float) -> str:
    """Write a figure with three digits that count."""
    if value >= 100 or value == 0:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def table(lines: Sequence[Line], figures: Figures) -> str:
    return "\n".join([HEAD, *rows(lines, figures)])


def far_below(lines: Sequence[Line], figures: Figures) -> list[Line]:
    """Return the lines that reach less than half of their goal."""
    middle = medians(figures)
    return [line for line in lines if (part := share(line, middle)) is not None and part < 0.5]
