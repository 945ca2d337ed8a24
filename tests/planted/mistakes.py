"""The lists of planted mistakes: one text file per area, two lines per mistake.

A line `path: tests` names a file under src/feedzone, and the test files that should find the mistakes below
it. Each mistake is the text to replace, in lines that begin with `-`, and the new text, in lines with `+`.
An empty `+` line removes the text. `#` begins a comment.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LISTS = Path(__file__).parent


class DoesNotFit(Exception):
    """The source has changed: it does not contain the text to replace exactly once."""


@dataclass(frozen=True)
class Mistake:
    """A planted mistake; `place` is its line in the lists."""

    place: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    @property
    def area(self) -> str:
        """The package that it is in."""
        folder = str(Path(self.file).parent)
        return "(top)" if folder == "." else folder

    def plant(self, source: str) -> str:
        """Return the source with the mistake in it."""
        if (count := source.count(self.old)) != 1:
            raise DoesNotFit(f"{self.place}: {self.file} has its text {count} times, not once: {self.old!r}")
        return source.replace(self.old, self.new)


def read(path: Path) -> Iterator[Mistake]:
    """Read one list."""
    file, tests = "", ()
    old: list[str] = []
    new: list[str] = []
    begun = 0

    def mistake() -> Mistake:
        return Mistake(f"{path.name}:{begun}", file, "\n".join(old), "\n".join(new), tests)

    for number, line in enumerate([*path.read_text().splitlines(), ""], start=1):
        sign, text = line[:1], line[2:]
        if old and (sign not in ("-", "+") or (new and sign == "-")):
            yield mistake()
            old, new = [], []
        if sign == "-":
            begun = begun if old else number
            old.append(text)
        elif sign == "+":
            new.append(text)
        elif line and not line.startswith("#"):
            file, _, named = line.partition(": ")
            tests = tuple(named.split())


def mistakes() -> list[Mistake]:
    """Return all planted mistakes."""
    return [mistake for path in sorted(LISTS.glob("*.txt")) for mistake in read(path)]


def prune(package: Path) -> list[str]:
    """Remove the mistakes that no longer fit the source from the lists; return their places."""
    stale: list[str] = []
    for path in sorted(LISTS.glob("*.txt")):
        lines: list[str | None] = [*path.read_text().splitlines()]
        for mistake in read(path):
            try:
                mistake.plant((package / mistake.file).read_text())
            except (DoesNotFit, FileNotFoundError):
                stale.append(mistake.place)
                begun = int(mistake.place.rpartition(":")[2]) - 1
                size = mistake.old.count("\n") + mistake.new.count("\n") + 2
                lines[begun : begun + size] = [None] * size
        path.write_text("".join(f"{line}\n" for line in lines if line is not None))
    return stale
