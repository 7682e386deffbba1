"""Settings of an installation: where files are kept, and which models run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import platformdirs
from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from recsys.errors import ConfigError
from recsys.utils.files import expanded

PACKAGED_MODEL = "smollm2-135m-instruct"
LOCAL = "vllm"
_HOME_DATABASE = "sqlite:///~/"
PACKAGED_EMBEDDER = "all-minilm-l6-v2"


class Settings(BaseSettings):
    """File locations and models of this installation, set by `WHYREC_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix="WHYREC_", extra="forbid", frozen=True)

    cache_dir: Path = Field(
        default_factory=lambda: Path(platformdirs.user_cache_dir("whyrec")),
        description="what can be made again: unpacked and merged models, caches of evaluations",
    )
    data_dir: Path = Field(
        default_factory=lambda: Path(platformdirs.user_data_dir("whyrec")),
        description="the store, retrievers and adapters",
    )
    store_url: str = Field("", description="SQLAlchemy URL of the store; '' for an SQLite file in data_dir")
    model: str = Field(PACKAGED_MODEL, description="packaged name, Hugging Face id, or folder")
    embedder: str = Field(PACKAGED_EMBEDDER, description="packaged name, Hugging Face id, or folder")
    engine: str = Field(LOCAL, description="'vllm' in this process, or the URL of a `vllm serve`")
    api_key: str = Field("", description="sent to a remote engine")
    adapter: str = Field(
        "", description="'' the domain's default, 'none', an adapter's domain@sha, or a LoRA folder"
    )
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field(
        "auto", description="type of weights and activations; 'auto' as the weights are"
    )
    quantization: Literal["", "int8", "fp8", "awq", "gptq"] = Field(
        "",
        description="'' as the weights are; 'int8' made from plain weights, on a CPU too; 'fp8' by vLLM "
        "while loading, on a GPU; 'awq' and 'gptq' (int4) only state what the weights must be",
    )
    max_model_len: int = Field(4096, ge=256, description="most tokens of a prompt and its answer")
    kv_cache_gb: float = Field(2.0, gt=0, description="size of the KV cache in GiB, on a CPU only")
    compile: bool = Field(False, description="compile the model: slower start, about 10 % faster requests")
    acknowledged: str = Field(
        "", description="domains, comma-separated, whose `notice` you have read; one that has one needs it"
    )
    timeout_s: float = Field(120.0, gt=0, description="most seconds of one engine call")

    @field_validator("adapter", mode="before")
    @classmethod
    def _path_as_text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, Path) else value

    @field_validator("cache_dir", "data_dir")
    @classmethod
    def _with_home(cls, folder: Path) -> Path:
        return expanded(folder)

    @field_validator("engine")
    @classmethod
    def _known_engine(cls, engine: str) -> str:
        """Accept 'vllm' or a URL; drop a final /v1, which OpenAI's clients add."""
        engine = engine.strip()
        if engine.lower() == LOCAL:
            return LOCAL
        scheme, separator, address = engine.partition("://")
        if not separator or scheme.lower() not in ("http", "https") or not address.strip("/"):
            raise ValueError(f"'{engine[:100]}' is neither 'vllm' nor a URL such as http://host:8000")
        return f"{scheme.lower()}://{address.rstrip('/').removesuffix('/v1').rstrip('/')}"

    @property
    def is_remote(self) -> bool:
        """Whether the model runs on a server, not in this process."""
        return self.engine != LOCAL

    @property
    def database_url(self) -> str:
        """SQLAlchemy URL of the store; one SQLite file unless set."""
        if self.store_url.startswith(_HOME_DATABASE):
            return f"sqlite:///{expanded(Path(self.store_url.removeprefix('sqlite:///')))}"
        return self.store_url or f"sqlite:///{self.data_dir / 'whyrec.db'}"

    def require_acknowledgement(self, domain: str, notice: str) -> None:
        """Raise ConfigError if a domain has a notice that was not acknowledged."""
        if notice and domain not in map(str.strip, self.acknowledged.split(",")):
            raise ConfigError(
                f"'{domain}' starts only where this is acknowledged: {notice}",
                hint=f"export WHYREC_ACKNOWLEDGED={domain}",
            )

    def retriever_folder(self, domain: str) -> Path:
        """Return the folder of the text index, fitted channels and weights of a domain."""
        return self.data_dir / "retrievers" / domain


def load_settings(**overrides: Any) -> Settings:
    """Read the settings from the environment; keywords override it.

    Raises:
        ConfigError: A value is wrong; the message names each such variable.
    """
    try:
        return Settings(**{key: value for key, value in overrides.items() if value is not None})
    except (ValidationError, SettingsError) as error:
        raise environment_error("WHYREC_", error) from error


def environment_error(prefix: str, error: ValidationError | SettingsError) -> ConfigError:
    """Return an error that names each variable with the prefix and a wrong value."""
    problems = [str(error)]
    if isinstance(error, ValidationError):
        problems = [
            f"{prefix}{str(fault['loc'][0]).upper()}: {fault['msg'].removeprefix('Value error, ')}"
            for fault in error.errors()
        ]
    return ConfigError("; ".join(problems), hint="unset the variable or correct its value")
