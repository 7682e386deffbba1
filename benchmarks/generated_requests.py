"""Requests of the generated people of medicine and finance, and a second opinion about the answers.

The opinion reads the generators' own tables (`Clinic`, `Market`), not the rules of the domain.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from fastapi.testclient import TestClient

from recsys.config import Domain, load_domain
from recsys.data.importers.files import given_folder
from recsys.data.synthetic import investors, patients
from recsys.data.synthetic.investors import Market
from recsys.data.synthetic.patients import Clinic
from recsys.recommender.recommender import Recommender
from recsys.service.app import create_app
from recsys.service.options import ServiceOptions
from recsys.types import Item, User
from tests.fakes import ScriptedEngine
from tests.knowledge.random_rules import SURFACES, WithoutEngine

STRANGERS = 0.03  # share of the requests about somebody who is not known
SECTOR_SHARE, SECTOR_FIRST = 0.4, 5  # as the limit of domains/finance says


@dataclass(frozen=True)
class GeneratedCase:
    """One request of a generated person, as `tests.knowledge.random_rules` asks the surfaces."""

    user: User | None
    taken: tuple[str, ...]  # ids of what they have
    items: tuple[Item, ...]  # the first is what similar items are asked of
    k: int
    n: int
    company: str = ""
    filters: tuple[str, ...] = ()


class Opinion(Protocol):
    """Says what must not be in a list."""

    def forbidden(self, user: User | None, held: Collection[str], listed: Sequence[str]) -> list[str]:
        """Return what is wrong with each item of a list, in words."""
        ...


@dataclass(frozen=True)
class MedicalOpinion:
    """Asks the clinic that wrote the prescriptions, for each item beside those above it."""

    clinic: Clinic

    @cached_property
    def _rows(self) -> Mapping[str, int]:
        return {one.id: row for row, one in enumerate(self.clinic.pharmacy.medications)}

    @cached_property
    def _patients(self) -> Mapping[str, patients.Patient]:
        return {one.id: one for one in self.clinic.patients}

    def forbidden(self, user: User | None, held: Collection[str], listed: Sequence[str]) -> list[str]:
        """Return the medications that the clinic would not give beside the others."""
        anybody = patients.Patient("", "", 200, False, "", ())
        patient = self._patients.get(user.id, anybody) if user else anybody
        beside = [self._rows[one] for one in held]
        problems = []
        for one in listed:
            if not self.clinic.allows(patient, self._rows[one], beside):
                problems.append(f"{one} beside {[*held, *listed]}")
            beside.append(self._rows[one])
        return problems


@dataclass(frozen=True)
class FinancialOpinion:
    """Reads instruments and investors as they were generated."""

    market: Market

    @cached_property
    def _instruments(self) -> Mapping[str, Any]:
        return {one.id: one for one in self.market.instruments}

    @cached_property
    def _investors(self) -> Mapping[str, Any]:
        return {one.id: one for one in self.market.investors}

    def forbidden(self, user: User | None, held: Collection[str], listed: Sequence[str]) -> list[str]:
        """Return what an investor may not be offered, and sectors above their share."""
        investor = self._investors.get(user.id) if user else None
        if investor is None:
            return [f"{one} for nobody known" for one in listed]
        problems = []
        for one in map(self._instruments.__getitem__, listed):
            if (
                one.risk > investor.tolerance
                or (one.complex and investor.knowledge != "advanced")
                or one.sold_in not in ("everywhere", investor.market)
                or set(one.sensitive) & set(investor.excludes)
            ):
                problems.append(f"{one.id} for {investor}")
        room = int(SECTOR_SHARE * 100) * (len(held) + SECTOR_FIRST) // 100
        sectors = [self._instruments[one].sector for one in (*held, *listed)]
        offered = {self._instruments[one].sector for one in listed} - {"", "several"}
        counts = Counter(sectors)
        return problems + [
            f"{counts[name]} of {name}, {room} may be" for name in offered if counts[name] > room
        ]


def opinion_of(domain: Domain) -> Opinion:
    """Return the second opinion of medicine or finance."""
    if domain.name == "medicine":
        return MedicalOpinion(patients.clinic(given_folder(domain)))
    return FinancialOpinion(investors.market(given_folder(domain)))


@dataclass
class ServedDomain:
    """A generated domain behind every surface."""

    recommender: Recommender
    client: TestClient
    opinion: Opinion
    users: tuple[User, ...] = field(init=False)
    taken: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        name = self.recommender.domain.name
        self.users = tuple(self.recommender.store.all_users(name))
        for event in self.recommender.store.interactions(name):
            self.taken[event.user_id] = (*self.taken.get(event.user_id, ()), event.item_id)

    def case(self, rng: random.Random) -> GeneratedCase:
        """Return a random request."""
        user = rng.choice(self.users) if rng.random() >= STRANGERS else None
        k = rng.randint(1, 12)
        items = self.recommender.catalog
        chosen = rng.choice(self.known_items)
        taken = self.taken.get(user.id, ()) if user else ()
        return GeneratedCase(user, taken, (items.get(chosen),), k, rng.randint(k, 40))  # type: ignore[arg-type]

    @cached_property
    def known_items(self) -> list[str]:
        """The ids of the catalogue."""
        return sorted(item.id for item in self.recommender.catalog)

    def violations(self, case: GeneratedCase, surface: str) -> tuple[list[str], int]:
        """Ask a surface; return what is wrong with its answer, and the length of the answer."""
        listed = SURFACES[surface](self, case)  # type: ignore[arg-type]
        held = list(case.taken) + ([case.items[0].id] if surface == "similar" else [])
        problems = self.opinion.forbidden(case.user, list(dict.fromkeys(held)), listed)
        problems += ["an item comes twice"] * (len(set(listed)) < len(listed))
        problems += [f"{one} is there already" for one in set(listed).intersection(held)]
        return problems, len(listed)


@contextmanager
def served_domain(name: str, *, with_engine: bool) -> Iterator[ServedDomain]:
    """Serve a domain, without an engine or with one that answers at once."""
    kind = Recommender if with_engine else WithoutEngine
    with kind.load(name, engine=ScriptedEngine() if with_engine else None) as recommender:
        app = create_app({name: recommender}, ServiceOptions())
        with TestClient(app, "http://localhost", client=("127.0.0.1", 5000)) as client:
            yield ServedDomain(recommender, client, opinion_of(load_domain(name)))
