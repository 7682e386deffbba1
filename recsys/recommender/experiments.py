"""Experiments on the people who are served: who is in which arm of a scenario, and what is served there.

All scenarios of a domain run at once. Each divides the people anew, and no two set the same thing
(`Domain` sees to that), so that what one of them finds does not depend on the others.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from recsys.config import Arm, Domain, Scenario
from recsys.engine import Engine, open_engine
from recsys.engine.adapters import NONE, check_files, find_adapter, resolve_adapter
from recsys.engine.manager import EngineManager
from recsys.engine.vllm_local import on_gpu
from recsys.errors import ConfigError, RecsysError
from recsys.prompting.library import PromptLibrary
from recsys.recommender.recommender import Recommender
from recsys.utils.system import available_memory

GIB = 2**30
BESIDE_CACHE = 2  # GiB that an engine takes beside its key-value cache


def unit_of(user: str | None, session: str | None = None) -> str | None:
    """What people are divided by: the user, else the anonymous session; None for neither.

    A digest, so that it may be kept: a session id is as good as a key.
    """
    who = f"user\0{user}" if user is not None else f"session\0{session}" if session is not None else None
    return None if who is None else hashlib.sha256(who.encode(errors="replace")).hexdigest()[:32]


def assigned(name: str, scenario: Scenario, unit: str | None) -> Arm:
    """The arm of a unit, always the same; who is nobody in particular is in the control.

    Weighted rendezvous hashing (Thaler and Ravishankar, IEEE/ACM ToN 1998; Schindelhauer and
    Schomaker, SPAA 2005): where the share of one arm changes, or one comes or goes, people move to
    it or from it and nobody between the others.
    """
    if unit is None:
        return scenario.control

    def weighted_hash(arm: Arm) -> float:
        digest = hashlib.sha256(f"{name}\0{arm.name}\0{unit}".encode()).digest()
        uniform = (int.from_bytes(digest[:6]) + 0.5) / 2**48
        return arm.share / -math.log(uniform)

    return max(scenario.arms, key=weighted_hash)


class Scenarios:
    """The recommenders of a domain's arms, one for each way to combine them.

    They share store, catalogue, index and engine; each adapter that an arm names has an engine of its
    own beside that of the domain, started by the first request that needs it.
    Raises ConfigError for an arm that cannot be served: it names an adapter that is not in the
    registry, a broken template or a channel that is not in use, or memory lacks for its engine.
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
        """The recommender for this person, which has `arms` where there are any scenarios."""
        if not self._scenarios:
            return self._recommender
        unit = unit_of(user, session)
        arms = [assigned(name, scenario, unit) for name, scenario in self._scenarios.items()]
        return self._served[_names(arms)]

    @property
    def starts(self) -> list[Callable[[], Engine]]:
        """What starts the engine of each adapter, if it does not run. Raises as `Recommender.engine`."""
        return [engines.get for engines in self._engines.values()]

    def close(self) -> None:
        """Close the engines that the arms have of their own."""
        for engines in self._engines.values():
            engines.close()

    def _prepare(self, arm: Arm) -> None:
        """See whether an arm can be served by itself, and make place for its engine. Raises RecsysError."""
        domain = self._recommender.domain
        self._recommender.retriever.reweighted(arm.by_name)
        if arm.prompts is not None:
            library = PromptLibrary(variant(domain, [arm]).prompt_folder)
            for name in library.names():
                library.get(name)
        if arm.adapter is not None and arm.adapter not in self._engines:
            self._engines[arm.adapter] = self._holder(arm.adapter)

    def _holder(self, ref: str) -> EngineManager:
        domain, settings = self._recommender.domain, self._recommender.settings
        settings = settings.model_copy(update={"adapter": ref})
        if not settings.engine.startswith(("http://", "https://")):  # such a server knows adapters by name
            if ref != NONE:
                if not ref.startswith(f"{domain.name}@"):
                    raise ConfigError(f"{ref} is not an adapter of '{domain.name}'", hint="name one that is")
                check_files(find_adapter(ref, settings, domain.folder))
            self._require_memory(2 + len(self._engines))  # that of the domain, and this one
        return EngineManager(lambda: open_engine(settings, adapter=resolve_adapter(domain, settings)))

    def _require_memory(self, engines: int) -> None:
        """On a CPU an adapter is merged into a model of its own; on a GPU one engine takes nearly all memory."""
        needed = engines * (max(1, math.ceil(self._recommender.settings.kv_cache_gb)) + BESIDE_CACHE)
        gpu, free = on_gpu(), available_memory() / GIB
        if gpu or free < needed:
            why = "a GPU holds one" if gpu else f"they need about {needed} GiB, {free:.1f} are there"
            raise ConfigError(
                f"each adapter of an arm is an engine of its own in this process: {why}",
                hint="set WHYREC_ENGINE to a vLLM server that serves the adapters by their names"
                + ("" if gpu else ", lower WHYREC_KV_CACHE_GB, or name fewer adapters"),
            )

    def _variant(self, arms: Sequence[Arm]) -> Recommender:
        """The recommender of these arms, one of each scenario."""
        found = copy.copy(self._recommender)
        found.domain = variant(found.domain, arms)
        found.arms = dict(zip(self._scenarios, _names(arms), strict=True))
        for arm in arms:
            found.retriever = found.retriever.reweighted(arm.by_name)
            if arm.prompts is not None:
                found.prompts = PromptLibrary(found.domain.prompt_folder)
            if arm.adapter is not None:
                found.engines = self._engines[arm.adapter]
        return found


def variant(domain: Domain, arms: Sequence[Arm]) -> Domain:
    """The domain as these arms change it; weights and adapters are not among what it holds."""
    ranker = {name: getattr(arm.ranker, name) for arm in arms for name in arm.ranker.model_fields_set}
    prompts = next((arm.prompts for arm in arms if arm.prompts is not None), domain.prompts)
    return domain.model_copy(update={"ranker": domain.ranker.model_copy(update=ranker), "prompts": prompts})


def shares(scenario: Scenario) -> Mapping[str, float]:
    """Arm -> its share of the people; they sum to 1."""
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
