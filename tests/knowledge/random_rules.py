"""Random worlds of items, rules and requests, and a slow second opinion about what is allowed.

The opinion is a reading of the same grammar in plain Python, which shares nothing with what it checks: an
expression is true, false or cannot be decided (None), as three-valued logic has it.
"""

from __future__ import annotations

import copy
import dataclasses
import datetime as dt
import json
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

import anyio
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from recsys.cli import app
from recsys.config import Domain, Rule, Settings
from recsys.data.batch import ImportBatch
from recsys.data.catalog import Catalog
from recsys.data.dataset import EventLog
from recsys.data.store import Store
from recsys.engine import Engine
from recsys.errors import EngineError
from recsys.recommender.recommender import Recommender
from recsys.service.api.mcp import Tools
from recsys.service.api.schemas import RecommendationRequest
from recsys.types import Filter, HistoryEntry, Interaction, Item, User
from retrieval import build_retriever
from tests.fakes import ScriptedEngine, reconfigure
from tests.retrieval.contract import HashEmbedder
from tests.service.api_calls import events_of

NOW = dt.datetime(2026, 3, 7, 21, 30, tzinfo=dt.UTC)  # a Saturday
GENRES = ("Drama", "Comedy", "Horror", "War")
RATED = ("G", "PG", "R")
DAY = 86_400.0
View = Mapping[str, Any]
"""Values by name, "item.price"; what is missing is not there."""
Opinion = Callable[[View], bool | None]

KINDS = ("forbid", "forbid", "require", "limit", "boost", "bury", "quota", "at_least", "pin")

DOMAIN: dict[str, Any] = {
    "name": "random",
    "noun": "thing",
    "plural": "things",
    "items": {
        "file": "items.csv",
        "id": "id",
        "title": "title",
        "attributes": {
            name: name for name in ("price", "genre", "mpaa", "released", "kids", "runtime", "maker")
        },
    },
    "attributes": {
        "price": {"type": "money", "currency": "USD"},
        "mpaa": {"type": "category"},
        "released": {"type": "date"},
        "kids": {"type": "flag"},
        "runtime": {"type": "duration"},
    },
    "users": {
        "file": "users.csv",
        "id": "id",
        "profile": {"age": "age", "budget": "budget", "town": "town"},
        "types": {"age": {"type": "number"}, "budget": {"type": "money", "currency": "USD"}},
    },
    "interactions": {
        "file": "events.csv",
        "user": "user",
        "item": "item",
        "timestamp": "time",
        "repeats": True,
        "context": {"company": "company"},
    },
    "folder": ".",
    "region": {"timezone": "UTC", "latitude": 50},
    "retriever": {"weights": {"repeat": 1.0, "text": 0.3, "popularity": 0.5}},
    "ranker": {"n_candidates": 6, "model_weight": 1.0},
}


@dataclass(frozen=True)
class Case:
    """One request in one world."""

    domain: Domain
    items: tuple[Item, ...]
    user: User | None
    chosen: Mapping[str, HistoryEntry]
    company: str  # "": not said
    filters: tuple[str, ...]
    k: int
    n: int
    opinions: Mapping[str, Opinion]  # text of an expression -> what it means

    def views(self, item: Item, other: Item | None = None) -> dict[str, Any]:
        """Return what an expression may read of an item in this request."""
        view: dict[str, Any] = {"now": NOW, "history": list(self.chosen)}
        view |= {"context.hour": 21, "context.weekend": True}
        view |= {"context.company": self.company} if self.company else {}
        profile = self.user.profile if self.user else {}
        view |= {f"user.{name}": profile[name] for name in ("town",) if name in profile}
        view |= {f"user.{name}": float(profile[name]) for name in ("age", "budget") if name in profile}
        view |= item_view("item", item, self.chosen)
        return view if other is None else view | item_view("other", other, self.chosen)

    def allowed(self, item: Item) -> bool:
        """Return whether no rule about one item and no filter forbids it."""
        if not all(self.opinions[text](self.views(item)) is True for text in self.filters):
            return False
        return not any(self.forbids(rule, item) for rule in self.domain.rules if "other" not in rule.when)

    def compatible(self, item: Item, other: Item) -> bool:
        """Return whether two items may stand in one list."""
        pairs = [rule for rule in self.domain.rules if "other" in rule.when]
        return not any(
            self.forbids(rule, one, two) for rule in pairs for one, two in ((item, other), (other, item))
        )

    def crowded(self, item: Item, others: Sequence[Item]) -> bool:
        """Return whether an item would make too many of one value, beside the history and others."""
        return any(
            self._counted(rule, [item], value)
            and len(self._counted(rule, [*(entry.item for entry in self.chosen.values()), *others], value))
            > round(rule.share * 100) * (len(self.chosen) + rule.first) // 100 - 1
            for rule in self.domain.rules
            if rule.do == "limit" and not rule.trial and rule.until is None
            for value in item.attributes.get(rule.by or "", ())
        )

    def _counted(self, rule: Rule, items: Sequence[Item], value: str) -> list[Item]:
        having = [item for item in items if value in item.attributes.get(rule.by or "", ())]
        return [item for item in having if self.opinions[rule.when](self.views(item)) is True]

    def forbids(self, rule: Rule, item: Item, other: Item | None = None) -> bool:
        """Return whether a rule in force leaves an item out."""
        if rule.do not in ("forbid", "require") or rule.trial or rule.until is not None:
            return False  # every `until` is past
        opinion = self.opinions[rule.when](self.views(item, other))
        return rule.missing == "forbid" if opinion is None else opinion == (rule.do == "forbid")


