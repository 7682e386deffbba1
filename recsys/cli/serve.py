"""`recsys serve` and `recsys mcp`: the service over HTTP and over stdio."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Annotated

import typer

from recsys.cli.output import ProgressBars
from recsys.errors import MissingDependency, RequestError

if TYPE_CHECKING:
    from recsys.recommender.recommender import Recommender

PATIENCE_S = 1.0  # a retrieval channel that takes longer to fit is fitted beside the requests
FLUSH_S = 2  # to send the last responses, once no request runs

DomainsOption = Annotated[
    list[str] | None,
    typer.Option("--domain", "-d", help="Name or folder; repeatable, the first is the default."),
]


def serve(
    domain: DomainsOption = None,
    host: Annotated[
        str, typer.Option(help="Address to listen at. Beyond loopback, keys are required.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8000,
) -> None:
    """Serve recommendations over HTTP, described at /docs.

    Further options are WHYREC_SERVE_* variables.
    """
    try:
        import uvicorn

        from recsys.service.app import create_app
        from recsys.service.observability.logs import log_json
        from recsys.service.options import load_options
        from recsys.service.security.auth import check_bind
        from recsys.service.security.log_redaction import install
        from recsys.service.transport.connections import limited_protocol
        from recsys.service.transport.shutdown import DrainingServer
    except ImportError as error:
        raise MissingDependency(
            f"serving needs '{error.name}'", hint="pip install 'whyrec[serve]'"
        ) from error

    options = load_options()
    recommenders = load_recommenders(domain or ["movies"])
    check_bind(host, next(iter(recommenders.values())).store)
    app = create_app(recommenders, options)
    log_json()
    install(next(iter(recommenders.values())).settings)
    # After SIGTERM new requests are refused; running ones have `drain_s` to end.
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=FLUSH_S,
        timeout_keep_alive=30,
        http=limited_protocol(options),
        ws="none",
    )
    server = DrainingServer(config, app.state.drain, options.drain_s)
    gc.freeze()  # what is loaded stays: looking through all of it for garbage stops requests for a second
    try:
        server.run()
    except KeyboardInterrupt:  # Ctrl-C, after draining
        return
    if not server.started:
        raise typer.Exit(3)


def mcp(domain: DomainsOption = None) -> None:
    """Offer the service as tools of the Model Context Protocol over stdin and stdout.

    Over HTTP `recsys serve` offers them at /mcp.
    """
    try:
        from recsys.service.api.mcp import build_server
        from recsys.service.options import load_options
        from recsys.service.state import Service
    except ImportError as error:
        raise MissingDependency(
            f"serving needs '{error.name}'", hint="pip install 'whyrec[serve]'"
        ) from error

    service = Service(load_recommenders(domain or ["movies"]), load_options())
    try:
        build_server(service).run("stdio")
    finally:
        service.close()


def load_recommenders(domains: list[str]) -> dict[str, Recommender]:
    """Load a recommender per domain, by the domain's name."""
    from recsys.recommender.recommender import Recommender
    from recsys.recommender.shared_engines import share_engines

    recommenders: dict[str, Recommender] = {}
    with ProgressBars() as progress:
        for name in domains:
            recommender = Recommender.load(name, progress=progress, patience_s=PATIENCE_S)
            if recommender.domain.name in recommenders:
                raise RequestError(f"'{recommender.domain.name}' is named twice", hint="name it once")
            recommenders[recommender.domain.name] = recommender
    share_engines(list(recommenders.values()))
    for recommender in recommenders.values():
        if recommender.joiner is not None:
            recommender.joiner.start()
    return recommenders
