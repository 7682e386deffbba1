"""What the routes share: the recommenders, the gate, the metrics; and how a route asks for them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Annotated, TypeVar

from fastapi import Depends, Query, Request

from recsys.errors import RecsysError, RequestError, UnknownDomain
from recsys.recommender.experiments import Scenarios
from recsys.recommender.recommender import Recommender
from recsys.service.observability.metrics import Metrics
from recsys.service.options import ServiceOptions
from recsys.service.security.auth import Authenticator
from recsys.service.transport.gate import Gate

T = TypeVar("T")
log = logging.getLogger(__name__)


class Service:
    """One server process: a recommender per domain, the first of them the default."""

    def __init__(self, recommenders: Mapping[str, Recommender], options: ServiceOptions) -> None:
        if not recommenders:
            raise RequestError("no domain to serve", hint="recsys serve --domain movies")
        self.recommenders = dict(recommenders)
        self.scenarios = {one.domain.name: Scenarios(one) for one in self.recommenders.values()}
        self.options = options
        self.authenticator = Authenticator(self.recommender(None).store, options.rate)
        self.metrics = Metrics()
        self.gate = Gate(options.concurrency, options.queue, self.metrics.shed.inc)
        self.metrics.waiting.set_function(lambda: self.gate.waiting)
        self.metrics.running.set_function(lambda: self.gate.running)
        self.metrics.in_flight.set_function(lambda: self.gate.waiting + self.gate.running)
        self.warming: list[threading.Thread] = []

    def recommender(self, domain: str | None) -> Recommender:
        """Raises UnknownDomain for one that is not served."""
        name = domain if domain is not None else next(iter(self.recommenders))
        try:
            return self.recommenders[name]
        except KeyError:
            served = ", ".join(self.recommenders)
            raise UnknownDomain(f"'{name[:60]}' is not served", hint=f"served are: {served}") from None

    def serving(self, recommender: Recommender, user: str | None, session: str | None = None) -> Recommender:
        """The recommender of the arms that this person is in, where the domain has scenarios."""
        return self.scenarios[recommender.domain.name].serving(user, session)

    def warm(self) -> None:
        """Start the engines in the background. One that does not start leaves the service degraded, not down."""
        for name, recommender in self.recommenders.items():
            starts = recommender.engine, *self.scenarios[recommender.domain.name].starts
            self.warming.append(threading.Thread(target=_warm, args=(name, *starts), daemon=True))
            self.warming[-1].start()

    @property
    def is_warm(self) -> bool:
        return not any(thread.is_alive() for thread in self.warming)

    async def run(self, request: Request, work: Callable[[], T]) -> T:
        """Do work that uses the engine or the index. Raises Overloaded beyond the queue."""
        return await self.gate.run(work, request.receive)

    def close(self) -> None:
        for scenarios in self.scenarios.values():
            scenarios.close()
        for recommender in self.recommenders.values():
            recommender.close()


def _warm(name: str, *starts: Callable[[], object]) -> None:
    for start in starts:
        try:
            start()
        except RecsysError as error:
            log.warning("an engine of '%s' did not start: %s", name, error.message)


def service_of(request: Request) -> Service:
    found: Service = request.app.state.service
    return found


TheService = Annotated[Service, Depends(service_of)]


def recommender_of(
    service: TheService,
    domain: Annotated[
        str | None, Query(description="by default the first that is served", max_length=60)
    ] = None,
) -> Recommender:
    return service.recommender(domain)


TheRecommender = Annotated[Recommender, Depends(recommender_of)]
