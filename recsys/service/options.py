"""Options of the service: `WHYREC_SERVE_<NAME>`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict, SettingsError

from recsys.config.settings import environment_error
from recsys.types import StrictModel
from recsys.utils.files import expanded

ALWAYS_SERVED = ("/healthz", "/metrics")
"""Paths that are answered until the process ends."""
MAX_RANKED = 200
"""Candidates that a request can have ranked, whatever its key."""
ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://[^\s/?#@]+", re.IGNORECASE)
PROBES = (*ALWAYS_SERVED, "/readyz")
"""Paths that are requested all the time: neither logged nor traced."""


class CandidateBounds(StrictModel):
    """How many candidates a key may have ranked: the largest of its scopes holds."""

    read: int = Field(100, ge=1, le=MAX_RANKED)
    write: int = Field(100, ge=1, le=MAX_RANKED)
    admin: int = Field(MAX_RANKED, ge=1, le=MAX_RANKED)


class ServiceOptions(BaseSettings):
    """Options of one server process."""

    model_config = SettingsConfigDict(env_prefix="WHYREC_SERVE_", extra="forbid", frozen=True)

    concurrency: int = Field(4, ge=1, description="requests that use the engine at once")
    queue: int = Field(32, ge=0, description="requests that wait for those; more are answered 503")
    in_flight: int = Field(512, ge=1, description="requests that were let in at once; more are answered 503")
    body_kb: int = Field(256, ge=1, description="size of a request, KiB")
    import_mb: int = Field(64, ge=1, description="size of a bulk import, MiB")
    header_s: int = Field(10, ge=1, description="how long the headers of a request may take, s")
    body_wait_s: int = Field(10, ge=1, description="how long each part of a body may let wait, s")
    body_s: int = Field(300, ge=1, description="how long a whole body may take, s")
    body_rate_kb: int = Field(
        4, ge=1, description="what a body must bring after body_wait_s, KiB/s on average"
    )
    keyless_connections: int = Field(
        256, ge=1, description="connections without a key; a further one closes the oldest"
    )
    keyless_per_address: int = Field(64, ge=1, description="those of one address")
    open_metrics: bool = Field(False, description="answer /metrics to other machines without a key, too")
    rate: str = Field("600/minute", description="units of work of a key without a rate of its own")
    max_candidates: Annotated[CandidateBounds, NoDecode] = Field(
        CandidateBounds(),
        description="how many candidates a request may have ranked, by scope of its key, as JSON",
    )
    traces: int = Field(10_000, ge=0, description="recommendations kept per domain, for feedback")
    session_minutes: int = Field(60, ge=1, description="lifetime of a session after its last use")
    idempotency_hours: int = Field(24, ge=1, description="how long an Idempotency-Key is remembered")
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="origins whose pages may call the service, comma-separated, or a JSON list"
    )
    drain_s: int = Field(30, ge=1, description="how long running requests may take after SIGTERM")
    runs: Path = Field(Path("runs"), description="folder of evaluations that the pages show")
    warm: bool = Field(True, description="start the engine with the service, not at the first request")

    @field_validator("max_candidates", mode="before")
    @classmethod
    def _parse_bounds(cls, value: Any) -> Any:
        try:
            return json.loads(value) if isinstance(value, str) else value
        except ValueError as error:
            raise ValueError(f'is not JSON such as {{"read": 100}}: {error}') from error

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if value.lstrip().startswith("["):
            try:
                return json.loads(value)
            except ValueError as error:
                raise ValueError(f"is not a JSON list: {error}") from error
        return [origin for part in value.split(",") if (origin := part.strip())]

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        """Check origins and drop a slash at the end, which no browser sends."""
        origins = tuple(origin.rstrip("/") for origin in origins)
        for origin in origins:
            if not ORIGIN.fullmatch(origin):
                raise ValueError(f"'{origin[:100]}' is no origin such as https://shop.example:3000, nor *")
        return origins

    @field_validator("runs")
    @classmethod
    def _with_home(cls, folder: Path) -> Path:
        return expanded(folder)


def load_options(**overrides: Any) -> ServiceOptions:
    """Read the options from the environment; keywords override it.

    Raises:
        ConfigError: A value is wrong; the message names each such variable.
    """
    try:
        return ServiceOptions(**overrides)
    except (ValidationError, SettingsError) as error:
        raise environment_error("WHYREC_SERVE_", error) from error