def item_view(root: str, item: Item, chosen: Mapping[str, HistoryEntry]) -> dict[str, Any]:
    """Return the values of an item, read in the simplest way."""
    view: dict[str, Any] = {root: item.id, f"{root}.id": item.id, f"{root}.title": item.title}
    view |= {f"{root}.year": item.year} if item.year is not None else {}
    held = {name: list(values) for name, values in item.attributes.items() if values}
    readers: dict[str, Callable[[list[str]], Any]] = {
        "price": lambda texts: float(texts[0].lstrip("$")),
        "mpaa": lambda texts: texts[0],
        "released": lambda texts: dt.datetime.fromisoformat(f"{texts[0]}T00:00:00+00:00"),
        "kids": lambda texts: texts[0] == "kids",
        "runtime": lambda texts: float(texts[0].split()[0]),
    }
    for name, texts in held.items():
        if name in readers and len(texts) == 1:
            view[f"{root}.{name}"] = readers[name](texts)
        elif name not in readers:
            view[f"{root}.{name}"] = texts
    entry = chosen.get(item.id)
    view[f"{root}.times_chosen"] = entry.times if entry else 0
    if entry and entry.timestamp is not None:
        view[f"{root}.last_chosen"] = dt.datetime.fromtimestamp(entry.timestamp, dt.UTC)
    return view


