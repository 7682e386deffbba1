"""The model under tuning: loaded, made trainable in the way asked for, scoring packed prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from finetune.packing import Packed, moved
from recsys.errors import MissingDependency, ModelError
from recsys.tuning_config import TuningConfig


def load_base(folder: str | Path, config: TuningConfig) -> Any:
    """A causal language model ready for training: bfloat16 on a GPU, float32 on a CPU.

    PyTorch's bf16 products are no faster than fp32 on most CPUs, and its backward pass is
    slower (measured: `docs/lab-notes.md`). Raises ModelError, MissingDependency.
    """
    import torch
    from transformers import AutoModelForCausalLM

    options: dict[str, Any] = {"dtype": torch.bfloat16 if torch.cuda.is_available() else torch.float32}
    if config.method == "qlora":
        options |= {"quantization_config": _four_bits(), "dtype": torch.bfloat16}
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder, attn_implementation="sdpa", trust_remote_code=False, **options
        )
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder} cannot be loaded: {error}", hint="`recsys doctor` checks it") from error
    trained: Any = model  # partly untyped
    trained.config.use_cache = False
    if config.checkpointing:
        trained.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        trained.enable_input_require_grads()
    return trained


def make_trainable(model: Any, config: TuningConfig) -> Any:
    """The model with exactly those parameters requiring gradients that `config.method` trains.

    The drop-out of LoRA and its starting weights are drawn from `config.seed`.
    """
    import torch

    torch.manual_seed(config.seed)
    if config.method in ("partial", "full"):
        return _unfreeze(model, config)
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise MissingDependency("peft is not installed", hint="pip install 'whyrec[train]'") from error
    lora = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=config.modules if isinstance(config.modules, str) else list(config.modules),
        use_rslora=config.method == "rslora",
        use_dora=config.method == "dora",
        task_type="CAUSAL_LM",
    )
    try:
        return get_peft_model(model, lora)
    except ValueError as error:
        raise ModelError(
            f"LoRA does not fit this model: {error}", hint="name its layers in [finetune] modules"
        ) from error


def scorer(model: Any) -> Any:
    """A module whose forward maps a `Packed` to log p of its labels, of their shape, in nats.

    Only the label positions go through the LM head, in fp32 as when serving.
    """
    import torch

    class Scorer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, packed: Packed) -> torch.Tensor:
            packed = moved(packed, model.device)
            causal = model.get_base_model() if hasattr(model, "get_base_model") else model
            hidden = causal.model(
                input_ids=packed.ids,
                position_ids=packed.positions,
                attention_mask=packed.visible,
                use_cache=False,
            ).last_hidden_state[0, packed.last]
            head = causal.get_output_embeddings()
            logits = torch.nn.functional.linear(hidden.float(), head.weight.float())
            chosen: torch.Tensor = logits.log_softmax(dim=-1).gather(1, packed.labels)
            return chosen

    return Scorer()


def _unfreeze(model: Any, config: TuningConfig) -> Any:
    model.requires_grad_(config.method == "full")
    if config.method == "partial":
        for layer in list(model.model.layers)[-config.layers :]:
            layer.requires_grad_(True)
        model.model.norm.requires_grad_(True)
        if config.embeddings:
            model.get_input_embeddings().requires_grad_(True)
    return model


def _four_bits() -> Any:
    import importlib.util

    import torch
    import transformers

    if importlib.util.find_spec("bitsandbytes") is None:
        raise MissingDependency(
            "QLoRA needs bitsandbytes", hint="pip install bitsandbytes, or take method = 'lora'"
        )
    config: Any = transformers.BitsAndBytesConfig
    return config(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16)
