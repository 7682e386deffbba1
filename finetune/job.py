"""From a domain folder to a tuned adapter: data, examples, training, figures, report."""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from finetune.examples import ExampleMaker, TrainingExample
from finetune.packing import Packed, pack, pack_answer
from finetune.ranked_lists import ValidationList, figures
from finetune.reason_examples import ReasonExamples
from finetune.trainer import PackedExample, TrainingOutcome, Watch, train
from finetune.validation import validation_lists
from recsys.config import Domain, Settings
from recsys.config.finetuning import Objective
from recsys.data.batch import Progress
from recsys.data.catalog import Catalog
from recsys.data.dataset import EventLog
from recsys.data.splits import Split, fold_of, hash_fraction, leave_one_out
from recsys.data.store import Store
from recsys.engine import load_tokenizer
from recsys.engine.base import Tokenizer
from recsys.engine.checkpoints.weights import model_fingerprint, prepare_model
from recsys.engine.labels import label_ids
from recsys.errors import RequestError
from recsys.explain import REASON_TEMPLATE
from recsys.prompting import wishes
from recsys.prompting.library import PromptLibrary, PromptTemplate, RenderedPrompt
from recsys.ranking import listwise, pointwise
from recsys.ranking.base import rank_variables
from recsys.ranking.listwise import render_listwise
from recsys.ranking.pointwise import render_pointwise
from recsys.types import Interaction
from recsys.utils.sanitize import clean_text
from retrieval import Embedder
from retrieval.fit import fit_apart

TEMPLATES: dict[Objective, str] = {
    "pointwise": pointwise.TEMPLATE,
    "letters": listwise.TEMPLATE,
    "title": "rank/title",
    "reason": REASON_TEMPLATE,
}
SHOWN = 10
SAMPLE = 200  # examples that a dry run counts over
MIN_CASES = 20


