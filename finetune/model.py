"""The model to fine-tune: loading it, making it trainable, scoring prompts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from finetune.packing import PackedPrompt, collate
from recsys.config.finetuning import FinetuneConfig
from recsys.errors import MissingDependency, ModelError


def load_base(folder: str | Path, config: FinetuneConfig) -> Any:
    """Load a causal language model for training: bfloat16 on a GPU, float32 on a CPU.

    PyTorch's bf16 products are no faster than fp32 on most CPUs, and its backward pass is
    slower (measured: `docs/lab-notes.md`).

    Raises:
        ModelError: The folder holds no model that can be loaded.
        MissingDependency: QLoRA without bitsandbytes.
    """
    import torch
    from transformers import AutoModelForCausalLM

    options: dict[str, Any] = {"dtype": torch.bfloat16 if torch.cuda.is_available() else torch.float32}
    if config.method == "qlora":
        options |= {"quantization_config": _four_bit_config(), "dtype": torch.bfloat16}
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder, attn_implementation="sdpa", trust_remote_code=False, **options
        )
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder} cannot be loaded: {error}", hint="run `recsys doctor`") from error
    untyped: Any = model  # transformers is typed in part only
    untyped.config.use_cache = False
    if config.checkpointing:
        untyped.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        untyped.enable_input_require_grads()
    return untyped


def make_trainable(model: Any, config: FinetuneConfig) -> Any:
    """Let exactly those parameters require gradients that `config.method` trains.

    LoRA's dropout and initial weights depend on `config.seed`.

    Returns:
        The model itself, or wrapped by PEFT.

    Raises:
        ModelError: The model has no such modules.
        MissingDependency: PEFT is not installed.
    """
    import torch

    torch.manual_seed(config.seed)
    if not config.trains_adapter:
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
        peft_model = get_peft_model(model, lora)
    except ValueError as error:
        raise ModelError(
            f"LoRA does not fit this model: {error}", hint="set [finetune] modules to layers of this model"
        ) from error
    if torch.cuda.is_available():  # `scorer` casts by itself, and PEFT would copy every input to fp32 first
        module: Any
        for module in peft_model.modules():
            if hasattr(module, "cast_input_dtype_enabled"):
                module.cast_input_dtype_enabled = False
    return peft_model


def load_lora_weights(model: Any, weights: Path, name: str) -> None:
    """Load the weights of the adapter called `name` into the model's LoRA.

    Raises:
        ModelError: The adapter has another shape or other layers.
    """
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    try:
        loaded: Any = set_peft_model_state_dict(model, load_file(weights))
    except (RuntimeError, AttributeError) as error:  # another shape; a model without LoRA
        raise ModelError(
            f"{name} does not fit this run: {error}", hint="use the adapter's rank, method and modules"
        ) from error
    if unexpected := loaded.unexpected_keys:
        raise ModelError(
            f"{name} has layers that this run does not train: {unexpected[0]}",
            hint="use the adapter's modules",
        )


def scorer(model: Any, *, compiled: bool = False) -> Any:
    """Wrap the model to map packed prompts to log-probabilities of their labels.

    Only the predicting positions go through the LM head, in fp32 as when serving. On a GPU the layers
    compute in bfloat16, whatever type the trained parameters have.

    Args:
        model: From `load_base` or `make_trainable`.
        compiled: Compile each layer, for sequences of any length; takes half a minute at the start.

    Returns:
        A module: n packed prompts -> n tensors of the shapes of their labels, nats.
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

        def forward(self, prompts: Sequence[PackedPrompt]) -> list[torch.Tensor]:
            batch = collate(prompts, model.device)
            with torch.autocast("cuda", torch.bfloat16, enabled=model.device.type == "cuda"):
                hidden = causal.model(
                    input_ids=batch.input_ids,
                    position_ids=batch.position_ids,
                    attention_mask=batch.attention_mask,
                    use_cache=False,
                ).last_hidden_state.flatten(0, 1)[batch.predicting]
            head = causal.get_output_embeddings()
            logits = torch.nn.functional.linear(hidden.float(), head.weight.float())
            of_prompts = torch.split(logits.log_softmax(dim=-1), [len(prompt.labels) for prompt in prompts])
            return [
                log_p.gather(1, torch.tensor(prompt.labels, device=log_p.device))
                for log_p, prompt in zip(of_prompts, prompts, strict=True)
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


def _four_bit_config() -> Any:
    import importlib.util

    import torch
    import transformers

    if importlib.util.find_spec("bitsandbytes") is None:
        raise MissingDependency(
            "QLoRA needs bitsandbytes", hint="pip install bitsandbytes, or set method = 'lora'"
        )
    config: Any = transformers.BitsAndBytesConfig
    return config(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16)
