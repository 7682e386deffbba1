"""Checkpoints: training state on disk, from which a run continues exactly.

Tensors are in safetensors, everything else in JSON. A checkpoint is written to a new folder
and moved into place in one step, so that there is always a whole one.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recsys.errors import ModelError, RequestError
from recsys.utils.files import remove_leftovers, replace_folder, staged_folder

STATE = "state.json"
TENSORS = "tensors.safetensors"


@dataclass
class TrainingState:
    """How far a training run is."""

    identity: str  # hash of all that the run depends on
    step: int  # optimizer steps done
    first: dict[str, float]  # figures before training
    best: dict[str, float]  # figures of the best step
    best_step: int = 0  # 0 until the first evaluation
    seconds: float = 0.0  # training time of all sessions, without evaluations
    tokens: int = 0  # trained on, by all processes
    stale: int = 0  # evaluations since the best one

    def count_step(self, seconds: float, tokens: int) -> None:
        """Note that an optimizer step was done."""
        self.step += 1
        self.seconds += seconds
        self.tokens += tokens

    def count_evaluation(self, figures: dict[str, float]) -> None:
        """Note the figures of the current step; the first ones are the best so far.

        Whether training helped at all is not decided here but by the promotion gate.
        """
        if not self.best_step or figures["score"] > self.best["score"]:
            self.best, self.best_step, self.stale = figures, self.step, 0
        else:
            self.stale += 1


def save(folder: Path, parameters: Mapping[str, Any], optimizer: Any, state: TrainingState) -> None:
    """Write trainable parameters, optimizer moments, the random state and `state`.

    Raises:
        OSError: The checkpoint cannot be written; an older one is kept.
    """
    import torch
    from safetensors.torch import save_file

    tensors = {"rng": torch.get_rng_state()}
    for name, parameter in parameters.items():
        tensors[f"parameter.{name}"] = parameter.detach().cpu().contiguous()
        for moment in ("exp_avg", "exp_avg_sq"):
            if moment in optimizer.state.get(parameter, {}):
                tensors[f"{moment}.{name}"] = optimizer.state[parameter][moment].cpu().contiguous()
    remove_leftovers(folder)
    with staged_folder(folder) as new:
        save_file(tensors, new / TENSORS)
        (new / STATE).write_text(json.dumps(dataclasses.asdict(state), indent=1), encoding="utf-8")
        replace_folder(new, folder, aside=_old(folder))


def restore(
    folder: Path, parameters: Mapping[str, Any], optimizer: Any, identity: str
) -> TrainingState | None:
    """Load a checkpoint into parameters, optimizer and random state.

    Returns:
        The state of the run, None where there is no checkpoint.

    Raises:
        RequestError: The checkpoint is of a run with another `identity`.
        ModelError: The checkpoint is damaged.
    """
    import torch
    from safetensors.torch import load_file

    if not folder.exists() and _old(folder).exists():  # the process was killed between the two moves
        _old(folder).rename(folder)
    if not folder.exists():
        return None
    try:
        state = TrainingState(**json.loads((folder / STATE).read_text(encoding="utf-8")))
        if state.identity != identity:
            raise RequestError(
                f"{folder.parent} holds a run with other options or data",
                hint="choose another --out, or delete the folder to start over",
            )
        tensors = load_file(folder / TENSORS)
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(tensors[f"parameter.{name}"])
                optimizer.state[parameter] = {
                    "step": torch.tensor(float(state.step)),
                    "exp_avg": tensors[f"exp_avg.{name}"].to(parameter.device),
                    "exp_avg_sq": tensors[f"exp_avg_sq.{name}"].to(parameter.device),
                }
        torch.set_rng_state(tensors["rng"])
    except RequestError:
        raise
    except Exception as error:  # safetensors has no public base class for a damaged file
        raise ModelError(
            f"the checkpoint {folder} cannot be used: {error}",
            hint=f"delete {folder.parent} to start over, or choose another --out",
        ) from error
    return state


def _old(folder: Path) -> Path:
    """Name the older checkpoint while a newer one takes its place."""
    return folder.with_name(folder.name + ".old")
