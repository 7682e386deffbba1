"""Settings of an installation: where things lie, and which models run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import platformdirs
from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from recsys.errors import ConfigError

PACKAGED_MODEL = "smollm2-135m-instruct"
PACKAGED_EMBEDDER = "all-minilm-l6-v2"


class Settings(BaseSettings):
    """Where things lie on this machine and which models run. `WHYREC_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix="WHYREC_", extra="forbid", frozen=True)

    cache_dir: Path = Field(default_factory=lambda: Path(platformdirs.user_cache_dir("whyrec")))
    data_dir: Path = Field(default_factory=lambda: Path(platformdirs.user_data_dir("whyrec")))
    store_url: str = ""
    model: str = Field(PACKAGED_MODEL, description="packaged name, Hugging Face id, or folder")
    embedder: str = Field(PACKAGED_EMBEDDER, description="packaged name, Hugging Face id, or folder")
    engine: str = Field("vllm", description="'vllm' in this process, or the URL of a `vllm serve`")
    api_key: str = Field("", description="for a remote engine")
    adapter: str = Field(
        "", description="'' the domain's default, 'none', an adapter's domain@sha, or a LoRA folder"
    )
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    quantization: Literal["", "int8", "fp8", "awq", "gptq"] = Field(
        "",
        description="'' as the weights are; 'int8' made of plain weights, on a CPU too; 'fp8' by vLLM while "
        "loading, on a GPU; 'awq' and 'gptq' (int4) only say what the weights must be",
    )
    max_model_len: int = Field(4096, ge=256)
    kv_cache_gb: float = Field(2.0, gt=0, description="CPU only, GiB")
    compile: bool = Field(False, description="compile the model: slower start, about 10 % faster requests")
    timeout_s: float = Field(120.0, gt=0, description="one engine call")

    @field_validator("adapter", mode="before")
    @classmethod
    def _path_as_text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, Path) else value

    @property
    def database_url(self) -> str:
        """SQLAlchemy URL of the store; one SQLite file unless set."""
        return self.store_url or f"sqlite:///{self.data_dir / 'whyrec.db'}"

    def retriever_folder(self, domain: str) -> Path:
        """Where the text index, the fitted channels and the weights of a domain are kept."""
        return self.data_dir / "retrievers" / domain


def load_settings(**overrides: Any) -> Settings:
    """Settings from the environment, with keyword overrides.

    Raises ConfigError naming each wrong variable.
    """
    try:
        return Settings(**{key: value for key, value in overrides.items() if value is not None})
    except ValidationError as error:
        problems = "; ".join(f"WHYREC_{str(d['loc'][0]).upper()}: {d['msg']}" for d in error.errors())
        raise ConfigError(problems, hint="unset the variable or correct its value") from error