class Grammar:
    """Random expressions, each with its meaning."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.opinions: dict[str, Opinion] = {}

    def expression(self, depth: int = 2, *, pairs: bool = False) -> str:
        """Return the text of a random expression; its meaning is kept in `opinions`."""
        text, opinion = self._any(depth, pairs)
        if pairs and "other" not in text:
            more, meaning = self._pair()
            text, opinion = f"({text}) && {more}", _and(opinion, meaning)
        self.opinions[text] = opinion
        return text

    def _any(self, depth: int, pairs: bool) -> tuple[str, Opinion]:
        kind = self.rng.choice(("atom", "atom", "not", "and", "or")) if depth else "atom"
        if kind == "atom":
            return self._pair() if pairs and self.rng.random() < 0.6 else self._atom()
        left, meaning = self._any(depth - 1, pairs)
        if kind == "not":
            return f"!({left})", lambda view: None if (held := meaning(view)) is None else not held
        right, other = self._any(depth - 1, pairs)
        if kind == "and":
            return f"({left}) && ({right})", _and(meaning, other)
        return f"({left}) || ({right})", _or(meaning, other)

    def _atom(self) -> tuple[str, Opinion]:
        rng = self.rng
        number = rng.choice(("3", "3.5", "10", "7.25"))
        sign = rng.choice(("<", "<=", ">", ">=", "==", "!="))
        genre, rated, days = rng.choice(GENRES), rng.sample(RATED, 2), rng.choice((2, 40))
        span = dt.timedelta(days=days)
        atoms: list[tuple[str, Opinion]] = [
            compared("item.price", sign, number, float(number)),
            compared("item.runtime", sign, "95", 95.0),
            compared("item.year", sign, "1990", 1990),
            compared("user.age", sign, "18", 18.0),
            compared("item.times_chosen", sign, "1", 1),
            read(f'"{genre}" in item.genre', ["item.genre"], lambda held: genre in held),
            read(f"item.mpaa in {quoted(rated)}", ["item.mpaa"], lambda held: held in rated),
            read("item.kids", ["item.kids"], lambda held: held),
            read("item.price <= user.budget", ["item.price", "user.budget"], lambda a, b: a <= b),
            read('context.company != "children"', ["context.company"], lambda held: held != "children"),
            read("context.hour >= 20", ["context.hour"], lambda held: held >= 20),
            read("item in history", ["item", "history"], lambda one, many: one in many),
            read("user.town in item.maker", ["user.town", "item.maker"], lambda one, many: one in many),
            read(
                f'now - item.last_chosen < duration("{days * 24}h")',
                ["now", "item.last_chosen"],
                lambda now, last: now - last < span,
            ),
            read(
                'item.released < timestamp("2001-01-01T00:00:00Z")',
                ["item.released"],
                lambda held: held < dt.datetime(2001, 1, 1, tzinfo=dt.UTC),
            ),
            read("size(item.genre) == 1", ["item.genre"], lambda held: len(held) == 1),
        ]
        return rng.choice(atoms)

    def _pair(self) -> tuple[str, Opinion]:
        genre = self.rng.choice(GENRES)
        pairs: list[tuple[str, Opinion]] = [
            read("item.mpaa == other.mpaa", ["item.mpaa", "other.mpaa"], lambda a, b: a == b),
            read("item.price < other.price", ["item.price", "other.price"], lambda a, b: a < b),
            read(
                f'"{genre}" in item.genre && "{genre}" in other.genre',
                ["item.genre", "other.genre"],
                lambda a, b: genre in a and genre in b,
                both=lambda a, b: (
                    genre in a if a is not None else None,
                    genre in b if b is not None else None,
                ),
            ),
        ]
        return self.rng.choice(pairs)


def compared(name: str, sign: str, text: str, bound: float) -> tuple[str, Opinion]:
    """Return a comparison and its meaning."""
    meanings: dict[str, Callable[[float], bool]] = {
        "<": lambda held: held < bound,
        "<=": lambda held: held <= bound,
        ">": lambda held: held > bound,
        ">=": lambda held: held >= bound,
        "==": lambda held: held == bound,
        "!=": lambda held: held != bound,
    }
    return read(f"{name} {sign} {text}", [name], meanings[sign])


def read(
    text: str,
    names: Sequence[str],
    meaning: Callable[..., bool],
    both: Callable[[Any, Any], tuple[bool | None, bool | None]] | None = None,
) -> tuple[str, Opinion]:
    """Return a text that cannot be decided where a name is missing; `both` is of two joined by `&&`."""

    def opinion(view: View) -> bool | None:
        values = [view.get(name) for name in names]
        if both is not None:
            return _conjunction(*both(*values))
        return None if any(value is None for value in values) else bool(meaning(*values))

    return text, opinion


def _conjunction(a: bool | None, b: bool | None) -> bool | None:
    if a is False or b is False:
        return False
    return None if a is None or b is None else True


def _and(left: Opinion, right: Opinion) -> Opinion:
    return lambda view: _conjunction(left(view), right(view))


def _or(left: Opinion, right: Opinion) -> Opinion:
    def either(view: View) -> bool | None:
        a, b = left(view), right(view)
        if a is True or b is True:
            return True
        return None if a is None or b is None else False

    return either


def quoted(values: Sequence[str]) -> str:
    """Return a list of texts as CEL writes it."""
    return "[" + ", ".join(f'"{value}"' for value in values) + "]"


@dataclass
class World:
    """A random catalogue with its people; cases differ in rules and requests."""

    rng: random.Random
    n_items: int = 40
    items: tuple[Item, ...] = field(init=False)
    users: tuple[User, ...] = field(init=False)
    chosen: dict[str, dict[str, HistoryEntry]] = field(init=False)

    def __post_init__(self) -> None:
        self.items = tuple(self._item(number) for number in range(self.n_items))
        self.users = tuple(self._user(number) for number in range(6))
        self.chosen = {user.id: self._history() for user in self.users}

    def case(self) -> Case:
        """Return a random request under random rules."""
        rng, grammar = self.rng, Grammar(self.rng)
        rules = tuple(self._rule(f"r{number}", grammar) for number in range(rng.randint(0, 5)))
        user = rng.choice((*self.users, None))
        filters = tuple(grammar.expression(1) for _ in range(rng.choice((0, 0, 0, 1, 2))))
        filters = tuple(text for text in filters if "item" in text)
        k = rng.randint(1, 8)
        return Case(
            Domain.model_validate(DOMAIN | {"rules": rules}),
            self.items,
            user,
            self.chosen[user.id] if user else {},
            rng.choice(("", "", "children", "friends")),
            filters,
            k,
            rng.randint(k, 12),
            grammar.opinions,
        )

    def _rule(self, name: str, grammar: Grammar) -> Rule:
        rng = self.rng
        do = rng.choice(KINDS)
        hard = do in ("forbid", "require")
        options: dict[str, Any] = {"missing": rng.choice(("allow", "forbid"))} if hard else {}
        if do in ("quota", "at_least"):
            options |= {"n": rng.randint(0, 3), "first": rng.randint(1, 5)}
        if do == "limit":
            options |= {"by": rng.choice(("mpaa", "genre", "maker")), "share": rng.choice((0.3, 0.5, 0.8))}
            options |= {"first": rng.randint(1, 5)}
        if rng.random() < 0.08:
            options["until"] = dt.date(2020, 1, 1)
        if rng.random() < 0.08:
            options["trial"] = True
        when = grammar.expression(pairs=hard and rng.random() < 0.3)
        return Rule.model_validate({"name": name, "do": do, "when": when} | options)

    def _item(self, number: int) -> Item:
        rng = self.rng
        attributes: dict[str, tuple[str, ...]] = {
            "price": (f"${rng.choice((1, 3, 3.5, 7.25, 10, 12)):.2f}",),
            "genre": tuple(rng.sample(GENRES, rng.randint(1, 3))),
            "mpaa": tuple(rng.sample(RATED, rng.choice((1, 1, 1, 2)))),
            "released": (f"{rng.randint(1990, 2010)}-0{rng.randint(1, 9)}-11",),
            "kids": (rng.choice(("kids", "not kids")),),
            "runtime": (f"{rng.choice((80, 95, 120))} minutes",),
            "maker": tuple(rng.sample(("Oslo", "Rome", "Lima"), rng.randint(1, 2))),
        }
        held = {name: values for name, values in attributes.items() if rng.random() < 0.8}
        year = rng.choice((None, 1985, 1990, 1999))
        return Item(id=f"i{number:02}", title=f"Thing {number}", year=year, attributes=held)

    def _user(self, number: int) -> User:
        rng = self.rng
        profile = {"age": rng.choice(("12", "18", "40")), "budget": rng.choice(("3", "7.25"))}
        profile["town"] = rng.choice(("Oslo", "Rome", "Bern"))
        held = {name: value for name, value in profile.items() if rng.random() < 0.75}
        return User(id=f"u{number}", profile=held)

    def _history(self) -> dict[str, HistoryEntry]:
        rng = self.rng
        items = rng.sample(self.items, rng.randint(0, 8))
        times = {item.id: NOW.timestamp() - rng.choice((1.0, 10.0, 90.0)) * DAY for item in items}
        return {
            item.id: HistoryEntry(item=item, timestamp=times[item.id])
            for item in sorted(items, key=lambda item: (times[item.id], item.id))
        }


def recommender_of(world: World, folder: Path, engine: ScriptedEngine | None) -> Recommender:
    """Return a recommender of a world, without rules."""
    domain = Domain.model_validate(DOMAIN)
    settings = Settings(cache_dir=folder / "cache", data_dir=folder)
    store = Store(settings.database_url)
    events = sorted(
        (
            Interaction(user_id=user, item_id=item, timestamp=entry.timestamp)
            for user, chosen in world.chosen.items()
            for item, entry in chosen.items()
        ),
        key=lambda event: event.timestamp or 0,
    )
    batch = ImportBatch(items=world.items, users=world.users, interactions=tuple(events))
    store.import_batch(domain.name, batch)
    log = EventLog.of(store.interactions(domain.name), [item.id for item in world.items], domain.feedback)
    retriever, _ = build_retriever(world.items, log, HashEmbedder(), domain.retriever, folder)
    kind = WithoutEngine if engine is None else Recommender
    return kind(domain, settings, store, Catalog(world.items), retriever, engine)


class WithoutEngine(Recommender):
    """One whose engine does not start."""

    def _start_engine(self) -> Engine:
        raise EngineError("there is none")


Surface = Callable[["Served", Case], list[str]]


@dataclass
class Served:
    """A world behind every surface; a case replaces its rules."""

    world: World
    recommender: Recommender
    client: TestClient

    def answer(self, surface: str, case: Case) -> list[Item]:
        """Return the items that a surface answers with."""
        reconfigure(self.recommender, rules=case.domain.rules)
        by_id = {item.id: item for item in case.items}
        return [by_id[item_id] for item_id in SURFACES[surface](self, case)]


def _options(case: Case) -> dict[str, Any]:
    return {
        "user": case.user.id if case.user else None,
        "at": NOW.isoformat(),
        "extra": {"company": case.company} if case.company else {},
        "rule": {"expressions": list(case.filters)} if case.filters else None,
        "n_candidates": case.n,
        "k": case.k,
    }


def _python_options(case: Case) -> dict[str, Any]:
    return _options(case) | {"rule": Filter(expressions=case.filters), "reasons": False}


def _python(served: Served, case: Case) -> list[str]:
    return [line.item.id for line in served.recommender.recommend(**_python_options(case))]


def _stream(served: Served, case: Case) -> list[str]:
    first = next(iter(served.recommender.stream(**_python_options(case))))
    assert first.answer is not None
    return [line.item.id for line in first.answer]


def _similar(served: Served, case: Case) -> list[str]:
    options = _python_options(case)
    options.pop("reasons")
    return [line.item.id for line in served.recommender.similar(case.items[0].id, **options)]


def _http(served: Served, case: Case) -> list[str]:
    response = served.client.post("/v1/recommendations", json=_options(case) | {"reasons": False})
    assert response.status_code == 200, response.text
    return [line["item"]["id"] for line in response.json()["recommendations"]]


def _events(served: Served, case: Case) -> list[str]:
    headers = {"Accept": "text/event-stream"}
    response = served.client.post(
        "/v1/recommendations", json=_options(case) | {"reasons": False}, headers=headers
    )
    assert response.status_code == 200, response.text
    whole = dict(events_of(response.text)).get("done")
    assert whole is not None, response.text
    return [line["item"]["id"] for line in whole["recommendations"]]


def _page(served: Served, case: Case) -> list[str]:
    options = {
        name: value for name, value in _options(case).items() if value and name not in ("rule", "extra")
    }
    pairs = [*options.items(), ("whole", "1"), *(("where", text) for text in case.filters)]
    response = served.client.get("/", params=pairs)
    assert response.status_code == 200, response.text
    return re.findall(r"/why\?domain=\w+&amp;item=([\w%.-]+)", response.text)


def _mcp(served: Served, case: Case) -> list[str]:
    service = served.client.app.state.service  # type: ignore[attr-defined]
    request = RecommendationRequest.model_validate(_options(case) | {"reasons": False})
    context = SimpleNamespace(request_context=SimpleNamespace(request=None))
    answer = anyio.run(Tools(service).recommend, request, cast(Any, context))
    return [line.item.id for line in answer]


def _command(served: Served, case: Case) -> list[str]:
    options = _options(case)
    arguments = ["recommend", "--domain", "random", "--json", "--no-reasons", "--at", options["at"]]
    arguments += ["-k", str(case.k), "--n-candidates", str(case.n)]
    arguments += ["--user", case.user.id] if case.user else []
    arguments += ["--fact", f"company={case.company}"] if case.company else []
    for text in case.filters:
        arguments += ["--where", text]
    with (
        patch.object(Recommender, "load", lambda *_, **__: copy.copy(served.recommender)),
        patch.object(Recommender, "close", lambda *_: None),
    ):
        result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return [line["item"]["id"] for line in json.loads(result.stdout)["recommendations"]]


SURFACES: dict[str, Surface] = {
    "python": _python,
    "stream": _stream,
    "similar": _similar,
    "http": _http,
    "events": _events,
    "page": _page,
    "mcp": _mcp,
    "command": _command,
}


def violations(case: Case, answer: Sequence[Item], surface: str = "python") -> list[str]:
    """Return what is wrong with a list: what it must not have, and what it lacks."""
    if surface == "similar":  # what somebody likes who likes the first item
        entry = {case.items[0].id: HistoryEntry(item=case.items[0])}
        case = dataclasses.replace(case, chosen=entry | dict(case.chosen))
        case = dataclasses.replace(case, items=case.items[1:])
    problems = [f"{item.id} is forbidden" for item in answer if not case.allowed(item)]
    problems += [
        f"{item.id} cannot stand beside {other.id}"
        for number, item in enumerate(answer)
        for other in answer[:number]
        if not case.compatible(item, other)
    ]
    problems += [
        f"{item.id} is one of too many"
        for number, item in enumerate(answer)
        if case.crowded(item, answer[:number])
    ]
    if len({item.id for item in answer}) < len(answer):
        problems.append("an item comes twice")
    if len(answer) < case.k:
        left = [item for item in case.items if item not in answer and case.allowed(item)]
        problems += [
            f"{item.id} is allowed and not found"
            for item in left
            if all(case.compatible(item, other) for other in answer) and not case.crowded(item, answer)
        ][:1]
    return problems
