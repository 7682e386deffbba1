"""The model under tuning: loaded, made trainable in the way asked for, scoring packed prompts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from finetune.packing import Packed, side_by_side
from recsys.config.finetuning import FinetuneConfig
from recsys.errors import MissingDependency, ModelError


def load_base(folder: str | Path, config: FinetuneConfig) -> Any:
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


def make_trainable(model: Any, config: FinetuneConfig) -> Any:
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
        tuned = get_peft_model(model, lora)
    except ValueError as error:
        raise ModelError(
            f"LoRA does not fit this model: {error}", hint="name its layers in [finetune] modules"
        ) from error
    if torch.cuda.is_available():  # `scorer` casts: without this, PEFT first copies every input to fp32
        module: Any
        for module in tuned.modules():
            if hasattr(module, "cast_input_dtype_enabled"):
                module.cast_input_dtype_enabled = False
    return tuned


def load_adapter(model: Any, weights: Path, name: str) -> None:
    """Give the LoRA under tuning the weights of an adapter called `name`. Raises ModelError for another shape."""
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    try:
        loaded: Any = set_peft_model_state_dict(model, load_file(weights))
    except (RuntimeError, AttributeError) as error:  # shapes; a whole model has no place for it
        raise ModelError(
            f"{name} does not fit this run: {error}", hint="give it the adapter's rank, method and modules"
        ) from error
    if missed := loaded.unexpected_keys:
        raise ModelError(
            f"{name} has layers that this run does not tune: {missed[0]}",
            hint="give it the adapter's modules",
        )


def scorer(model: Any, *, compiled: bool = False) -> Any:
    """A module whose forward maps packed sequences to log p of the labels of each, of their shape, in nats.

    Only the label positions go through the LM head, in fp32 as when serving. On a GPU the layers compute in
    bfloat16, whatever the parameters under training are kept in. `compiled` fuses what each layer does:
    half a minute at the start, for any length of sequence.
    """
    import torch

    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    if compiled:
        for layer in causal.model.layers:
            layer.compile(dynamic=True)

    class Scorer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, packs: Sequence[Packed]) -> list[torch.Tensor]:
            batch = side_by_side(packs, model.device)
            with torch.autocast("cuda", torch.bfloat16, enabled=model.device.type == "cuda"):
                hidden = causal.model(
                    input_ids=batch.ids,
                    position_ids=batch.positions,
                    attention_mask=batch.visible,
                    use_cache=False,
                ).last_hidden_state.flatten(0, 1)[batch.last]
            head = causal.get_output_embeddings()
            logits = torch.nn.functional.linear(hidden.float(), head.weight.float())
            parts = torch.split(logits.log_softmax(dim=-1), [len(packed.labels) for packed in packs])
            return [
                log_p.gather(1, torch.tensor(packed.labels, device=log_p.device))
                for log_p, packed in zip(parts, packs, strict=True)
            ]

    return Scorer()


def _unfreeze(model: Any, config: FinetuneConfig) -> Any:
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
