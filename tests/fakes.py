"""Stand-ins that record their calls: a tokenizer, an engine, and a small catalogue of films."""

from __future__ import annotations

import csv
import hashlib
import importlib
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recsys.config import Domain, Settings
from recsys.data.catalog import Catalog
from recsys.data.dataset import EventLog
from recsys.data.importers import import_domain
from recsys.data.store import Store
from recsys.engine.base import ContinuationScores, Generation, GenerationRequest, LabelScores, TokenIds
from recsys.errors import EngineDead, EngineError
from recsys.recommender.recommender import Recommender
from recsys.types import Candidate, HistoryEntry, Item, Place
from retrieval import build_retriever
from tests.retrieval.contract import HashEmbedder

_PIECE = re.compile(r"\w{1,8}|\s|[^\w\s]", re.DOTALL)
_BLOCK = 16  # tokens that the fake prefix cache holds or lacks together

SPECIAL_TOKENS = (
    "<|im_start|>",
    "<|im_end|>",
    "<|endoftext|>",
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "<<SYS>>",
    "<start_of_turn>",
    "<repo_name>",
)


class FakeTokenizer:
    """Splits words of up to eight letters, single signs and special tokens; `decode` undoes `encode`."""

    def __init__(self, chat_template: str | None = "chatml") -> None:
        self.chat_template = chat_template
        self.all_special_tokens = list(SPECIAL_TOKENS)
        self._ids: dict[str, int] = {token: number for number, token in enumerate(SPECIAL_TOKENS)}
        self._pieces: list[str] = list(SPECIAL_TOKENS)
        self._special = re.compile("(" + "|".join(map(re.escape, SPECIAL_TOKENS)) + ")")

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        pieces: list[str] = []
        for part in self._special.split(text):
            pieces += [part] if part in SPECIAL_TOKENS else _PIECE.findall(part)
        for piece in pieces:
            if piece not in self._ids:
                self._ids[piece] = len(self._pieces)
                self._pieces.append(piece)
        return [self._ids[piece] for piece in pieces]

    def decode(self, ids: TokenIds) -> str:
        return "".join(self._pieces[i] for i in ids)

    def specials(self, ids: TokenIds) -> list[str]:
        """The special tokens among `ids`, in order."""
        return [self._pieces[i] for i in ids if i < len(SPECIAL_TOKENS)]

    def apply_chat_template(self, conversation: list[dict[str, str]], **kwargs: Any) -> str:
        turns = [f"<|im_start|>{turn['role']}\n{turn['content']}<|im_end|>\n" for turn in conversation]
        return "".join(turns) + ("<|im_start|>assistant\n" if kwargs.get("add_generation_prompt") else "")


@dataclass(frozen=True)
class Call:
    """One request to the engine: `kind` is "labels", "continuations" or "generate"."""

    kind: str
    texts: tuple[str, ...]
    token_ids: tuple[tuple[int, ...], ...]
    labels: tuple[str, ...] = ()
    exact: bool = False
    schemas: tuple[Mapping[str, Any] | None, ...] = ()
    max_tokens: int = 1
    temperature: float = 0.0
    seed: int = 0


def hashed_score(text: str, label: str) -> float:
    """Compute a logit between -2 and 2 from the prompt and the label alone."""
    digest = hashlib.sha256(f"{label}\0{text}".encode(errors="replace")).digest()
    return int.from_bytes(digest[:4], "big") / 2**30 - 2


def hashed_logprob(text: str, token: str) -> float:
    """Compute a log p between -4 and 0 from the text before and the token alone."""
    return hashed_score(text, token) - 2


def obedient(text: str, schema: Mapping[str, Any] | None) -> str:
    """Write the simplest answer that the schema allows."""
    return "an answer" if schema is None else json.dumps(instance_of(schema))


