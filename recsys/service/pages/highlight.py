"""Which words of a rendered prompt came from which variable.

The templates are rendered once more, by the code that ranking calls, in an environment that
puts marks around what every `{{ ... }}` gives. The marks are private-use characters, which
`clean_text` takes out of all text of people and items, and the tokenizer is shown the text
without them, so that budget and tokens are those of the real prompt.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import jinja2
from jinja2 import nodes

from recsys.engine import Engine
from recsys.engine.base import Tokenizer
from recsys.engine.tokenizer_only import TokenizerEngine
from recsys.prompting.library import PromptLibrary, RenderedPrompt
from recsys.recommender.recommender import Recommender
from recsys.recommender.request import Prepared

OPEN, BETWEEN, CLOSE = "\ue000", "\ue001", "\ue002"
_MARK = re.compile(f"{OPEN}([^{BETWEEN}]*){BETWEEN}|{CLOSE}")
_SOURCE = re.compile(r"(\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\})", re.DOTALL)

# Where a variable's value comes from: (class of its colour, words).
ORIGINS = {
    "history": ("history", "events of this person, or titles said to be liked"),
    "context": ("context", "the time, place and wish of the request"),
    "profile": ("profile", "profile of this person in the store"),
    "candidate": ("candidate", "one of the candidates of the retriever"),
    "candidates": ("candidate", "the candidates of the retriever"),
    "facts": ("candidate", "what the retriever knows of the candidate"),
    "letters": ("domain", "the labels of the template"),
    "noun": ("domain", "domain.toml"),
    "plural": ("domain", "domain.toml"),
    "style": ("domain", "[reasons] of domain.toml"),
    "evidence": ("evidence", "evidence that was measured"),
    "shared": ("evidence", "what item and history have in common"),
    "against": ("evidence", "what measurably spoke against the item"),
    "lacking": ("evidence", "what the next item lacks"),
    "asked": ("evidence", "what the wish names"),
    "held_back": ("evidence", "whether nothing may be said for it"),
}


@dataclass(frozen=True)
class MarkedSpan:
    """A piece of text; `name` is the variable it came from, "" for the template's own words."""

    text: str
    name: str = ""

    @property
    def origin(self) -> str:
        return ORIGINS.get(self.name, ("domain", ""))[0]


class MarkingEnvironment(jinja2.Environment):
    """Puts marks around everything that an expression with variables writes."""

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        sources = _sources(tree)
        for output in tree.find_all(nodes.Output):
            output.nodes = [_marked(node, sources) for node in output.nodes]
        return tree


class MarkedLibrary(PromptLibrary):
    environment = MarkingEnvironment


@dataclass(frozen=True)
class _Blind:
    """A tokenizer that does not see marks."""

    real: Tokenizer

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        return self.real.encode(_MARK.sub("", text), add_special_tokens=add_special_tokens)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


def marked_texts(
    recommender: Recommender, name: str, prepared: Prepared, engine: Engine, shown: Sequence[RenderedPrompt]
) -> list[list[MarkedSpan]]:
    """The texts of `shown` in pieces. One whose pieces do not give the very same text is one piece."""
    twin = recommender.with_state(prompts=MarkedLibrary(recommender.domain.prompt_folder))
    blind = TokenizerEngine(engine.model, cast(Tokenizer, _Blind(engine.tokenizer)), engine.max_model_len)
    again = twin.render(name, prepared, blind)
    marked = [text for prompt in again for text in prompt.texts]
    found = []
    for text, real in zip(marked, (text for prompt in shown for text in prompt.texts), strict=True):
        pieces = segments(text)
        same = "".join(piece.text for piece in pieces) == real
        found.append(pieces if same else [MarkedSpan(real)])
    return found


def segments(text: str) -> list[MarkedSpan]:
    """Text with marks in pieces; inside nested marks the innermost counts."""
    pieces: list[MarkedSpan] = []
    names: list[str] = []
    at = 0
    for mark in _MARK.finditer(text):
        if mark.start() > at:
            pieces.append(MarkedSpan(text[at : mark.start()], names[-1] if names else ""))
        at = mark.end()
        if mark.group(1) is not None:
            names.append(mark.group(1))
        elif names:
            names.pop()
    if at < len(text):
        pieces.append(MarkedSpan(text[at:]))
    return pieces


def source_segments(source: str, variables: Collection[str]) -> list[MarkedSpan]:
    """A template's source in pieces: each tag with the variable that it reads first."""
    tree = jinja2.Environment().parse(re.sub(r"\A\+\+\+\n.*?\n\+\+\+\n?", "", source, flags=re.DOTALL))
    sources = _sources(tree)
    pieces = []
    for piece in _SOURCE.split(source):
        words = [] if piece.startswith("{#") or not piece.startswith("{") else re.findall(r"[a-z_]+", piece)
        roots = [sources.get(word, word) for word in words]
        pieces.append(MarkedSpan(piece, next((root for root in roots if root in variables), "")))
    return [piece for piece in pieces if piece.text]


def _sources(tree: nodes.Template) -> dict[str, str]:
    """The variable behind each name that loops and assignments introduce; "" for the template's own words."""
    sources = {"loop": ""}
    bindings: list[tuple[nodes.Node, nodes.Node]] = [
        (node.target, node.node) for node in tree.find_all(nodes.Assign)
    ]
    bindings += [(node.target, node.iter) for node in tree.find_all(nodes.For)]
    for bound, value in bindings:
        for target, given in _pairs(bound, value):
            roots = [sources.get(found.name, found.name) for one in given for found in _names(one)]
            for name in _names(target):
                sources.setdefault(name.name, roots[0] if roots else "")
    return sources


def _pairs(target: nodes.Node, value: nodes.Node) -> list[tuple[nodes.Node, list[nodes.Expr]]]:
    """What each name of a target gets: column by column of a table that the template writes out."""
    rows = value.items if isinstance(value, nodes.List | nodes.Tuple) else []
    if isinstance(target, nodes.Tuple) and rows and all(isinstance(row, nodes.Tuple) for row in rows):
        tables = [row.items for row in rows if isinstance(row, nodes.Tuple)]
        return [(one, [row[place] for row in tables]) for place, one in enumerate(target.items)]
    return [(target, [value])] if isinstance(value, nodes.Expr) else []


def _names(node: nodes.Node) -> list[nodes.Name]:
    return [node] if isinstance(node, nodes.Name) else list(node.find_all(nodes.Name))


def _marked(node: nodes.Expr, sources: Mapping[str, str]) -> nodes.Expr:
    roots = (
        [] if isinstance(node, nodes.TemplateData) else [sources.get(n.name, n.name) for n in _names(node)]
    )
    found = next(filter(None, roots), None)
    if found is None:
        return node
    begin = nodes.Const(f"{OPEN}{found}{BETWEEN}", lineno=node.lineno)
    end = nodes.Const(CLOSE, lineno=node.lineno)
    return nodes.Concat([begin, node, end], lineno=node.lineno)
