"""Options of the service: `WHYREC_SERVE_<NAME>`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

ALWAYS_SERVED = ("/healthz", "/metrics")
"""Paths that are answered until the process ends."""
PROBES = (*ALWAYS_SERVED, "/readyz")
"""Paths that are requested all the time: neither logged nor traced."""


class ServiceOptions(BaseSettings):
    """Options of one server process."""

    model_config = SettingsConfigDict(env_prefix="WHYREC_SERVE_", extra="forbid", frozen=True)

    concurrency: int = Field(4, ge=1, description="requests that use the engine at once")
    queue: int = Field(32, ge=0, description="requests that wait for those; more are answered 503")
    in_flight: int = Field(512, ge=1, description="requests of all kinds at once; more are answered 503")
    body_kb: int = Field(256, ge=1, description="size of a request, KiB")
    import_mb: int = Field(64, ge=1, description="size of a bulk import, MiB")
    rate: str = Field("600/minute", description="requests of a key without a rate of its own")
    traces: int = Field(10_000, ge=0, description="recommendations kept per domain, for feedback")
    session_minutes: int = Field(60, ge=1, description="lifetime of a session after its last use")
    idempotency_hours: int = Field(24, ge=1, description="how long an Idempotency-Key is remembered")
    cors_origins: tuple[str, ...] = Field((), description="origins whose pages may call the service")
    drain_s: int = Field(30, ge=1, description="how long running requests may take after SIGTERM")
    runs: Path = Field(Path("runs"), description="folder of evaluations that the pages show")
    warm: bool = Field(True, description="start the engine with the service, not at the first request")