@dataclass
class FinetuneJob:
    """One domain, made ready to be tuned on. Nothing is computed before it is asked for.

    Raises RequestError where the domain has too few events for it.
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
        known = {item.id for item in self.items}  # a removed item leaves its events behind
        self.events = [e for e in self.store.interactions(self.domain.name) if e.item_id in known]
        self.users = {u: self.store.user(self.domain.name, u) for u in self.store.users(self.domain.name)}
        held = -(-options.reserved // 2)  # the test's half, and validation's
        self.split = leave_one_out(self.events, "validation", options.targets, options.reserved)
        self.later = leave_one_out(self.events, "validation", options.reserved - held or 1, held)
        if len(self.split.cases) < MIN_CASES or not self.later.cases:
            raise RequestError(
                f"'{self.domain.name}' has {len(self.split.cases)} events to learn from and "
                f"{len(self.later.cases)} to validate on: at least {MIN_CASES} and 1 are needed",
                hint="lower [finetune.examples] reserved and targets, or import more events",
            )

    @cached_property
    def model(self) -> Path | str:
        """The base model's folder or id."""
        return prepare_model(self.settings)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        return load_tokenizer(str(self.model))

    @cached_property
    def prompts(self) -> PromptLibrary:
        return PromptLibrary(self.domain.prompt_folder)

    @property
    def served(self) -> Objective:
        """What ranking asks of the model, and so what validation asks."""
        return "letters" if self.domain.ranker.strategy == "listwise" else "pointwise"

    @property
    def template(self) -> PromptTemplate:
        """The prompt that is served."""
        return self.prompts.get(TEMPLATES[self.served])

    @cached_property
    def labels(self) -> dict[Objective, tuple[int, ...]]:
        """Token ids of the labels of what is asked. Raises ModelError where a label is not one token."""
        asked = {
            self.served,
            *(name for name, share in self.domain.finetune.objectives.shares.items() if share),
        }
        return {
            name: label_ids(self.tokenizer, self.prompts.get(TEMPLATES[name]).meta.labels) for name in asked
        }

    @cached_property
    def maker(self) -> ExampleMaker:
        """Makes training examples; a retriever knows nothing at or after its targets, or nothing of its people."""
        folds = self.domain.finetune.examples.folds
        if folds < 2:
            return self._maker(self.split, [self.split.train])
        of_others = [
            [e for e in self.later.train if fold_of(e.user_id, folds) != fold] for fold in range(folds)
        ]
        return self._maker(self.split, of_others)

    @cached_property
    def reasons(self) -> ReasonExamples:
        """Makes sentences to learn from, of what the retriever of the training examples measured."""
        maker = self.maker
        window = self.settings.max_model_len
        return ReasonExamples(
            self.domain, self.prompts, maker.retriever_of, maker.catalog, self.tokenizer, window
        )

    @cached_property
    def validator(self) -> ExampleMaker:
        """Makes validation cases, out of events that training never reads."""
        return self._maker(self.later, [self.later.train])

    @cached_property
    def lists(self) -> list[ValidationList]:
        """What the model is validated on."""
        config = self.domain.finetune
        return validation_lists(self.validator, self.packed, config.validation, config.seed)

    def prepare(self) -> None:
        """Fit the retrievers and make the validation lists, so that nothing is left to write while training."""
        _ = self.maker, self.lists

    @cached_property
    def data_hash(self) -> str:
        """Of every event that training read: those before the targets, and the targets."""
        if self.domain.finetune.examples.folds > 1:
            return self._log(self.later.train).hash
        return self._log([*self.split.train, *(case.target for case in self.split.cases)]).hash

    @property
    def rule(self) -> str:
        """In words: which events the examples are of, and what made their candidates."""
        folds = self.domain.finetune.examples.folds
        apart = (
            f" Candidates come from one of {folds} retrievers, fitted on the events of other people alone."
        )
        return self.split.rule + (apart if folds > 1 else "")

    @cached_property
    def identity(self) -> str:
        """Hash of all that a run depends on."""
        items = hashlib.sha256("\n".join(sorted(item.model_dump_json() for item in self.items)).encode())
        parts = [
            self.data_hash,
            items.hexdigest(),
            *(self.prompts.get(name).hash for name in (*TEMPLATES.values(), wishes.TEMPLATE)),
            self.settings.embedder,
            model_fingerprint(self.model),
            self.domain.finetune.model_dump_json(),
            self.domain.ranker.model_dump_json(),
            self.domain.retriever.model_dump_json(),
        ]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]

    def render(self, example: TrainingExample, objective: Objective | None = None) -> RenderedPrompt:
        """The prompt exactly as ranking renders it; as what is served, unless told otherwise."""
        objective = objective or self.served
        ranker, domain, request = self.domain.ranker, self.domain, example.request
        budget = min(ranker.max_prompt_tokens, self.settings.max_model_len - 1)  # as `RankerParts.budget`
        words = (domain.noun, domain.plural)
        if objective == "letters":
            return render_listwise(self.prompts, self.tokenizer, request, *words, budget)
        if objective == "title":
            variables = rank_variables(request, *words)
            return self.prompts.render(TEMPLATES["title"], self.tokenizer, variables, max_tokens=budget)
        return render_pointwise(self.prompts, self.tokenizer, request, *words, ranker.facts, budget)

    def packed(self, example: TrainingExample, objective: Objective | None = None) -> Packed:
        """The example as the model is asked it; as ranking asks it, unless told otherwise."""
        objective = objective or self.served
        prompt = self.render(example, objective)
        if objective == "title":
            name = clean_text(example.request.items[example.target].name)
            return pack_answer(prompt, self.tokenizer.encode(name, add_special_tokens=False))
        labels = self.labels[objective]
        return pack(
            prompt, labels[: len(example.request.items)] if objective == "letters" else labels, objective
        )

    def packed_example(self, number: int) -> PackedExample:
        """Training example `number`, packed; what it asks is drawn by the objectives' shares."""
        config = self.domain.finetune
        example, shares = self.maker.example(number), config.objectives.shares
        draw = random.Random(f"{config.seed}:objective:{number}")
        (objective,) = draw.choices(list(shares), list(shares.values()))
        if objective == "reason":
            if (reason := self.reasons.packed_example(example, draw)) is not None:
                prompt, answer = reason
                ids = self.tokenizer.encode(answer, add_special_tokens=False)
                return PackedExample(pack_answer(prompt, ids, "reason"), example.target)
            objective = self.served
        hard = config.prior and example.kind == "hard"
        prior = tuple(config.prior * one.score for one in example.request.candidates) if hard else ()
        return PackedExample(self.packed(example, objective), example.target, prior)

    def train(self, model: Any, folder: Path, watch: Watch | None = None) -> TrainingOutcome:
        """Train `model` (see `make_trainable`) with checkpoints in `folder`."""
        lists = self.lists
        return train(
            model,
            self.domain.finetune,
            self.packed_example,
            lambda log_odds: figures(lists, log_odds),
            folder,
            identity=self.identity,
            watch=watch,
            compiled=self.settings.compile,
        )

    def preview(self) -> dict[str, Any]:
        """What a dry run shows: examples as text, token counts, kinds, and what was left out."""
        examples = [self.maker.example(number) for number in range(SAMPLE)]
        prompts = [self.render(example) for example in examples]
        tokens = sorted(_packed_tokens(prompt) for prompt in prompts)
        sizes = [len(example.request.candidates) for example in examples]
        return {
            "events": {"fitted": len(self.split.train), "targets": len(self.split.cases)},
            "users": len({case.user_id for case in self.split.cases}),
            "kinds": dict(Counter(example.kind for example in examples)),
            "left_out": dict(Counter(name.split()[0] for example in examples for name in example.dropped)),
            "history_cut": sum(prompt.dropped for prompt in prompts),
            "tokens": {
                "median": tokens[len(tokens) // 2],
                "largest": tokens[-1],
                "packed_saves": _saved(prompts),
            },
            "label_balance": {"yes": len(examples), "no": sum(sizes) - len(examples)},
            "examples": [_shown(e, p) for e, p in list(zip(examples, prompts, strict=True))[:SHOWN]],
        }

    def _maker(self, split: Split, learned: Sequence[Sequence[Interaction]]) -> ExampleMaker:
        """Its retrievers are fitted on these events alone."""
        homes = {user_id: user.home for user_id, user in self.users.items()}
        retrievers = [
            fit_apart(
                self.domain, self.items, events, homes, self.settings, self.embedder, progress=self.progress
            )
            for events in learned
        ]
        return ExampleMaker(
            self.domain,
            Catalog(self.items),
            self.users,
            split.cases,
            retrievers,
            self.prompts,
            self.domain.finetune.seed,
        )

    def _log(self, events: Sequence[Interaction]) -> EventLog:
        return EventLog.of(events, [item.id for item in self.items], self.domain.feedback)


def _saved(prompts: Sequence[RenderedPrompt]) -> float:
    """How many times fewer tokens a packed prompt has than its candidates' prompts one by one."""
    alone = sum(len(ids) for prompt in prompts for ids in prompt.token_ids)
    return round(alone / sum(map(_packed_tokens, prompts)), 2)


def _packed_tokens(prompt: RenderedPrompt) -> int:
    return len(prompt.head_ids) + sum(map(len, prompt.tail_ids))


def _shown(example: TrainingExample, prompt: RenderedPrompt) -> dict[str, Any]:
    met = example.target if len(prompt.tails) > 1 else 0  # letters: one prompt names them all
    return {
        "kind": example.kind,
        "user": example.user_id,
        "left_out": list(example.dropped),
        "shared": prompt.head,
        "met": prompt.tails[met],
        "others": [tail for place, tail in enumerate(prompt.tails) if place != met][:3],
    }


def read_curve(folder: Path) -> list[dict[str, float]]:
    """The lines of a run's `curve.jsonl`."""
    return [json.loads(line) for line in (folder / "curve.jsonl").read_text(encoding="utf-8").splitlines()]
