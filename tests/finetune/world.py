"""A small shop of films, and a tiny model with a real tokenizer, to fine-tune."""

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
    """Return rows of films; a genre of m7 is its title, m8 has no genre and no year."""
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
    """Return rows of ratings: each user mostly rates films of one genre, none twice."""
    rows = []
    for user in range(users):
        rng = random.Random(user)
        favourites = [f"m{number}" for number in range(n) if number % 4 == user % 4]
        rng.shuffle(favourites)
        rated = favourites[: each - each // 3]
        others = [f"m{number}" for number in range(n) if number % 4 != user % 4]
        for item in rng.sample(others, each - len(rated)):
            rated.insert(rng.randint(0, len(rated)), item)
        for step, item in enumerate(rated):
            time = 1e9 + step * DAY + user * 600
            rows.append([f"u{user:02}", item, str(rng.choice((1, 3, 4, 5, 5))), str(time)])
    return rows


def write_shop(folder: Path, rows: Sequence[Row] | None = None, **tables: Any) -> Path:
    """Write a domain folder; `extra` is appended to [finetune.examples]."""
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
def finetune_job(
    folder: Path, settings: Settings, examples: Mapping[str, Any] | None = None, **options: Any
) -> Iterator[Any]:
    """Yield the job of a domain folder with some options of [finetune] changed."""
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


def item_ids_by_user(events: Sequence[Interaction]) -> dict[str, list[str]]:
    """Group the ids of the items by user, oldest first."""
    by_user: dict[str, list[str]] = {}
    for event in events:
        by_user.setdefault(event.user_id, []).append(event.item_id)
    return by_user


def prompt_of_tokens(head: Sequence[int], tails: Sequence[Sequence[int]]) -> RenderedPrompt:
    """Make a prompt of nothing but tokens."""
    template = PromptLibrary().get("rank/pointwise")
    return RenderedPrompt(template, "", ("",) * len(tails), tuple(head), tuple(map(tuple, tails)))


def write_tokenizer(folder: Path, words: tuple[str, ...] = ("Yes", "No")) -> Any:
    """Train a byte-level BPE tokenizer on the shop; each of `words` is one token."""
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
    """Write a random Llama of two layers with its tokenizer, as a checkpoint."""
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
    llama: Any = LlamaForCausalLM  # not typed
    llama(config).save_pretrained(folder)
    return folder
