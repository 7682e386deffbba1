"""Mark which words of a rendered prompt came from which variable.

The templates are rendered a second time, by the code that ranking calls, in an environment that
puts marks around the output of every `{{ ... }}`. The marks are private-use characters, which
`clean_text` removes from all texts of users and items. The tokenizer is given the text without
marks, so that budget and tokens are those of the real prompt.
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
_TAG = re.compile(r"(\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\})", re.DOTALL)
_FRONT_MATTER = re.compile(r"\A\+\+\+\n.*?\n\+\+\+\n?", re.DOTALL)

# Variable -> CSS class of its colour, and where its value comes from.
ORIGINS = {
    "history": ("history", "events of this user, or titles that the request likes"),
    "context": ("context", "time, place and wish of the request"),
    "profile": ("profile", "profile of this user in the store"),
    "candidate": ("candidate", "one of the retriever's candidates"),
    "candidates": ("candidate", "the retriever's candidates"),
    "facts": ("candidate", "the retriever's facts about the candidate"),
    "letters": ("domain", "labels of the template"),
    "wish": ("context", "wish of the request"),
    "attributes": ("domain", "attributes of the domain, and some of their values"),
    "noun": ("domain", "domain.toml"),
    "plural": ("domain", "domain.toml"),
    "slots": ("evidence", "what the plan of the reason fills in: titles, facts, how they are related"),
    "examples": ("evidence", "a sentence of each form of the grammar that is true of the plan"),
}


@dataclass(frozen=True)
class MarkedSpan:
    """A span of text with the variable that it came from."""

    text: str
    variable: str = ""  # "" for the template's own words

    @property
    def css_class(self) -> str:
        """The CSS class of the variable's colour."""
        return ORIGINS.get(self.variable, ("domain", ""))[0]


class MarkingEnvironment(jinja2.Environment):
    """Puts marks around everything that an expression with variables writes."""

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        variables = _variables_of_names(tree)
        for output in tree.find_all(nodes.Output):
            output.nodes = [_mark(node, variables) for node in output.nodes]
        return tree


class MarkingLibrary(PromptLibrary):
    """The templates, rendered with marks."""

    environment = MarkingEnvironment


@dataclass(frozen=True)
class _MarkBlindTokenizer:
    """A tokenizer that does not see marks."""

    tokenizer: Tokenizer

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        return self.tokenizer.encode(_MARK.sub("", text), add_special_tokens=add_special_tokens)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tokenizer, name)


def mark_prompts(
    recommender: Recommender, name: str, prepared: Prepared, engine: Engine, prompts: Sequence[RenderedPrompt]
) -> list[list[MarkedSpan]]:
    """Split each text of rendered prompts into spans.

    A text whose spans do not add up to the very same text becomes one span without a variable.
    """
    marking = recommender.with_state(prompts=MarkingLibrary(recommender.domain.prompt_folder))
    tokenizer = cast(Tokenizer, _MarkBlindTokenizer(engine.tokenizer))
    marked_prompts = marking.render(
        name, prepared, TokenizerEngine(engine.model, tokenizer, engine.max_model_len)
    )
    marked_texts = [text for prompt in marked_prompts for text in prompt.texts]
    real_texts = [text for prompt in prompts for text in prompt.texts]
    spans_by_text = []
    for marked_text, real_text in zip(marked_texts, real_texts, strict=True):
        spans = split_marks(marked_text)
        same = "".join(span.text for span in spans) == real_text
        spans_by_text.append(spans if same else [MarkedSpan(real_text)])
    return spans_by_text


def split_marks(text: str) -> list[MarkedSpan]:
    """Split a text at its marks; inside nested marks the innermost variable counts."""
    spans: list[MarkedSpan] = []
    open_variables: list[str] = []
    start = 0
    for mark in _MARK.finditer(text):
        if mark.start() > start:
            spans.append(MarkedSpan(text[start : mark.start()], open_variables[-1] if open_variables else ""))
        start = mark.end()
        if mark.group(1) is not None:
            open_variables.append(mark.group(1))
        elif open_variables:
            open_variables.pop()
    if start < len(text):
        spans.append(MarkedSpan(text[start:]))
    return spans


def mark_source(source: str, variables: Collection[str]) -> list[MarkedSpan]:
    """Split a template's source into spans, each tag with the variable it reads first."""
    tree = jinja2.Environment().parse(_FRONT_MATTER.sub("", source))
    variables_of_names = _variables_of_names(tree)
    spans = []
    for text in _TAG.split(source):
        names = re.findall(r"[a-z_]+", text) if text.startswith(("{{", "{%")) else []
        candidates = [variables_of_names.get(name, name) for name in names]
        spans.append(MarkedSpan(text, next((name for name in candidates if name in variables), "")))
    return [span for span in spans if span.text]


def _variables_of_names(tree: nodes.Template) -> dict[str, str]:
    """Map names bound by loops and assignments to their variable, "" for constants."""
    variables = {"loop": ""}
    bindings: list[tuple[nodes.Node, nodes.Node]] = [
        (node.target, node.node) for node in tree.find_all(nodes.Assign)
    ]
    bindings += [(node.target, node.iter) for node in tree.find_all(nodes.For)]
    for bound, value in bindings:
        for target, expressions in _pair_targets(bound, value):
            roots = [
                variables.get(name.name, name.name)
                for expression in expressions
                for name in _names_in(expression)
            ]
            for name in _names_in(target):
                variables.setdefault(name.name, roots[0] if roots else "")
    return variables


def _pair_targets(target: nodes.Node, value: nodes.Node) -> list[tuple[nodes.Node, list[nodes.Expr]]]:
    """Pair names with values: the columns of a literal table where there is one."""
    rows = value.items if isinstance(value, nodes.List | nodes.Tuple) else []
    if isinstance(target, nodes.Tuple) and rows and all(isinstance(row, nodes.Tuple) for row in rows):
        tuples = [row.items for row in rows if isinstance(row, nodes.Tuple)]
        return [(name, [row[column] for row in tuples]) for column, name in enumerate(target.items)]
    return [(target, [value])] if isinstance(value, nodes.Expr) else []


def _names_in(node: nodes.Node) -> list[nodes.Name]:
    return [node] if isinstance(node, nodes.Name) else list(node.find_all(nodes.Name))


def _mark(node: nodes.Expr, variables: Mapping[str, str]) -> nodes.Expr:
    """Put marks around an expression that reads a variable."""
    if isinstance(node, nodes.TemplateData):
        return node
    roots = [variables.get(name.name, name.name) for name in _names_in(node)]
    variable = next(filter(None, roots), None)
    if variable is None:
        return node
    begin = nodes.Const(f"{OPEN}{variable}{BETWEEN}", lineno=node.lineno)
    end = nodes.Const(CLOSE, lineno=node.lineno)
    return nodes.Concat([begin, node, end], lineno=node.lineno)
