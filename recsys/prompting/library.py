"""The only render path: finds, renders, budgets and hashes prompts.

Ranking, fine-tuning, `recsys prompt render` and the web inspector all call `PromptLibrary.render`, so
the inspected prompt is the one that is sent.

A template is a Jinja file with TOML front matter and three blocks:

    +++
    task = "rank.pointwise"
    version = 1
    variables = ["history", "candidate"]
    labels = ["Yes", "No"]
    +++
    {% block system %}...{% endblock %}
    {% block shared %}   the same for every candidate of a request   {% endblock %}
    {% block suffix %}   what differs                                {% endblock %}

`shared` and `suffix` together are the user's turn in the model's chat template. They are tokenised
separately, so that the shared part has the same tokens in every prompt and hits the engine's prefix
cache.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import jinja2.meta
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recsys.engine.base import CACHE_BLOCK, Tokenizer
from recsys.errors import PromptError
from recsys.prompting.chat import chat_frame
from recsys.utils.sanitize import clean_text

BLOCKS = ("system", "shared", "suffix")

_FRONT_MATTER = re.compile(r"\A\+\+\+\n(.*?)\n\+\+\+\n?", re.DOTALL)


class FrontMatter(BaseModel):
    """The metadata at the top of a template."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: str
    version: int = Field(ge=1)
    variables: tuple[str, ...]
    labels: tuple[str, ...] = ()  # answers whose log-probabilities are scored
    description: str = ""


@dataclass(frozen=True)
class PromptTemplate:
    """One template with its metadata."""

    name: str
    path: Path
    source: str
    meta: FrontMatter
    hash: str  # of its source and of all partials that it includes


@dataclass(frozen=True)
class RenderedPrompt:
    """Prompts of one request that share a prefix: `head` + one of `tails`."""

    template: PromptTemplate
    head: str
    tails: tuple[str, ...]
    head_ids: tuple[int, ...]  # tokens of `head`
    tail_ids: tuple[tuple[int, ...], ...]  # tokens of each of `tails`
    dropped: int = 0  # history entries, oldest first, that were left out
    variables: Mapping[str, Any] = field(default_factory=dict)

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(self.head + tail for tail in self.tails)

    @property
    def token_ids(self) -> list[list[int]]:
        return [[*self.head_ids, *tail] for tail in self.tail_ids]

    @property
    def tokens(self) -> int:
        """Tokens of the longest prompt."""
        return len(self.head_ids) + max(map(len, self.tail_ids))


