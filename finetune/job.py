"""One domain made ready to fine-tune on: splits, examples, validation lists."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from finetune.examples import ExampleBuilder, TrainingExample
from finetune.packing import PackedPrompt, pack, pack_answer
from finetune.ranked_lists import ValidationList, evaluate_lists
from finetune.read_examples import ReadExampleBuilder
from finetune.reason_examples import ReasonExampleBuilder
from finetune.trainer import PackedExample, StepCallback, TrainingOutcome, train
from finetune.validation import build_validation_lists
from recsys.config import Domain, Settings
from recsys.config.finetuning import Objective
from recsys.data.batch import Progress
from recsys.data.catalog import Catalog
from recsys.data.dataset import EventLog
from recsys.data.impressions import impressions_to_train_on, read_impressions
from recsys.data.splits import Split, fold_of, hash_fraction, leave_one_out
from recsys.data.store import Store
from recsys.engine import load_tokenizer
from recsys.engine.base import Tokenizer
from recsys.engine.checkpoints.weights import model_fingerprint, prepare_model
from recsys.engine.labels import label_ids
from recsys.errors import RequestError
from recsys.explain import REASON_TEMPLATE
from recsys.prompting import wishes
from recsys.prompting.chat import chat_frame
from recsys.prompting.library import PromptLibrary, PromptTemplate, RenderedPrompt
from recsys.ranking import listwise, pointwise
from recsys.ranking.base import rank_variables
from recsys.ranking.listwise import render_listwise
from recsys.ranking.pointwise import render_pointwise
from recsys.types import Interaction
from recsys.utils.sanitize import clean_text
from recsys.wishes.lexicon import Lexicon
from recsys.wishes.model_reader import TEMPLATE as READ_TEMPLATE
from recsys.wishes.model_reader import ReadingTask
from retrieval import Embedder
from retrieval.fit import fit_retriever

TEMPLATES: dict[Objective, str] = {
    "pointwise": pointwise.TEMPLATE,
    "letters": listwise.TEMPLATE,
    "title": "rank/title",
    "reason": REASON_TEMPLATE,
    "read": READ_TEMPLATE,
}
PREVIEW_EXAMPLES = 10  # shown by a dry run
PREVIEW_SAMPLE = 200  # examples that a dry run counts over
MIN_CASES = 20


@dataclass
class FinetuneJob:
    """One domain made ready; data are split at once, the rest when it is used.

    Raises:
        RequestError: The domain has too few events.
    """

    domain: Domain
    store: Store
    settings: Settings
    embedder: Embedder
    progress: Progress | None = None

    def __post_init__(self) -> None:
        options = self.domain.finetune.examples
        self.items = [
            item
            for item in self.store.items(self.domain.name)
            if hash_fraction(item.id) >= options.held_items
        ]
        known = {item.id for item in self.items}  # events of removed items are kept in the store
        self.events = [e for e in self.store.interactions(self.domain.name) if e.item_id in known]
        self.users = {u: self.store.user(self.domain.name, u) for u in self.store.users(self.domain.name)}
        self.train_split, self.validation_split = self._split()
        if len(self.train_split.cases) < MIN_CASES or not self.validation_split.cases:
            raise RequestError(
                f"'{self.domain.name}' has {len(self.train_split.cases)} events to learn from and "
                f"{len(self.validation_split.cases)} to validate on: at least {MIN_CASES} and 1 are needed",
                hint="lower [finetune.examples] reserved and targets, or import more events",
            )

    def _split(self) -> tuple[Split, Split]:
        """Return the cases to train and to validate on."""
        options = self.domain.finetune.examples
        if options.shown:
            return impressions_to_train_on(
                self.events, read_impressions(self.domain, (item.id for item in self.items))
            )
        for_test = -(-options.reserved // 2)
        for_validation = options.reserved - for_test or 1
        return (
            leave_one_out(self.events, "validation", options.targets, options.reserved),
            leave_one_out(self.events, "validation", for_validation, for_test),
        )

    @property
    def before(self) -> float | None:
        """The moment (s since 1970) before all events read; None if it differs by user."""
        if not self.domain.finetune.examples.shown:
            return None
        return min(event.timestamp for event in self.validation_split.held_out if event.timestamp is not None)

    @cached_property
    def base_model(self) -> Path | str:
        """The base model's folder or id."""
        return prepare_model(self.settings)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        return load_tokenizer(str(self.base_model))

    @cached_property
    def prompts(self) -> PromptLibrary:
        return PromptLibrary(self.domain.prompt_folder)

    @property
    def served_objective(self) -> Objective:
        """What the served ranker asks the model, and so what validation asks."""
        return "letters" if self.domain.ranker.strategy == "listwise" else "pointwise"

    @property
    def template(self) -> PromptTemplate:
        """The prompt that is served."""
        return self.prompts.get(TEMPLATES[self.served_objective])

    @cached_property
    def labels(self) -> dict[Objective, tuple[int, ...]]:
        """Token ids of each objective's labels; ModelError unless each is one token."""
        shares = self.domain.finetune.objectives.shares
        used = {self.served_objective, *(name for name, share in shares.items() if share)}
        end = chat_frame(self.tokenizer, "").after
        return {
            name: label_ids(self.tokenizer, self.prompts.get(TEMPLATES[name]).meta.labels, end)
            for name in used
        }

    @cached_property
    def train_examples(self) -> ExampleBuilder:
        """Training examples; their retrievers know no target (see `ExampleConfig`)."""
        folds = self.domain.finetune.examples.folds
        if folds < 2:
            return self._example_builder(self.train_split, [self.train_split.train])
        events = self.validation_split.train
        of_others = [[e for e in events if fold_of(e.user_id, folds) != fold] for fold in range(folds)]
        return self._example_builder(self.train_split, of_others)

    @cached_property
    def validation_examples(self) -> ExampleBuilder:
        """Validation cases, of events that training never reads."""
        return self._example_builder(self.validation_split, [self.validation_split.train])

    @cached_property
    def reason_examples(self) -> ReasonExampleBuilder:
        """Reasons to learn to write, from the evidence of the retriever."""
        return ReasonExampleBuilder(
            self.domain,
            self.prompts,
            self.train_examples.retriever_of,
            self.train_examples.catalog,
            self.tokenizer,
            self.settings.max_model_len,
        )

    @cached_property
    def read_examples(self) -> ReadExampleBuilder:
        """Made-up wishes to learn to read."""
        task = ReadingTask(Lexicon(self.domain, Catalog(self.items)), self.prompts)
        config = self.domain.finetune
        return ReadExampleBuilder(task, self.tokenizer, self.settings.max_model_len, config.seed)

    @cached_property
    def validation_lists(self) -> list[ValidationList]:
        """What the model is validated on while it trains."""
        config = self.domain.finetune
        return build_validation_lists(
            self.validation_examples, self.pack_example, config.validation, config.seed
        )

    def prepare(self) -> None:
        """Fit the retrievers and build the validation lists, before training starts."""
        _ = self.train_examples, self.validation_lists

    @cached_property
    def data_hash(self) -> str:
        """Hash of all events that training reads: up to and with the targets."""
        if self.domain.finetune.examples.folds > 1:
            return self._event_log(self.validation_split.train).hash
        targets = (case.target for case in self.train_split.cases)
        return self._event_log([*self.train_split.train, *targets]).hash

    @property
    def split_rule(self) -> str:
        """Which events the examples are of and what made their candidates, in words."""
        folds = self.domain.finetune.examples.folds
        apart = (
            f" Candidates come from one of {folds} retrievers, fitted on the events of other people alone."
        )
        return self.train_split.rule + (apart if folds > 1 else "")

    @cached_property
    def identity(self) -> str:
        """Hash of all that a run depends on."""
        items = hashlib.sha256("\n".join(sorted(item.model_dump_json() for item in self.items)).encode())
        parts = [
            self.data_hash,
            items.hexdigest(),
            *(self.prompts.get(name).hash for name in (*TEMPLATES.values(), wishes.TEMPLATE)),
            self.settings.embedder,
            model_fingerprint(self.base_model),
            self.domain.finetune.model_dump_json(),
            self.domain.ranker.model_dump_json(),
            self.domain.retriever.model_dump_json(),
        ]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]

    def render(self, example: TrainingExample, objective: Objective | None = None) -> RenderedPrompt:
        """Render the prompt exactly as ranking does; by default for the served objective."""
        objective = objective or self.served_objective
        ranker, domain, request = self.domain.ranker, self.domain, example.request
        budget = min(ranker.max_prompt_tokens, self.settings.max_model_len - 1)  # as `RankerParts.budget`
        nouns = (domain.noun, domain.plural)
        if objective == "letters":
            return render_listwise(self.prompts, self.tokenizer, request, *nouns, budget)
        if objective == "title":
            variables = rank_variables(request, *nouns)
            return self.prompts.render(TEMPLATES["title"], self.tokenizer, variables, max_tokens=budget)
        return render_pointwise(self.prompts, self.tokenizer, request, *nouns, ranker.facts, budget)

    def pack_example(self, example: TrainingExample, objective: Objective | None = None) -> PackedPrompt:
        """Render and pack an example; by default for the served objective."""
        objective = objective or self.served_objective
        prompt = self.render(example, objective)
        if objective == "title":
            name = clean_text(example.request.items[example.target].name)
            return pack_answer(prompt, self.tokenizer.encode(name, add_special_tokens=False))
        labels = self.labels[objective]
        if objective == "letters":
            labels = labels[: len(example.request.items)]
        return pack(prompt, labels, objective)

    def packed_example(self, number: int) -> PackedExample:
        """Build training example `number`; its objective is sampled by the shares."""
        config = self.domain.finetune
        shares = config.objectives.shares
        rng = random.Random(f"{config.seed}:objective:{number}")
        (objective,) = rng.choices(list(shares), list(shares.values()))
        if objective == "read":
            return PackedExample(self.read_examples.packed(number), 0)
        example = self.train_examples.example(number)
        if objective == "reason":
            if (reason := self.reason_examples.prompt_and_answer(example, rng)) is not None:
                prompt, answer = reason
                ids = self.tokenizer.encode(answer, add_special_tokens=False)
                return PackedExample(pack_answer(prompt, ids, "reason"), example.target)
            objective = self.served_objective
        has_prior = config.prior and example.kind == "hard"
        prior = tuple(config.prior * c.score for c in example.request.candidates) if has_prior else ()
        return PackedExample(self.pack_example(example, objective), example.target, prior)

    def train(self, model: Any, folder: Path, on_step: StepCallback | None = None) -> TrainingOutcome:
        """Train a model from `make_trainable`, with checkpoints in `folder`."""
        lists = self.validation_lists
        return train(
            model,
            self.domain.finetune,
            self.packed_example,
            lambda log_odds: evaluate_lists(lists, log_odds),
            folder,
            identity=self.identity,
            on_step=on_step,
            compiled=self.settings.compile,
        )

    def preview(self) -> dict[str, Any]:
        """Describe the training data: examples as text, token counts, dropped parts."""
        examples = [self.train_examples.example(number) for number in range(PREVIEW_SAMPLE)]
        prompts = [self.render(example) for example in examples]
        tokens = sorted(_packed_tokens(prompt) for prompt in prompts)
        sizes = [len(example.request.candidates) for example in examples]
        return {
            "events": {"fitted": len(self.train_split.train), "targets": len(self.train_split.cases)},
            "users": len({case.user_id for case in self.train_split.cases}),
            "kinds": dict(Counter(example.kind for example in examples)),
            "left_out": dict(Counter(name.split()[0] for example in examples for name in example.dropped)),
            "history_cut": sum(prompt.dropped for prompt in prompts),
            "tokens": {
                "median": tokens[len(tokens) // 2],
                "largest": tokens[-1],
                "packed_saves": _packing_ratio(prompts),
            },
            "label_balance": {"yes": len(examples), "no": sum(sizes) - len(examples)},
            "examples": list(map(_preview_example, examples[:PREVIEW_EXAMPLES], prompts)),
        }

    def _example_builder(self, split: Split, fitted_on: Sequence[Sequence[Interaction]]) -> ExampleBuilder:
        """Fit a retriever on each of these logs, for examples of the split's cases."""
        retrievers = [
            fit_retriever(
                self.domain,
                self.items,
                events,
                self.users,
                self.settings,
                self.embedder,
                edges=self.store.edges(self.domain.name),
                progress=self.progress,
            )
            for events in fitted_on
        ]
        return ExampleBuilder(
            self.domain,
            Catalog(self.items),
            self.users,
            split.cases,
            retrievers,
            self.prompts,
            self.domain.finetune.seed,
        )

    def _event_log(self, events: Sequence[Interaction]) -> EventLog:
        return EventLog.of(events, [item.id for item in self.items], self.domain.feedback)


def _packing_ratio(prompts: Sequence[RenderedPrompt]) -> float:
    """Divide the tokens of one prompt per candidate by those of packed prompts."""
    unpacked = sum(len(ids) for prompt in prompts for ids in prompt.token_ids)
    return round(unpacked / sum(map(_packed_tokens, prompts)), 2)


def _packed_tokens(prompt: RenderedPrompt) -> int:
    return len(prompt.head_ids) + sum(map(len, prompt.tail_ids))


def _preview_example(example: TrainingExample, prompt: RenderedPrompt) -> dict[str, Any]:
    target = example.target if len(prompt.tails) > 1 else 0  # letters: one prompt names all candidates
    return {
        "kind": example.kind,
        "user": example.user_id,
        "left_out": list(example.dropped),
        "shared": prompt.head,
        "met": prompt.tails[target],
        "others": [tail for index, tail in enumerate(prompt.tails) if index != target][:3],
    }
