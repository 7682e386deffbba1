"""What routes share, and the dependencies by which they get it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Annotated, TypeVar

from fastapi import Depends, Query, Request

from recsys.config import Domain
from recsys.data.store import Store
from recsys.errors import RecsysError, RequestError, UnknownDomain
from recsys.recommender.experiments import Scenarios
from recsys.recommender.recommender import Recommender
from recsys.service.observability.metrics import Metrics
from recsys.service.options import ServiceOptions
from recsys.service.security.auth import Authenticator, Principal
from recsys.service.security.limits import Work
from recsys.service.transport.concurrency import ConcurrencyLimiter
from recsys.service.transport.problems import ServiceError

T = TypeVar("T")
log = logging.getLogger(__name__)


class Service:
    """One server process: a recommender per domain, the first of them the default."""

    def __init__(self, recommenders: Mapping[str, Recommender], options: ServiceOptions) -> None:
        if not recommenders:
            raise RequestError("no domain to serve", hint="recsys serve --domain movies")
        self.recommenders = dict(recommenders)
        self.scenarios = {
            recommender.domain.name: Scenarios(recommender) for recommender in self.recommenders.values()
        }
        self.options = options
        self.authenticator = Authenticator(self.recommender(None).store, options.rate)
        self.metrics = Metrics()
        self.limiter = ConcurrencyLimiter(options.concurrency, options.queue, self.metrics.shed.inc)
        self.metrics.waiting.set_function(lambda: self.limiter.waiting)
        self.metrics.running.set_function(lambda: self.limiter.running)
        self.metrics.in_flight.set_function(lambda: self.limiter.waiting + self.limiter.running)
        self._warming: list[threading.Thread] = []

    def recommender(self, domain: str | None) -> Recommender:
        """Return the recommender of a domain, by default the first. Raises UnknownDomain."""
        name = domain if domain is not None else next(iter(self.recommenders))
        try:
            return self.recommenders[name]
        except KeyError:
            served = ", ".join(self.recommenders)
            raise UnknownDomain(f"'{name[:60]}' is not served", hint=f"served are: {served}") from None

    def recommender_for(
        self, recommender: Recommender, user: str | None, session: str | None = None
    ) -> Recommender:
        """Return the recommender of the arms that a user or session is assigned to."""
        return self.scenarios[recommender.domain.name].serving(user, session)

    def warm(self) -> None:
        """Start the engines in the background. If one fails, answers are degraded."""
        for name, recommender in self.recommenders.items():
            starts = recommender.engine, *self.scenarios[recommender.domain.name].starts
            self._warming.append(threading.Thread(target=_start_engines, args=(name, *starts), daemon=True))
            self._warming[-1].start()

    @property
    def is_warm(self) -> bool:
        """Whether no engine is just starting."""
        return not any(thread.is_alive() for thread in self._warming)

    def admit(self, request: Request | None, recommender: Recommender, work: Callable[[int], Work]) -> None:
        """Count the work of a request, which its key has to allow.

        Args:
            request: What was sent, None over stdio.
            recommender: Of the domain.
            work: The work, from the number of candidates that the domain has ranked by default.

        Raises:
            ServiceError: 403, no scope of the key allows so many candidates; 422, or `RateLimited`: the
                rate of the key does not allow so much work.
        """
        caller: Principal | None = getattr(request.state, "caller", None) if request else None
        if caller is None:
            return
        default = recommender.domain.ranker.n_candidates
        wanted = work(default)
        allowed = max(default, *(getattr(self.options.max_candidates, scope) for scope in caller.scopes))
        if wanted.candidates > allowed:
            message = f"the key '{caller.name}' may not have {wanted.candidates} candidates ranked"
            raise ServiceError(403, message, hint=f"ask for {allowed} or less, k included")
        if caller.allowance:
            caller.allowance.spend(wanted.units, counted=1)

    async def run(self, request: Request, work: Callable[[], T]) -> T:
        """Run work that needs the engine or the index. Raises Overloaded."""
        return await self.limiter.run(work, request.receive)

    def close(self) -> None:
        """Close all recommenders."""
        for scenarios in self.scenarios.values():
            scenarios.close()
        for recommender in self.recommenders.values():
            recommender.close()


def _start_engines(name: str, *starts: Callable[[], object]) -> None:
    for start in starts:
        try:
            start()
        except RecsysError as error:
            log.warning("an engine of '%s' did not start: %s", name, error.message)


def service_of(request: Request) -> Service:
    """Return the service of the app."""
    service: Service = request.app.state.service
    return service


ServiceDep = Annotated[Service, Depends(service_of)]


def recommender_of(
    service: ServiceDep,
    domain: Annotated[
        str | None, Query(description="by default the first that is served", max_length=60)
    ] = None,
) -> Recommender:
    """Return the recommender of `?domain=`."""
    return service.recommender(domain)


RecommenderDep = Annotated[Recommender, Depends(recommender_of)]


def store_of(recommender: RecommenderDep) -> Store:
    """Return the store of the domain."""
    return recommender.store


StoreDep = Annotated[Store, Depends(store_of)]


def domain_of(recommender: RecommenderDep) -> Domain:
    """Return the domain of the request."""
    return recommender.domain


DomainDep = Annotated[Domain, Depends(domain_of)]
