"""Two processes share each batch (`accelerate launch`), here on a CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import DOMAIN
from tests.finetune.world import SMALL, write_shop

WITHOUT_TEXT_CHANNEL = DOMAIN + SMALL.replace("text = 0.3\n", "")  # nothing to embed


def run_finetune(folder: Path, tiny: Path, *launcher: str) -> tuple[list[dict[str, float]], dict[str, Any]]:
    """Run with a data folder of its own; return the loss curve and the JSON printed."""
    environment = os.environ | {
        "WHYREC_MODEL": str(tiny),
        "WHYREC_DATA_DIR": str(folder / "data"),
        "WHYREC_CACHE_DIR": str(folder / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    process = subprocess.run(
        [
            sys.executable,
            *launcher,
            "-m",
            "recsys.cli",
            "finetune",
            "--domain",
            str(folder.parent / "films"),
            "--out",
            str(folder / "run"),
            "--json",
        ],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    lines = (folder / "run" / "curve.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines], json.loads(process.stdout)


@pytest.mark.timeout(900)
def test_two_processes_learn_what_one_learns_and_publish_once(tmp_path: Path, tiny: Path) -> None:
    """Both used to measure, publish and write over each other."""
    write_shop(tmp_path / "films", toml=WITHOUT_TEXT_CHANNEL)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    two = (
        "-m",
        "accelerate.commands.launch",
        "--cpu",
        "--num_processes",
        "2",
        "--num_machines",
        "1",
        "--mixed_precision",
        "no",
        "--dynamo_backend",
        "no",
        "--main_process_port",
        "0",
    )
    alone, printed_alone = run_finetune(tmp_path / "one", tiny)
    shared, printed = run_finetune(tmp_path / "two", tiny, *two)
    assert [line["step"] for line in shared] == [line["step"] for line in alone]
    for expected, line in zip(alone[1:], shared[1:], strict=True):
        assert line["loss"] == pytest.approx(expected["loss"], abs=2e-3)
    assert printed["metrics"]["ndcg@10"]["n"] == printed_alone["metrics"]["ndcg@10"]["n"]
    published = [path.name for path in (tmp_path / "two" / "data").rglob("adapter_model.safetensors")]
    assert len(published) == 1