@dataclass
class ScriptedEngine:
    """Answers by three functions and records every call. After an EngineDead it stays dead."""

    score: Callable[[str, str], float] = hashed_score  # (text, label) -> logit
    write: Callable[[str, Mapping[str, Any] | None], str] = obedient  # (text, schema) -> generated text
    say: Callable[[str, str], float] = hashed_logprob  # (text, token) -> log p of the token after the text
    tokenizer: FakeTokenizer = field(default_factory=FakeTokenizer)
    max_model_len: int = 4096
    fail_at: dict[int, EngineError] = field(default_factory=dict)  # by number of the call, from 0
    fail_in: dict[str, EngineError] = field(default_factory=dict)  # by kind of the call
    truncates: bool = False
    label_mass: float = 0.9
    model: str = "scripted"
    adapter: str | None = None
    kind: str = "scripted"
    calls: list[Call] = field(default_factory=list)
    closed: bool = False
    _n_calls: int = 0
    _cache: set[tuple[int, ...]] = field(default_factory=set)

    @property
    def prompts(self) -> list[str]:
        """Every prompt of every call, as text."""
        return [text for call in self.calls for text in call.texts]

    def of_kind(self, kind: str) -> list[Call]:
        return [call for call in self.calls if call.kind == kind]

    def label_logprobs(
        self, prompts: Sequence[TokenIds], label_ids: Sequence[int], *, exact: bool = False
    ) -> list[LabelScores]:
        labels = tuple(self.tokenizer.decode([i]) for i in label_ids)
        call = self._record(Call("labels", *self._texts_and_ids(prompts), labels=labels, exact=exact))
        return [
            LabelScores(self._logprobs(text, labels), self.label_mass, len(ids), self._cached(ids))
            for text, ids in zip(call.texts, call.token_ids, strict=True)
        ]

    def continuation_logprobs(
        self, prompts: Sequence[TokenIds], continuations: Sequence[TokenIds]
    ) -> list[ContinuationScores]:
        whole = [[*ids, *tokens] for ids, tokens in zip(prompts, continuations, strict=True)]
        call = self._record(Call("continuations", *self._texts_and_ids(whole)))
        return [
            ContinuationScores(
                tuple(
                    self.say(self.tokenizer.decode(ids[:position]), self.tokenizer.decode([ids[position]]))
                    for position in range(len(ids) - len(tokens), len(ids))
                ),
                len(ids),
                self._cached(ids),
            )
            for ids, tokens in zip(call.token_ids, continuations, strict=True)
        ]

    def generate(self, request: GenerationRequest) -> list[Generation]:
        schemas = tuple(schema for _, schema in request.pairs())
        call = self._record(
            Call(
                "generate",
                *self._texts_and_ids(request.prompts),
                schemas=schemas,
                max_tokens=request.max_tokens,
                temperature=request.temperature,
                seed=request.seed,
            )
        )
        answers = [self.write(text, schema) for text, schema in zip(call.texts, schemas, strict=True)]
        return [
            Generation(answer, self.truncates, len(ids), self._cached(ids), len(answer.split()))
            for answer, ids in zip(answers, call.token_ids, strict=True)
        ]

    def stream(self, request: GenerationRequest) -> Iterator[tuple[int, Generation]]:
        yield from enumerate(self.generate(request))

    def close(self) -> None:
        self.closed = True

    def _texts_and_ids(
        self, prompts: Sequence[TokenIds]
    ) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]:
        return tuple(self.tokenizer.decode(ids) for ids in prompts), tuple(tuple(ids) for ids in prompts)

    def _record(self, call: Call) -> Call:
        if not call.texts:
            return call
        if self.closed:
            raise EngineDead("the scripted engine was closed")
        error = self.fail_at.get(self._n_calls) or self.fail_in.get(call.kind)
        self._n_calls += 1
        if error:
            self.closed = isinstance(error, EngineDead)
            raise error
        self.calls.append(call)
        return call

    def _logprobs(self, text: str, labels: Sequence[str]) -> tuple[float, ...]:
        logits = [self.score(text, label) for label in labels]
        peak = max(logits)
        if peak == -math.inf:
            return tuple(logits)
        total = peak + math.log(math.fsum(math.exp(logit - peak) for logit in logits))
        return tuple(logit - total + math.log(self.label_mass) for logit in logits)

    def _cached(self, ids: tuple[int, ...]) -> int:
        """Count the tokens of whole blocks that an earlier prompt began with; record this one."""
        blocks = [ids[:end] for end in range(_BLOCK, len(ids), _BLOCK)]
        cached = max((len(block) for block in blocks if block in self._cache), default=0)
        self._cache.update(blocks)
        return cached


def instance_of(schema: Mapping[str, Any]) -> Any:
    """Build a value that a JSON schema of the kind used here allows."""
    if "enum" in schema:
        return schema["enum"][0]
    if schema["type"] == "array":
        n, items = schema.get("minItems", 0), schema["items"]
        if len(items.get("enum", ())) >= n:
            return list(items["enum"][:n])
        return [instance_of(items) for _ in range(n)]
    if schema["type"] == "integer":
        return schema["minimum"]
    if schema["type"] == "object":
        return {name: instance_of(schema["properties"][name]) for name in schema["required"]}
    return first_match(schema["pattern"]) if "pattern" in schema else "words"


def first_match(pattern: str) -> str:
    """Build the text a regular expression matches with first choices and without options."""
    parser = importlib.import_module("re._parser")

    def text(tokens: Iterable[Any]) -> str:
        out = ""
        for name, value in tokens:
            match str(name):
                case "LITERAL":
                    out += chr(value)
                case "BRANCH":
                    out += text(value[1][0])
                case "SUBPATTERN":
                    out += text(value[3])
                case "MAX_REPEAT":
                    out += text(value[2]) * value[0]
                case "IN":
                    out += chr(value[0][1])
                case "AT":
                    pass
                case other:
                    raise NotImplementedError(other)
        return out

    return text(parser.parse(pattern))


