"""Online experiments: a person's arm of each scenario, and what it serves.

All scenarios of a domain run at the same time. Each assigns people independently, and no two change the
same setting (`Domain` checks it), so their results do not depend on each other.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from recsys.config import Arm, Domain, Scenario
from recsys.engine import Engine, open_engine
from recsys.engine.adapters import NONE, check_files, find_adapter, resolve_adapter
from recsys.engine.manager import EngineManager
from recsys.engine.memory import lack_of_memory
from recsys.engine.vllm_local import on_gpu
from recsys.errors import ConfigError, RecsysError
from recsys.prompting.library import PromptLibrary
from recsys.recommender.recommender import Recommender, checked_engine
from recsys.utils.system import available_memory

GIB = 2**30


def unit_of(user: str | None, session: str | None = None) -> str | None:
    """Return the key of assignment: the user, else the anonymous session, or None.

    It is a digest, so that it may be stored: a session id is as good as a key.
    """
    who = f"user\0{user}" if user is not None else f"session\0{session}" if session is not None else None
    return None if who is None else hashlib.sha256(who.encode(errors="replace")).hexdigest()[:32]


def assigned(name: str, scenario: Scenario, unit: str | None) -> Arm:
    """Return the arm of a unit, always the same one; without a unit the control.

    Weighted rendezvous hashing (Thaler and Ravishankar, IEEE/ACM ToN 1998; Schindelhauer and
    Schomaker, SPAA 2005): when the share of an arm changes, or an arm is added or removed, people
    move to or from that arm only.
    """
    if unit is None:
        return scenario.control

    def weighted_hash(arm: Arm) -> float:
        digest = hashlib.sha256(f"{name}\0{arm.name}\0{unit}".encode()).digest()
        uniform = (int.from_bytes(digest[:6]) + 0.5) / 2**48
        return arm.share / -math.log(uniform)

    return max(scenario.arms, key=weighted_hash)


class Scenarios:
    """The recommenders of a domain's arms, one for each combination of arms.

    They share store, catalogue, index and engine. Each adapter that an arm names has its own engine,
    which the first request that needs it starts.

    Raises:
        ConfigError: for an arm that cannot be served: its adapter is not in the registry, a template
            is broken, a channel is not in use, or there is too little memory for its engine.
    """

    def __init__(self, recommender: Recommender) -> None:
        self._recommender = recommender
        self._scenarios = recommender.domain.scenarios
        self._engines: dict[str, EngineManager] = {}
        for name, scenario in self._scenarios.items():
            for arm in scenario.arms:
                with _naming(name, arm):
                    self._prepare(arm)
        every = itertools.product(*(scenario.arms for scenario in self._scenarios.values()))
        self._served = {_names(arms): self._variant(arms) for arms in every} if self._scenarios else {}

    def serving(self, user: str | None, session: str | None = None) -> Recommender:
        """Return the recommender that serves this person."""
        if not self._scenarios:
            return self._recommender
        unit = unit_of(user, session)
        arms = [assigned(name, scenario, unit) for name, scenario in self._scenarios.items()]
        return self._served[_names(arms)]

    @property
    def starts(self) -> list[Callable[[], Engine]]:
        """Functions that start the engine of each adapter.

        They raise as `Recommender.engine`.
        """
        return [engines.get for engines in self._engines.values()]

    def close(self) -> None:
        """Close the engines of the arms."""
        for engines in self._engines.values():
            engines.close()

    def _prepare(self, arm: Arm) -> None:
        """Check that an arm can be served, and plan its engine. Raises RecsysError."""
        domain = self._recommender.domain
        self._recommender.retriever.reweighted(arm.by_name)
        if arm.prompts is not None:
            library = PromptLibrary(variant(domain, [arm]).prompt_folder)
            for name in library.names():
                library.get(name)
        if arm.adapter is not None and arm.adapter not in self._engines:
            self._engines[arm.adapter] = self._engine_manager(arm.adapter)

    def _engine_manager(self, ref: str) -> EngineManager:
        domain, settings = self._recommender.domain, self._recommender.settings
        settings = settings.model_copy(update={"adapter": ref})
        if not settings.is_remote:  # such a server knows adapters by name
            if ref != NONE:
                if not ref.startswith(f"{domain.name}@"):
                    raise ConfigError(f"{ref} is not an adapter of '{domain.name}'", hint="name one that is")
                check_files(find_adapter(ref, settings, domain.folder))
            self._require_memory(2 + len(self._engines))  # that of the domain, and this one

        def start() -> Engine:
            engine = open_engine(settings, adapter=resolve_adapter(domain, settings))
            return checked_engine(engine, self._recommender.prompts, domain)

        return EngineManager(start)

    def _require_memory(self, engines: int) -> None:
        """Raise ConfigError if so many engines do not fit into memory."""
        gpu = on_gpu()
        why = lack_of_memory(engines, self._recommender.settings, gpu=gpu, free=available_memory())
        if why:
            raise ConfigError(
                f"each adapter of an arm is an engine of its own in this process: {why}",
                hint="set WHYREC_ENGINE to a vLLM server that serves the adapters by their names"
                + ("" if gpu else ", lower WHYREC_KV_CACHE_GB, or name fewer adapters"),
            )

    def _variant(self, arms: Sequence[Arm]) -> Recommender:
        """Return the recommender of these arms, one of each scenario."""
        domain = variant(self._recommender.domain, arms)
        changes: dict[str, Any] = {
            "domain": domain,
            "arms": dict(zip(self._scenarios, _names(arms), strict=True)),
        }
        retriever = self._recommender.retriever
        for arm in arms:
            retriever = retriever.reweighted(arm.by_name)
            if arm.prompts is not None:
                changes["prompts"] = PromptLibrary(domain.prompt_folder)
            if arm.adapter is not None:
                changes["engines"] = self._engines[arm.adapter]
        return self._recommender.with_state(retriever=retriever, **changes)


WEIGHTS = frozenset(("model_weight", "retriever_weight", "wish_weights"))


def variant(domain: Domain, arms: Sequence[Arm]) -> Domain:
    """Return the domain with the ranker options, prompts and rules of these arms."""
    ranker = {name: getattr(arm.ranker, name) for arm in arms for name in arm.ranker.model_fields_set}
    if ranker.keys() & WEIGHTS:
        ranker = {"fitted": None} | ranker  # what an arm sets goes before what was fitted here
    prompts = next((arm.prompts for arm in arms if arm.prompts is not None), domain.prompts)
    rules = {rule.name: rule for rule in (*domain.rules, *(rule for arm in arms for rule in arm.rules))}
    changes = {"ranker": domain.ranker.model_copy(update=ranker), "prompts": prompts}
    return domain.model_copy(update=changes | {"rules": tuple(rules.values())})


def shares(scenario: Scenario) -> Mapping[str, float]:
    """Return arm -> its share of the people; shares sum to 1."""
    total = math.fsum(arm.share for arm in scenario.arms)
    return {arm.name: arm.share / total for arm in scenario.arms}


def _names(arms: Sequence[Arm]) -> tuple[str, ...]:
    return tuple(arm.name for arm in arms)


@contextmanager
def _naming(scenario: str, arm: Arm) -> Iterator[None]:
    try:
        yield
    except RecsysError as error:
        raise ConfigError(
            f"scenario '{scenario}', arm '{arm.name}': {error.message}", hint=error.hint
        ) from error
