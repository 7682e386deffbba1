"""The state of a training run on disk: enough to go on as if nothing had happened.

Tensors in safetensors, everything else in JSON; a checkpoint is written beside its place
and moved there in one step, so that there is always a whole one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from recsys.errors import ModelError, RequestError
from recsys.utils.files import remove_leftovers, replace_folder, staged_folder

STATE = "state.json"
TENSORS = "tensors.safetensors"


def save(
    folder: Path, names: list[str], parameters: list[Any], optimizer: Any, state: dict[str, Any]
) -> None:
    """Write trainable parameters, the optimizer's moments, random state and `state`. Raises OSError."""
    import torch
    from safetensors.torch import save_file

    tensors = {"rng": torch.get_rng_state()}
    for name, parameter in zip(names, parameters, strict=True):
        tensors[f"parameter.{name}"] = parameter.detach().cpu().contiguous()
        for moment in ("exp_avg", "exp_avg_sq"):
            if moment in optimizer.state.get(parameter, {}):
                tensors[f"{moment}.{name}"] = optimizer.state[parameter][moment].cpu().contiguous()
    remove_leftovers(folder)
    with staged_folder(folder) as new:
        save_file(tensors, new / TENSORS)
        (new / STATE).write_text(json.dumps(state, indent=1), encoding="utf-8")
        replace_folder(new, folder, aside=_old(folder))


def restore(
    folder: Path, names: list[str], parameters: list[Any], optimizer: Any, identity: str
) -> dict[str, Any] | None:
    """Put a saved run back into parameters, optimizer and random state; its `state`, None if there is none.

    Raises RequestError if it is a run of another `identity`, ModelError if it is damaged.
    """
    import torch
    from safetensors.torch import load_file

    if not folder.exists() and _old(folder).exists():  # stopped between two moves
        _old(folder).rename(folder)
    if not folder.exists():
        return None
    try:
        state: dict[str, Any] = json.loads((folder / STATE).read_text(encoding="utf-8"))
        if state["identity"] != identity:
            raise RequestError(
                f"{folder.parent} holds a run with other options or data",
                hint="give another --out, or delete it to begin anew",
            )
        tensors = load_file(folder / TENSORS)
        with torch.no_grad():
            for name, parameter in zip(names, parameters, strict=True):
                parameter.copy_(tensors[f"parameter.{name}"])
                optimizer.state[parameter] = {
                    "step": torch.tensor(float(state["step"])),
                    "exp_avg": tensors[f"exp_avg.{name}"].to(parameter.device),
                    "exp_avg_sq": tensors[f"exp_avg_sq.{name}"].to(parameter.device),
                }
        torch.set_rng_state(tensors["rng"])
    except RequestError:
        raise
    except Exception as error:  # safetensors has no public base class for what can be wrong with a file
        raise ModelError(
            f"the checkpoint {folder} cannot be used: {error}",
            hint=f"delete {folder.parent} to begin anew, or give another --out",
        ) from error
    return state


def _old(folder: Path) -> Path:
    """Name the older checkpoint while a newer one takes its place."""
    return folder.with_name(folder.name + ".old")