# id, title, year, genres, plot. One without any attribute, two of one title.
FILMS: tuple[tuple[str, str, str, str, str], ...] = (
    ("f1", "Toy Story", "1995", "Animation|Comedy", "Toys come alive"),
    ("f2", "Heat", "1995", "Action|Crime", "A thief and a policeman"),
    ("f3", "Alien", "1979", "Horror|Sci-Fi", "Something is aboard"),
    ("f4", "Blade Runner", "1982", "Sci-Fi|Noir", "He hunts the almost human"),
    ("f5", "Cape Fear", "1962", "Thriller", "A lawyer is followed"),
    ("f6", "Cape Fear", "1991", "Thriller|Crime", "A lawyer is followed again"),
    ("f7", "Fargo", "1996", "Crime|Comedy", "Snow and a wood chipper"),
    ("f8", "The Third Man", "1949", "Noir|Thriller", "Vienna after the war"),
    ("f9", "Untold", "", "", ""),
    ("f10", "Airplane!", "1980", "Comedy", "Do not eat the fish"),
    ("f11", "Metropolis", "1927", "Sci-Fi", "The city above, the city below"),
    ("f12", "Casablanca", "1942", "Drama|Romance", "Everybody comes to Rick's"),
)
# id, age, home; `new` has no interactions.
VIEWERS = (
    ("ann", "24", "55405"),
    ("bob", "53", "94043"),
    ("cat", "31", ""),
    ("dan", "40", ""),
    ("eve", "19", ""),
    ("new", "28", ""),
)
# user, item, rating, time
RATINGS = (
    ("ann", "f3", "5", "100"),
    ("ann", "f4", "4", "200"),
    ("ann", "f10", "1", "300"),
    ("ann", "f2", "3", "400"),
    ("bob", "f7", "5", "100"),
    ("bob", "f2", "4", "200"),
    ("bob", "f1", "5", "300"),
    ("cat", "f1", "5", "100"),
    ("cat", "f10", "4", "200"),
    ("dan", "f1", "4", "100"),
    ("dan", "f12", "2", "200"),
    ("eve", "f1", "3", "100"),
    ("eve", "f2", "5", "200"),
)
Row = Sequence[str]

DOMAIN = """
name = "films"
country = "US"
noun = "film"
plural = "films"
[items]
file = "items.csv"
id = "id"
title = "title"
year = "year"
description = "plot"
[items.attributes]
genre = { column = "genres", separator = "|" }
[users]
file = "users.csv"
id = "id"
home = "home"
[users.profile]
age = "age"
[interactions]
file = "events.csv"
user = "user"
item = "item"
rating = "rating"
timestamp = "time"
[feedback]
liked_at_least = 4
disliked_at_most = 2
[ranker]
n_candidates = 6
model_weight = 1.0
retriever_weight = 0.0
"""


def write_films(
    folder: Path,
    items: Iterable[Row] = FILMS,
    users: Iterable[Row] = VIEWERS,
    events: Iterable[Row] = RATINGS,
    toml: str = DOMAIN,
) -> Path:
    """Write a domain folder: domain.toml and three tables."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "domain.toml").write_text(toml, encoding="utf-8")
    tables = {
        "items": ("id,title,year,genres,plot", items),
        "users": ("id,age,home", users),
        "events": ("user,item,rating,time", events),
    }
    for name, (header, rows) in tables.items():
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerows([header.split(","), *rows])
    return folder


def build_recommender(domain: Domain, settings: Settings, engine: ScriptedEngine | None) -> Recommender:
    """Build a recommender of a domain's data with hashed vectors; without `engine` it opens its own."""
    store = Store(settings.database_url)
    import_domain(domain, store, resolve_place=lambda text: Place(city="Minneapolis", postal_code=text))
    items = store.items(domain.name)
    retriever, _ = build_retriever(
        items,
        EventLog.of(store.interactions(domain.name), [item.id for item in items], domain.feedback),
        HashEmbedder(),
        domain.retriever,
        settings.retriever_folder(domain.name),
    )
    return Recommender(domain, settings, store, Catalog(items), retriever, engine)


def reconfigure(recommender: Recommender, **changes: Any) -> None:
    """Change options of the domain that a recommender already serves."""
    domain = recommender.domain.model_copy(update=changes)
    recommender.__dict__ |= recommender.with_state(domain=domain).__dict__


def film(item_id: str, title: str = "", *genres: str, year: int | None = None, plot: str = "") -> Item:
    attributes = {"genre": genres} if genres else {}
    return Item(
        id=item_id, title=title or f"Film {item_id}", year=year, attributes=attributes, description=plot
    )


def candidate(item: Item, score: float = 1.0, **fields: Any) -> Candidate:
    return Candidate(item=item, score=score, source=fields.pop("source", "text"), **fields)


def seen(*items: Item, liked: bool | None = True) -> tuple[HistoryEntry, ...]:
    return tuple(HistoryEntry(item=item, liked=liked) for item in items)