def english_list(names: Sequence[str]) -> str:
    """Join names as in a sentence, "a, b and c": the templates' filter `listed`."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def placeholder(name: str) -> str:
    """Return the placeholder of an id: "{h1}". The filter `braced` of templates."""
    return f"{{{name}}}"


class PromptLibrary:
    """Templates by name ("rank/pointwise").

    Args:
        overrides: A domain's own folder, searched before the shipped one.
        clean: Makes text of people and items harmless. Replaced only to measure its effect.
    """

    environment: type[jinja2.Environment] = jinja2.Environment

    def __init__(self, overrides: Path | None = None, clean: Callable[..., str] = clean_text) -> None:
        shipped = Path(__file__).resolve().parents[2] / "prompts"
        if overrides is not None and not overrides.is_dir():
            raise PromptError(f"no prompt folder {overrides}", hint="correct `prompts` in domain.toml")
        self.folders = [folder for folder in (overrides, shipped) if folder is not None]
        self._templates: dict[str, PromptTemplate] = {}
        self._environment = self.environment(
            loader=jinja2.FunctionLoader(self._load_source),
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            autoescape=False,  # plain text for a model; `clean` sanitises what goes in
        )
        self._environment.filters |= {"clean": clean, "listed": english_list, "braced": placeholder}

    def names(self) -> list[str]:
        """List every template, sorted; partials, which have no front matter, are none."""
        names = {
            path.relative_to(folder).with_suffix("").as_posix()
            for folder in self.folders
            for path in folder.rglob("*.j2")
            if path.relative_to(folder).parts[0] != "partials"
        }
        return sorted(names)

    def get(self, name: str) -> PromptTemplate:
        """Return a template.

        Raises:
            PromptError: It is missing, or its front matter is wrong.
        """
        if name not in self._templates:
            self._templates[name] = self._parse(name)
        return self._templates[name]

    def render_block(self, name: str, block: str, variables: Mapping[str, Any]) -> str:
        """Render one block of a template; "" if it has no such block."""
        template = self.get(name)
        try:
            compiled = self._environment.get_template(name)
            if block not in compiled.blocks:
                return ""
            context = compiled.new_context(dict(variables))
            return "".join(compiled.blocks[block](context)).strip("\n")
        except jinja2.TemplateError as error:
            raise PromptError(f"{template.path}: {error}", hint="fix the template") from error

    def render(
        self,
        name: str,
        tokenizer: Tokenizer,
        variables: Mapping[str, Any],
        suffixes: Sequence[Mapping[str, Any]] = ({},),
        *,
        max_tokens: int,
        spare: int = 0,
    ) -> RenderedPrompt:
        """Render one prompt per entry of `suffixes`, all sharing one prefix.

        Args:
            name: Of the template.
            tokenizer: Of the model.
            variables: For all blocks. `history`, oldest first, is cut at its old end until the longest
                prompt fits.
            suffixes: Variables of each suffix.
            max_tokens: Most tokens of a prompt.
            spare: Most further history entries to leave out, one in five at most, where the prefix then
                ends closer to a whole block of the engine's cache: tokens beyond it are computed again
                for every suffix.

        Raises:
            PromptError: Variables are missing (all are named), or a prompt does not fit even without
                history.
        """
        template = self.get(name)
        missing = sorted(set(template.meta.variables) - set(variables) - set(suffixes[0]))
        if missing:
            raise PromptError(
                f"{template.path}: missing variables: {', '.join(missing)}",
                hint="pass them, or remove them from the front matter",
            )
        history = list(variables.get("history", ()))
        frame = chat_frame(tokenizer, self.render_block(name, "system", variables))
        tails = tuple(
            self.render_block(name, "suffix", {**variables, **differing}) + frame.after
            for differing in suffixes
        )
        tail_ids = tuple(tuple(tokenizer.encode(tail, add_special_tokens=False)) for tail in tails)

        def with_history(kept: int) -> RenderedPrompt:
            used = (
                {**variables, "history": history[len(history) - kept :]}
                if "history" in variables
                else dict(variables)
            )
            head = frame.before + self.render_block(name, "shared", used) + "\n"
            head_ids = tuple(tokenizer.encode(head, add_special_tokens=False))
            return RenderedPrompt(
                template, head, tails, head_ids, tail_ids, dropped=len(history) - kept, variables=used
            )

        best = _longest_fit(max_tokens, with_history, len(history))
        if best.tokens > max_tokens:
            raise PromptError(
                f"{template.path}: {best.tokens} tokens without any history, the budget is {max_tokens}",
                hint="raise ranker.max_prompt_tokens, or lower n_candidates",
            )
        kept = len(history) - best.dropped
        shorter = (with_history(kept - n) for n in range(1, min(spare, kept // 5) + 1))
        return min((best, *shorter), key=lambda prompt: len(prompt.head_ids) % CACHE_BLOCK)

    def _parse(self, name: str) -> PromptTemplate:
        path = self._find(name)
        source = path.read_text(encoding="utf-8")
        match = _FRONT_MATTER.match(source)
        if not match:
            raise PromptError(f"{path}: no front matter", hint="start it with +++, TOML, +++")
        try:
            meta = FrontMatter.model_validate(tomllib.loads(match.group(1)))
            sources = self._sources(name)
        except (tomllib.TOMLDecodeError, ValidationError) as error:
            raise PromptError(
                f"{path}: front matter: {error}", hint="it needs task, version, variables"
            ) from error
        except jinja2.TemplateSyntaxError as error:
            raise PromptError(
                f"{path}, line {error.lineno}: {error.message}", hint="fix the template"
            ) from error
        digest = hashlib.sha256(json.dumps(sources, sort_keys=True).encode()).hexdigest()[:12]
        return PromptTemplate(name=name, path=path, source=source, meta=meta, hash=digest)

    def _sources(self, name: str) -> dict[str, str]:
        """Return the sources of a template and its partials, all of which its hash covers."""
        sources: dict[str, str] = {}
        pending = [name]
        while pending:
            current = pending.pop()
            if current in sources:
                continue
            sources[current] = self._find(current).read_text(encoding="utf-8")
            tree = self._environment.parse(_FRONT_MATTER.sub("", sources[current]))
            pending += filter(None, jinja2.meta.find_referenced_templates(tree))
        return sources

    def file(self, name: str) -> Path:
        """Return the path of a file next to the templates; overrides come first."""
        for folder in self.folders:
            path = (folder / name).resolve()
            if path.is_file() and path.is_relative_to(folder.resolve()):
                return path
        raise PromptError(f"no file '{name}' in {', '.join(map(str, self.folders))}", hint="restore the file")

    def _find(self, name: str) -> Path:
        try:
            return self.file(f"{name}.j2")
        except PromptError:
            raise PromptError(
                f"no template '{name}'", hint=f"use one of: {', '.join(self.names())}"
            ) from None

    def _load_source(self, name: str) -> str:
        return _FRONT_MATTER.sub("", self._find(name).read_text(encoding="utf-8"))


def _longest_fit(
    max_tokens: int, with_history: Callable[[int], RenderedPrompt], length: int
) -> RenderedPrompt:
    """Render with the most of `length` history entries that fit, found by bisection.

    Without history, where none fit.
    """
    full = with_history(length)
    if full.tokens <= max_tokens:
        return full
    low, high = 0, length  # the largest number that fits is in [low, high)
    best = with_history(0)  # may be longer than with a short history: it says that there is none
    while high - low > 1:
        middle = (low + high) // 2
        attempt = with_history(middle)
        if attempt.tokens <= max_tokens:
            low, best = middle, attempt
        else:
            high = middle
    return best
