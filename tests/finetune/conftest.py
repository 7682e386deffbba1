"""A tiny model and a shop for the whole folder."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import retrieval
from finetune import report
from recsys.cli import main
from recsys.config import Settings
from tests.finetune.world import write_model, write_shop
from tests.retrieval.contract import HashEmbedder


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Use one thread: tiny products are slower on several."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a random Llama of two layers with a trained tokenizer, as a checkpoint."""
    return write_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the folder of a small domain."""
    return write_shop(tmp_path_factory.mktemp("shop") / "films")


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Settings:
    """Share settings with one data folder between tests that only read the shop."""
    folder = tmp_path_factory.mktemp("shared")
    return Settings(cache_dir=folder / "cache", data_dir=folder / "data", model=str(tiny))


@pytest.fixture
def command(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Return a function that runs `recsys finetune` on films and returns its status."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "150")
    monkeypatch.setenv("WHYREC_MODEL", str(tiny))
    monkeypatch.setenv("WHYREC_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("WHYREC_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(retrieval, "SentenceEmbedder", lambda _name: HashEmbedder())
    monkeypatch.setattr("finetune.job.PREVIEW_SAMPLE", 40)
    monkeypatch.setattr(report, "lines", lambda *_rest: "<svg></svg>")

    def run(*arguments: str | Path) -> int:
        argv = ["recsys", "finetune", "--domain", str(tmp_path / "films"), *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", argv)
        try:
            main()
        except SystemExit as exit_:
            return int(exit_.code or 0)
        return 0

    return run


@pytest.fixture
def films(tmp_path: Path) -> Path:
    return write_shop(tmp_path / "films")
