"""What the service keeps to: `WHYREC_SERVE_<NAME>`. Everything else is in `recsys.config`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

ALIVE = ("/healthz", "/metrics")
"""Paths that are answered until the process ends."""
QUIET = (*ALIVE, "/readyz")
"""Paths that are asked all the time: neither logged nor traced."""


class ServiceOptions(BaseSettings):
    """Bounds of one server process."""

    model_config = SettingsConfigDict(env_prefix="WHYREC_SERVE_", extra="forbid", frozen=True)

    concurrency: int = Field(4, ge=1, description="requests that use the engine at once")
    queue: int = Field(32, ge=0, description="requests that wait for those; more are answered 503")
    in_flight: int = Field(512, ge=1, description="requests of all kinds at once; more are answered 503")
    body_kb: int = Field(256, ge=1, description="of a request, KiB")
    import_mb: int = Field(64, ge=1, description="of a bulk import, MiB")
    rate: str = Field("600/minute", description="requests of one key, where it has no rate of its own")
    traces: int = Field(10_000, ge=0, description="recommendations kept per domain, for feedback and a look")
    session_minutes: int = Field(60, ge=1, description="a session lives so long after its last use")
    idempotency_hours: int = Field(24, ge=1, description="an Idempotency-Key is remembered")
    cors_origins: tuple[str, ...] = Field((), description="origins of pages that may call; none by default")
    drain_s: int = Field(30, ge=1, description="what runs at SIGTERM may take so long")
    runs: Path = Field(Path("runs"), description="folder of evaluations that the pages show")
    warm: bool = Field(True, description="start the engine with the service, not at the first request")
