"""Interactions -> training examples, through the served retriever and prompts.

An example is a request as served, and which of its candidates the user interacted with next.
The retriever was fitted on nothing at or after the targets, or on no event of the user at all.
An example with retrieved candidates is made only where the target is among them by itself, so
that the model does not learn to spot an item that was put into the list.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from finetune.adversarial_text import adversarial_sentences, with_adversarial_text
from recsys.config import Domain
from recsys.config.finetuning import ExampleKind
from recsys.context.pii import mask_user, names_of
from recsys.data.catalog import Catalog
from recsys.data.event_contexts import event_context
from recsys.data.splits import Case, fold_of
from recsys.errors import ContextError
from recsys.prompting.library import PromptLibrary
from recsys.prompting.wishes import wish_for
from recsys.ranking import RankRequest
from recsys.types import Candidate, Context, Filter, HistoryEntry, Item, User
from retrieval import HybridRetriever, Query

History = tuple[HistoryEntry, ...]


@dataclass(frozen=True)
class TrainingExample:
    """A request to rank, with its right answer."""

    request: RankRequest
    target: int  # index of the right candidate
    kind: ExampleKind
    user_id: str
    dropped: tuple[str, ...] = ()  # parts that the prompt goes without


@dataclass
class ExampleBuilder:
    """Builds examples from cases; example number i is the same whenever it is built."""

    domain: Domain
    catalog: Catalog
    users: Mapping[str, User]
    cases: Sequence[Case]
    retrievers: Sequence[HybridRetriever]  # one, or one for each fold of the users
    prompts: PromptLibrary
    seed: int = 0
    _orders: dict[int, list[int]] = field(default_factory=dict, init=False, repr=False)

    def example(self, number: int) -> TrainingExample:
        """Build example `number` (0, 1, ...); each pass over the cases has another order."""
        epoch, index = divmod(number, len(self.cases))
        case = self.cases[self._order(epoch)[index]]
        return self.sample_example(case, random.Random(f"{self.seed}:{number}"))

    def retriever_of(self, user_id: str) -> HybridRetriever:
        """Return the retriever that makes this user's candidates."""
        return self.retrievers[fold_of(user_id, len(self.retrievers))]

    def sample_example(self, case: Case, rng: random.Random) -> TrainingExample:
        """Build an example of a case, of a kind sampled by the configured shares."""
        options = self.domain.finetune.examples
        kinds: tuple[ExampleKind, ...] = ("hard", "random", "wish", "shown")
        kind = rng.choices(kinds, (options.hard, options.random, options.wish, options.shown))[0]
        return self.example_of_kind(case, kind, rng)

    def example_of_kind(self, case: Case, kind: ExampleKind, rng: random.Random) -> TrainingExample:
        """Build an example of a kind; a "hard" target not retrieved makes it "random"."""
        options = self.domain.finetune.examples
        history = self.catalog.entries(case.history, self.domain.feedback)
        kind, candidates, wish = self._sample_candidates(case, kind, history, rng)
        dropped, history_length = self._sample_dropout(rng)
        if "facts" in dropped:
            candidates = [as_new_item(candidate) for candidate in candidates]
        candidates = [as_new_item(c) if rng.random() < options.item_dropout else c for c in candidates]
        user = self.users.get(case.user_id)
        context = Context() if "context" in dropped else self._event_context(case, user)
        profile = {} if "profile" in dropped else self._profile(user)
        if options.adversarial_text:
            candidates, profile = self._add_adversarial_text(candidates, profile, rng)
        context = context.model_copy(update={"wish": wish})
        newest = history[max(0, len(history) - history_length) :]
        request = RankRequest.of(self.domain, candidates, newest, context, profile)
        target = _index_of(case.target.item_id, candidates)
        assert target is not None
        return TrainingExample(request, target, kind, case.user_id, tuple(dropped))

    def served_example(self, case: Case, depth: int) -> TrainingExample | None:
        """Build the request as served; None if the target is not among the candidates."""
        history = self.catalog.entries(case.history, self.domain.feedback)
        return self._complete_example(case, history, self._retrieve(case, history, depth), "hard")

    def shown_example(self, case: Case) -> TrainingExample:
        """Build a request for the list that the user was shown."""
        history = self.catalog.entries(case.history, self.domain.feedback)
        example = self._complete_example(case, history, self._rank_shown(case, history), "shown")
        assert example is not None
        return example

    def sampled_example(self, case: Case, n: int, rng: random.Random) -> TrainingExample:
        """Build a request for the target and `n` random items that are new to the user."""
        history = self.catalog.entries(case.history, self.domain.feedback)
        candidates = self._random_candidates(case, history, n, rng, self._retrieval_context(case))
        example = self._complete_example(case, history, candidates, "random")
        assert example is not None
        return example

    def _order(self, epoch: int) -> list[int]:
        """Return the order of the cases in one pass over them."""
        if epoch not in self._orders:
            order = list(range(len(self.cases)))
            random.Random(f"{self.seed}:{epoch}").shuffle(order)
            self._orders = {epoch: order}  # only the last one is kept
        return self._orders[epoch]

    def _sample_candidates(
        self, case: Case, kind: ExampleKind, history: History, rng: random.Random
    ) -> tuple[ExampleKind, list[Candidate], str]:
        """Return the kind that the example gets, its candidates, and a wish or ""."""
        options = self.domain.finetune.examples
        target = self.catalog.by_id(case.target.item_id)
        if kind == "shown":
            listed = self._rank_shown(case, history)
            return kind, _sample_around(target, listed, options.candidates, rng), ""
        if kind == "hard":
            retrieved = self._retrieve(case, history, options.depth)
            if _index_of(target.id, retrieved) is not None:
                return kind, _sample_around(target, retrieved, options.candidates, rng), ""
            kind = "random"
        wish = wish_for(target, self.domain, self.prompts, rng) if kind == "wish" else ""
        context = self._retrieval_context(case).model_copy(update={"wish": wish})
        return kind, self._random_candidates(case, history, options.candidates - 1, rng, context), wish

    def _sample_dropout(self, rng: random.Random) -> tuple[list[str], int]:
        """Sample the parts that the prompt goes without, and its longest history."""
        options, length = self.domain.finetune.examples, self.domain.ranker.history_length
        shares = {
            "facts": options.facts_dropout,
            "profile": options.profile_dropout,
            "context": options.context_dropout,
        }
        dropped = [name for name, share in shares.items() if rng.random() < share]
        if rng.random() < options.short_history:
            length = rng.randint(0, length)
            dropped.append(f"history to {length}")
        return dropped, length

    def _add_adversarial_text(
        self, candidates: Sequence[Candidate], profile: Mapping[str, str], rng: random.Random
    ) -> tuple[list[Candidate], Mapping[str, str]]:
        share = self.domain.finetune.examples.adversarial_text
        attacked = [with_adversarial_text(c, rng) if rng.random() < share else c for c in candidates]
        if profile and rng.random() < share:
            profile = {**profile, rng.choice(sorted(profile)): adversarial_sentences(rng)}
        return attacked, profile

    def _retrieve(self, case: Case, history: History, depth: int) -> list[Candidate]:
        """Retrieve `depth` items that the user has not interacted with."""
        interacted = frozenset(entry.item.id for entry in history)
        context, profile = self._retrieval_context(case), self._profile(self.users.get(case.user_id))
        query = Query(history, exclude=interacted, context=context, profile=profile)
        return self.retriever_of(case.user_id).retrieve(query, depth)

    def _rank_shown(self, case: Case, history: History) -> list[Candidate]:
        """Return the list that the user was shown, as the retriever orders it."""
        only = frozenset(case.candidates or ())
        context, profile = self._retrieval_context(case), self._profile(self.users.get(case.user_id))
        query = Query(history, filter=Filter(only=only), context=context, profile=profile)
        return self.retriever_of(case.user_id).retrieve(query, len(only))

    def _random_candidates(
        self, case: Case, history: History, n: int, rng: random.Random, context: Context
    ) -> list[Candidate]:
        """Sample `n` items new to the user; the retriever orders them with the target."""
        target = case.target.item_id
        excluded = {entry.item.id for entry in history} | {target}
        others = [item.id for item in self.catalog if item.id not in excluded]
        ids = frozenset((*rng.sample(others, min(n, len(others))), target))
        profile = self._profile(self.users.get(case.user_id))
        query = Query(history, context.wish, filter=Filter(only=ids), context=context, profile=profile)
        return self.retriever_of(case.user_id).retrieve(query, len(ids))

    def _complete_example(
        self, case: Case, history: History, candidates: Sequence[Candidate], kind: ExampleKind
    ) -> TrainingExample | None:
        """Build an example without dropout; None if the candidates lack the target."""
        target = _index_of(case.target.item_id, candidates)
        if target is None:
            return None
        request = RankRequest.of(
            self.domain,
            candidates,
            history,
            self._retrieval_context(case),
            self._profile(self.users.get(case.user_id)),
        )
        return TrainingExample(request, target, kind, case.user_id)

    def _retrieval_context(self, case: Case) -> Context:
        """Return the context that serving would know; empty where events have none."""
        if not self.domain.has_event_contexts:
            return Context()
        return self._event_context(case, self.users.get(case.user_id))

    def _event_context(self, case: Case, user: User | None) -> Context:
        try:
            home, names = user.home if user else None, names_of(user, self.domain.privacy)
            return event_context(case.target, home, self.domain, names)
        except ContextError:
            return Context()

    def _profile(self, user: User | None) -> Mapping[str, str]:
        return mask_user(user, self.domain.privacy).profile if user else {}


def as_new_item(candidate: Candidate) -> Candidate:
    """Copy the candidate as a new item: without interactions."""
    return candidate.model_copy(update={"popularity": None, "co_consumed": {}})


def _sample_around(
    target: Item, retrieved: Sequence[Candidate], n: int, rng: random.Random
) -> list[Candidate]:
    """Sample n - 1 candidates beside the target, in the retriever's order."""
    others = [index for index, candidate in enumerate(retrieved) if candidate.item.id != target.id]
    kept = set(rng.sample(others, min(len(others), n - 1)))
    return [c for index, c in enumerate(retrieved) if index in kept or c.item.id == target.id]


def _index_of(item_id: str, candidates: Sequence[Candidate]) -> int | None:
    return next((index for index, c in enumerate(candidates) if c.item.id == item_id), None)
