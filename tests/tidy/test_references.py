"""References in documents, docstrings and comments lead somewhere."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "ARCHITECTURE.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
PROGRAMS = [
    path for folder in ("src", "tests", "bench", "tools") for path in sorted((ROOT / folder).rglob("*.py"))
]
TEMPLATES = sorted((ROOT / "src").rglob("*.html"))

LINK = re.compile(r"\]\(<?([^)\s>]+)>?(?: \"[^\"]*\")?\)|\b(?:href|src)=\"([^\"]+)\"")
ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:|//")
PAGE = re.compile(r"\bdocs/[\w./-]+?\.md(?:#[\w-]+)?")
NUMBERED = re.compile(r"\b(?:pain|trap)s?\s+\d+|\bcontract(?:'s)?,?\s+sections?\b", re.I)


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def ids(paths: list[Path]) -> list[str]:
    return [relative(path) for path in paths]


def without_code(text: str, *, inline: bool = True) -> str:
    """Blank out fenced blocks and, with `inline`, code spans, since neither holds links or headings."""
    text = re.sub(r"^(```|~~~).*?^\1[^\n]*$", "", text, flags=re.M | re.S)
    return re.sub(r"(`+)(?!`).+?(?<!`)\1(?!`)", "", text) if inline else text


@cache
def anchors(path: Path) -> frozenset[str]:
    """Return the anchors of a page by GitHub's rules, plus explicit ids."""
    text = without_code(path.read_text(), inline=False)
    seen: Counter[str] = Counter()
    slugs = set(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", text))
    for title in re.findall(r"^#{1,6}[ \t]+(.+?)[ \t]*#*$", text, re.M):
        slug = slug_of(title)
        slugs.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return frozenset(slugs)


def slug_of(title: str) -> str:
    """Lower the case, drop markup and punctuation, and turn each space into a hyphen."""
    title = re.sub(r"!?\[([^]]*)\]\([^)]*\)", r"\1", title)
    title = re.sub(r"(?<!\w)_+|_+(?!\w)|[*`]", "", title)
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def problem(source: Path, target: str) -> str | None:
    """Return why `target`, as it stands in `source`, leads nowhere, or None if it resolves."""
    name, _, anchor = target.partition("#")
    path = (source.parent / name).resolve() if name else source
    if not path.exists():
        return f"{target}: no such file"
    if not path.is_relative_to(ROOT):
        return f"{target}: outside of the repository"
    if anchor and path.suffix == ".md" and anchor not in anchors(path):
        return f"{target}: no such heading"
    return None


def links(path: Path) -> list[str]:
    targets = [first or second for first, second in LINK.findall(without_code(path.read_text()))]
    return [target for target in targets if not ELSEWHERE.match(target)]


@cache
def prose(path: Path) -> tuple[tuple[int, str], ...]:
    """Return the docstrings and comments of a module, each with its line."""
    return tuple(_prose(path.read_text()))


def _prose(source: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", None)
        for item in body if isinstance(body, list) else []:
            match item:
                case ast.Expr(value=ast.Constant(value=str() as text)):
                    yield item.lineno, text
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


@pytest.mark.parametrize("path", DOCUMENTS, ids=ids(DOCUMENTS))
def test_every_link_in_a_document_leads_to_a_file_and_a_heading(path):
    assert [text for target in links(path) if (text := problem(path, target))] == []


def test_every_page_that_a_docstring_or_comment_names_exists_with_its_heading():
    broken = [
        f"{relative(path)}:{line}: {text}"
        for path in PROGRAMS
        for line, chunk in prose(path)
        for target in PAGE.findall(chunk)
        if (text := problem(ROOT / "README.md", target))
    ]
    assert broken == []


def test_nothing_refers_to_a_numbered_list_that_the_repository_does_not_hold():
    files = [*PROGRAMS, *TEMPLATES, *DOCUMENTS]
    left = [
        f"{relative(path)}:{text.count(chr(10), 0, match.start()) + 1}: {match[0]}"
        for path in files
        if path != Path(__file__)
        for text in [path.read_text()]
        for match in NUMBERED.finditer(text)
    ]
    assert not left, "\n".join(left)


@pytest.mark.parametrize("path", DOCUMENTS, ids=ids(DOCUMENTS))
def test_every_python_file_that_a_document_names_exists(path):
    names = set(re.findall(r"`([a-z_0-9/]+\.py)`", path.read_text()))
    modules = [relative(module) for module in PROGRAMS]
    missing = [
        name
        for name in sorted(names)
        if not (ROOT / name).exists() and not any(f"/{module}".endswith(f"/{name}") for module in modules)
    ]
    assert missing == []


@pytest.mark.parametrize(
    ("title", "slug"),
    [
        ("Push subscriptions", "push-subscriptions"),
        ("What's new? `feedzone sync` & more", "whats-new-feedzone-sync--more"),
        ("The table `api_budget`", "the-table-api_budget"),
        ("[A link](https://example.org), *emphasis*", "a-link-emphasis"),
        ("14. Layout", "14-layout"),
    ],
)
def test_an_anchor_is_the_heading_as_github_spells_it(title, slug):
    assert slug_of(title) == slug


def test_headings_inside_of_code_and_repeated_ones_are_told_apart(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# One\n\n```sh\n# not a heading\n```\n\n## Again\n\n## Again\n")
    assert anchors(page) == {"one", "again", "again-1"}


def test_a_broken_reference_is_caught(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text("# Here\n\n[a](#here) [b](#there) [c](page.md#here) [d](gone.md) `[e](code.md)`\n")
    assert [text for target in links(page) if (text := problem(page, target))] == [
        "#there: no such heading",
        "gone.md: no such file",
    ]
