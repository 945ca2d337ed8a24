"""Docstrings, comments, documents and templates are in plain English, and names say what a thing is.

The first page of docs/glossary.md says which word means what. Rewrite a sentence that fails here so that its
subject comes first; rename a variable after the thing that it holds.
"""

from __future__ import annotations

import ast
import html
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from project_files import DOCUMENTS, ROOT, SOURCES, TEMPLATES, TESTS, is_migration, relative

MARKERS_PER_1000_WORDS = 1.0
VAGUE_PER_1000_NAMES = 3.0
FIRST_SENTENCE_CHARACTERS = 100

VAGUE = frozenset(
    "asked found given heard held kept mine one ours said theirs told wanted whole".split()  # noqa: SIM905
)

# The verbs of a clause that has no noun before its pronoun.
VERBS = r"""
    is|are|was|were|has|have|had|can|does|did|should|only|
    asks?|asked|begins?|began|came|comes?|connects?|fails|failed|follows|goes|went|holds|leaves?|left|
    looks?|runs?|stays?|uses|waits?|waited|wants
"""
MARKERS = re.compile(
    rf"""
    \b(?: (?:who|what|whom)(?:ever)? | whose ) \s+ (?:{VERBS}) \b   # headless clauses
    | \b of \s+ (?:who|whom|whose|what|which) \b                      # "of whom nothing is stored"
    | \b so \s+ (?:many|much|long|often) \b                           # instead of a number and its unit
    | \b (?:lest|shall|anew|whereof|thereof) \b
    | \b ever \s+ (?:less|later|more|longer) \b
    | \b (?:tells?|told|hears?|heard|says|said|asked|known) \s+ of \b
    | \b (?:is|are|was|were) \s+ (?:told|said) \b
    | \b hears \b
    """,
    re.VERBOSE | re.IGNORECASE,
)


@dataclass(frozen=True)
class Passage:
    """A piece of prose, and where it stands."""

    path: Path
    line: int
    text: str

    def __str__(self) -> str:
        return f"{relative(self.path)}:{self.line}: {' '.join(self.text.split())[:150]}"


def prose_of_program(path: Path) -> Iterator[Passage]:
    """Return the comments of a module, and all strings that stand alone: docstrings of everything."""
    source = path.read_text()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield Passage(path, node.lineno, text)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield Passage(path, token.start[0], token.string.lstrip("#! "))


def prose_of_document(path: Path) -> Iterator[Passage]:
    yield Passage(path, 1, path.read_text())


def prose_of_template(path: Path) -> Iterator[Passage]:
    """Return the visible text: no tags, expressions or comments."""
    text = re.sub(r"\{([{%#]).*?[}%#]\}", blank, path.read_text(), flags=re.S)
    yield Passage(path, 1, html.unescape(re.sub(r"<[^>]*>", blank, text)))


def blank(match: re.Match[str]) -> str:
    """Return only the line breaks of the match, so that line numbers stay right."""
    return " " + "\n" * match[0].count("\n")


PROGRAMS = [path for path in SOURCES if not is_migration(path)]
PROSE = {
    "src": [passage for path in PROGRAMS for passage in prose_of_program(path)],
    "tests": [passage for path in TESTS for passage in prose_of_program(path)],
    "docs": [passage for path in DOCUMENTS for passage in prose_of_document(path)],
    "templates": [passage for path in TEMPLATES for passage in prose_of_template(path)],
}


def matches(pattern: re.Pattern[str], passages: list[Passage]) -> list[str]:
    """Return each match with its place and the words around it."""
    places = []
    for passage in passages:
        for match in pattern.finditer(passage.text):
            line = passage.line + passage.text.count("\n", 0, match.start())
            context = passage.text[max(0, match.start() - 40) : match.end() + 40]
            places.append(str(Passage(passage.path, line, f"{match[0]!r} in {context!r}")))
    return places


@pytest.mark.parametrize("part", PROSE)
def test_sentences_are_plain(part):
    words = sum(len(re.findall(r"[A-Za-z']+", passage.text)) for passage in PROSE[part])
    places = matches(MARKERS, PROSE[part])
    limit = 0 if part == "templates" else MARKERS_PER_1000_WORDS
    score = 1000 * len(places) / words
    assert score <= limit, f"{score:.1f} per 1,000 words, allowed {limit}:\n" + "\n".join(places)


def names_of(path: Path) -> Iterator[tuple[int, str]]:
    """Return every use of a variable, and every parameter."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Name):
            yield node.lineno, node.id
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg


def test_names_say_what_a_thing_is():
    names = [(path, line, name) for path in PROGRAMS for line, name in names_of(path)]
    vague = [f"{relative(path)}:{line}: {name}" for path, line, name in names if name in VAGUE]
    score = 1000 * len(vague) / len(names)
    assert score <= VAGUE_PER_1000_NAMES, f"{score:.1f} per 1,000 names:\n" + "\n".join(vague)


def first_sentence(docstring: str) -> str:
    paragraph = " ".join(docstring.split("\n\n")[0].split())
    return re.split(r"(?<=[.!?])(?<!e\.g\.)(?<!i\.e\.) ", paragraph)[0]


@pytest.mark.parametrize("path", PROGRAMS, ids=relative)
def test_a_docstring_begins_with_a_short_sentence(path):
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    sentences = [
        (getattr(node, "name", "the module"), first_sentence(ast.get_docstring(node) or ""))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, documented)
    ]
    assert [entry for entry in sentences if len(entry[1]) > FIRST_SENTENCE_CHARACTERS] == []


GLOSSARY = ROOT / "docs" / "glossary.md"
LABELS = frozenset({"initial sync"})
"""Words for readers of the pages that code and documents do not use."""


def glossary_rows() -> list[list[str]]:
    """Return the cells of the glossary's table, row by row, with its head."""
    lines = re.findall(r"^\|(.+)\|\s*$", GLOSSARY.read_text(), re.M)
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)] for line in lines]
    return [row for row in rows if not set("".join(row)) <= set("-: ")]


def forbidden_words() -> set[str]:
    """Return the words of the third column, which the first column replaces."""
    return {word.strip(" `") for _, _, words in glossary_rows()[1:] for word in words.split(",")} - {""}


def without_code(passage: Passage) -> Passage:
    """Blank out code, whose names may contain any word."""
    text = re.sub(r"^(```|~~~).*?^\1|(`+)(?!`).+?(?<!`)\2(?!`)", blank, passage.text, flags=re.M | re.S)
    return Passage(passage.path, passage.line, text)


def test_the_glossary_names_the_words_to_avoid():
    head, *rows = glossary_rows()
    assert head == ["Word", "Meaning", "Not"]
    assert all(len(row) == 3 for row in rows)
    assert forbidden_words()


@pytest.mark.parametrize("part", ["src", "docs", "templates"])
def test_each_thing_has_one_word(part):
    words = forbidden_words() - (LABELS if part == "templates" else frozenset())
    one_of_them = "|".join(re.sub(r"\s+", r"\\s+", re.escape(word)) for word in sorted(words))
    passages = [without_code(passage) for passage in PROSE[part] if passage.path != GLOSSARY]
    places = matches(re.compile(rf"(?<![\w-])(?:{one_of_them})(?![\w-])", re.I), passages)
    assert not places, f"{len(places)} words that docs/glossary.md replaces:\n" + "\n".join(places)
