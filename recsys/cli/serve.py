"""`recsys serve`: the HTTP service."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from recsys.cli.output import ProgressBars
from recsys.errors import MissingDependency, RequestError

LAST_WORDS_S = 2  # to send what was answered, once nothing runs any more

DomainsOption = Annotated[
    list[str] | None,
    typer.Option("--domain", "-d", help="Name or folder; repeatable, the first is the default."),
]


def serve(
    domain: DomainsOption = None,
    host: Annotated[
        str, typer.Option(help="Address to listen at. Beyond loopback keys are asked for.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8000,
) -> None:
    """Serve recommendations over HTTP; /docs describes it. WHYREC_SERVE_* sets its bounds."""
    try:
        import uvicorn

        from recsys.service.app import create_app
        from recsys.service.observability.logs import log_json
        from recsys.service.options import ServiceOptions
        from recsys.service.security.auth import check_bind
        from recsys.service.security.log_redaction import install
        from recsys.service.transport.draining import Server
    except ImportError as error:
        raise MissingDependency(
            f"serving needs '{error.name}'", hint="pip install 'whyrec[serve]'"
        ) from error

    options = ServiceOptions()
    recommenders = load_all(domain or ["movies"])
    check_bind(host, next(iter(recommenders.values())).store)
    app = create_app(recommenders, options)
    log_json()
    install(next(iter(recommenders.values())).settings)
    # On SIGTERM no new requests are taken; those that run have `drain_s` to end.
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=LAST_WORDS_S,
        timeout_keep_alive=30,
    )
    server = Server(config, app.state.traffic, options.drain_s)
    try:
        server.run()
    except KeyboardInterrupt:  # Ctrl-C, once all is drained
        return
    if not server.started:
        raise typer.Exit(3)


def mcp(domain: DomainsOption = None) -> None:
    """Offer the service's verbs as tools over stdin and stdout (Model Context Protocol). Over HTTP: `serve`, at /mcp."""
    try:
        from recsys.service.api.mcp import build
        from recsys.service.options import ServiceOptions
        from recsys.service.state import Service
    except ImportError as error:
        raise MissingDependency(
            f"serving needs '{error.name}'", hint="pip install 'whyrec[serve]'"
        ) from error

    service = Service(load_all(domain or ["movies"]), ServiceOptions())
    try:
        build(service).run("stdio")
    finally:
        service.close()


def load_all(domains: list[str]) -> dict[str, Any]:
    """A recommender per domain, by its name."""
    from recsys.recommender.recommender import Recommender

    found: dict[str, Any] = {}
    with ProgressBars() as progress:
        for name in domains:
            recommender = Recommender.load(name, progress=progress)
            if recommender.domain.name in found:
                raise RequestError(f"'{recommender.domain.name}' is named twice", hint="name it once")
            found[recommender.domain.name] = recommender
    return found
