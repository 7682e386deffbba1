"""A small shop of films, and a tiny model with a real tokenizer, to tune on."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recsys.config import Domain, Settings, load_domain
from recsys.data.importers import import_domain
from recsys.data.store import Store
from recsys.prompting.library import PromptLibrary, RenderedPrompt
from recsys.types import Interaction
from tests.fakes import DOMAIN, write_films
from tests.retrieval.contract import HashEmbedder

Row = Sequence[str]

USERS, EVENTS, ITEMS = 14, 14, 40
RESERVED, TARGETS = 4, 4
GENRES = ("Comedy", "Crime", "Noir", "Romance")
COLOURS = ("Amber", "Blue", "Coral", "Dun", "Ebony")
DAY = 86_400.0
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SMALL = f"""history_length = 5
max_prompt_tokens = 900
facts = ["match", "popularity", "with"]
[retriever.weights]
transitions = 0.6
text = 0.3
popularity = 0.1
[finetune]
rank = 4
alpha = 8
learning_rate = 0.01
batch = 2
steps = 4
evaluate_every = 2
validation = 4
final = 6
[finetune.examples]
reserved = {RESERVED}
targets = {TARGETS}
candidates = 5
depth = 20
"""


def items(n: int = ITEMS) -> list[list[str]]:
    """Rows of films. Of m7 an attribute bears the title itself, m8 has no attribute and no year."""
    rows = []
    for number in range(n):
        title = f"{COLOURS[number % len(COLOURS)]} {number}"
        genres = f"{GENRES[number % 4]}|{GENRES[number // 4 % 4]}"
        rows.append([f"m{number}", title, str(1950 + number), genres, f"What film {number} tells"])
    if n > 8:
        rows[7][3] = f"{rows[7][1]}|Comedy"
        rows[8] = ["m8", "Untold", "", "", ""]
    return rows


def events(users: int = USERS, each: int = EVENTS, n: int = ITEMS) -> list[list[str]]:
    """Rows of ratings: everyone mostly meets films of one genre, none of them twice."""
    rows = []
    for user in range(users):
        draw = random.Random(user)
        own = [f"m{number}" for number in range(n) if number % 4 == user % 4]
        draw.shuffle(own)
        met = own[: each - each // 3]
        others = [f"m{number}" for number in range(n) if number % 4 != user % 4]
        for item in draw.sample(others, each - len(met)):
            met.insert(draw.randint(0, len(met)), item)
        for step, item in enumerate(met):
            time = 1e9 + step * DAY + user * 600
            rows.append([f"u{user:02}", item, str(draw.choice((1, 3, 4, 5, 5))), str(time)])
    return rows


def write_shop(folder: Path, rows: Sequence[Row] | None = None, **tables: Any) -> Path:
    """A domain folder; `rows` are its events, `extra` lines at the end of its [finetune.examples]."""
    rows = events() if rows is None else rows
    toml = tables.pop("toml", DOMAIN + SMALL) + tables.pop("extra", "")
    people = [[user, str(20 + n), ""] for n, user in enumerate(sorted({row[0] for row in rows}))]
    return write_films(
        folder,
        **{"items": items(), "users": people, **tables},
        events=rows,
        toml=toml,
    )


@contextmanager
def tuning(
    folder: Path, settings: Settings, examples: Mapping[str, Any] | None = None, **options: Any
) -> Iterator[Any]:
    """A `FinetuneJob` of a domain folder, with options of [finetune] and of its examples changed."""
    from finetune.job import FinetuneJob

    domain = changed(load_domain(folder), examples, **options)
    with Store(settings.database_url) as store:
        if not store.counts(domain.name)["items"]:
            import_domain(domain, store)
        yield FinetuneJob(domain, store, settings, HashEmbedder())


def changed(domain: Domain, examples: Mapping[str, Any] | None = None, **options: Any) -> Domain:
    config = domain.finetune
    values = config.model_dump() | options
    values["examples"] |= examples or {}
    return domain.model_copy(update={"finetune": type(config).model_validate(values)})


def own_events(events: Sequence[Interaction]) -> dict[str, list[str]]:
    """The ids of what each user met, oldest first."""
    own: dict[str, list[str]] = {}
    for event in events:
        own.setdefault(event.user_id, []).append(event.item_id)
    return own


def prompt_of(head: Sequence[int], tails: Sequence[Sequence[int]]) -> RenderedPrompt:
    """A prompt of nothing but tokens."""
    template = PromptLibrary().get("rank/pointwise")
    return RenderedPrompt(template, "", ("",) * len(tails), tuple(head), tuple(map(tuple, tails)))


def write_tokenizer(folder: Path, words: tuple[str, ...] = ("Yes", "No")) -> Any:
    """A byte-level BPE tokenizer trained on prompts of the shop, in which each of `words` is one token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    fast: Any = PreTrainedTokenizerFast  # partly untyped
    raw: Any = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer: Any = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    prompts = PromptLibrary()
    sources = [prompts.get(name).source for name in ("rank/pointwise", "finetune/wish")]
    facts = ["match 99, popularity 5, with", "About this person: age 24.", "Now: weekday Friday, part of day"]
    shop = [
        f"{title} ({year}) [{genres.replace('|', ', ')}] - {plot}" for _, title, year, genres, plot in items()
    ]
    raw.train_from_iterator([*sources, *facts, *shop, *words * 50], trainer)
    tokenizer: Any = fast(
        tokenizer_object=raw, eos_token="<|endoftext|>", pad_token="<|endoftext|>", chat_template=CHATML
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


def write_model(folder: Path, *, hidden: int = 64, seed: int = 0) -> Path:
    """A random Llama of two layers with its tokenizer, as a checkpoint."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    tokenizer = write_tokenizer(folder)
    config = LlamaConfig(
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=len(tokenizer),
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        initializer_range=0.2,
    )
    model: Any = LlamaForCausalLM(config)  # type: ignore[no-untyped-call]
    model.save_pretrained(folder)
    return folder
