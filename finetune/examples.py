"""Interactions -> training examples, through the retriever and the prompts that serve.

An example is a request as serving would see it, and which of its candidates the person
met next. The retriever was fitted on nothing at or after the targets, or on nothing of the
person at all; a hard example is made only where the target is among the retriever's own
candidates, so that the model does not learn that what was put into a list is the answer.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from finetune.adversarial_text import adversarial_sentence, with_adversarial_text
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


@dataclass(frozen=True)
class TrainingExample:
    """A request and the place of the right answer among its candidates."""

    request: RankRequest
    target: int
    kind: ExampleKind
    user_id: str
    dropped: tuple[str, ...] = ()


@dataclass
class ExampleMaker:
    """Makes examples from cases; example number i is the same whenever it is asked for."""

    domain: Domain
    catalog: Catalog
    users: Mapping[str, User]
    cases: Sequence[Case]
    retrievers: Sequence[HybridRetriever]  # one, or one for each fold of the users
    prompts: PromptLibrary
    seed: int = 0
    _orders: dict[int, list[int]] = field(default_factory=dict, init=False, repr=False)

    def example(self, number: int) -> TrainingExample:
        """Example `number` (0, 1, ...): each pass over the cases has its own order and draws."""
        lap, place = divmod(number, len(self.cases))
        return self.of(self.cases[self._order(lap)[place]], random.Random(f"{self.seed}:{number}"))

    def retriever_of(self, user_id: str) -> HybridRetriever:
        """The retriever that makes this person's candidates."""
        return self.retrievers[fold_of(user_id, len(self.retrievers))]

    def of(self, case: Case, draw: random.Random) -> TrainingExample:
        """One example of a case."""
        options = self.domain.finetune.examples
        kinds: tuple[ExampleKind, ...] = ("hard", "random", "wish")
        kind = draw.choices(kinds, (options.hard, options.random, options.wish))[0]
        return self.of_kind(case, kind, draw)

    def of_kind(self, case: Case, kind: ExampleKind, draw: random.Random) -> TrainingExample:
        """An example of that kind; "random" where the target is not among the hard candidates."""
        options = self.domain.finetune.examples
        past = self.catalog.entries(case.history, self.domain.feedback)
        kind, chosen, wish = self._listed(case, kind, past, draw)
        dropped, length = self._left_out(draw)
        if "facts" in dropped:
            chosen = [unknown(candidate) for candidate in chosen]
        chosen = [unknown(one) if draw.random() < options.item_dropout else one for one in chosen]
        user = self.users.get(case.user_id)
        context = Context() if "context" in dropped else self._context(case, user)
        profile = {} if "profile" in dropped else self._profile(user)
        if options.adversarial_text:
            chosen = [
                with_adversarial_text(one, draw) if draw.random() < options.adversarial_text else one
                for one in chosen
            ]
            if profile and draw.random() < options.adversarial_text:
                profile = {**profile, draw.choice(sorted(profile)): adversarial_sentence(draw)}
        request = RankRequest(
            candidates=tuple(chosen),
            history=past[max(0, len(past) - length) :],
            context=context.model_copy(update={"wish": wish}),
            profile=profile,
        )
        place = next(n for n, one in enumerate(chosen) if one.item.id == case.target.item_id)
        return TrainingExample(request, place, kind, case.user_id, tuple(dropped))

    def _listed(
        self, case: Case, kind: ExampleKind, past: tuple[HistoryEntry, ...], draw: random.Random
    ) -> tuple[ExampleKind, list[Candidate], str]:
        """The kind that it comes to, its candidates, and what is wished for in words."""
        options = self.domain.finetune.examples
        target = self.catalog.by_id(case.target.item_id)
        if kind == "hard":
            found = self._found(case, past, options.depth)
            if any(candidate.item.id == target.id for candidate in found):
                return kind, _drawn(found, target, options.candidates, draw), ""
            kind = "random"
        wish = self._wish(target, draw) if kind == "wish" else ""
        told = self._told(case).model_copy(update={"wish": wish})
        return kind, self._among_random(case, past, options.candidates - 1, draw, told), wish

    def _left_out(self, draw: random.Random) -> tuple[list[str], int]:
        """The parts that the prompt goes without, and how many entries its history may have."""
        options, length = self.domain.finetune.examples, self.domain.ranker.history_length
        shares = {
            "facts": options.facts_dropout,
            "profile": options.profile_dropout,
            "context": options.context_dropout,
        }
        dropped = [name for name, share in shares.items() if draw.random() < share]
        if draw.random() < options.short_history:
            length = draw.randint(0, length)
            dropped.append(f"history to {length}")
        return dropped, length

    def served(self, case: Case, depth: int) -> TrainingExample | None:
        """The request as it would be served, None if the target is not among the candidates."""
        past = self.catalog.entries(case.history, self.domain.feedback)
        return self._whole(case, self._found(case, past, depth), "hard")

    def sampled(self, case: Case, n: int, draw: random.Random) -> TrainingExample:
        """The target and `n` random items the person has not met, in the retriever's order."""
        past = self.catalog.entries(case.history, self.domain.feedback)
        example = self._whole(case, self._among_random(case, past, n, draw, self._told(case)), "random")
        assert example is not None
        return example

    def _found(self, case: Case, past: tuple[HistoryEntry, ...], depth: int) -> list[Candidate]:
        """The retriever's first `depth` items that the person has not met."""
        met = frozenset(entry.item.id for entry in past)
        query = Query(past, exclude=met, context=self._told(case))
        return self.retriever_of(case.user_id).retrieve(query, depth)

    def _order(self, lap: int) -> list[int]:
        """The order of the cases in one pass over them."""
        if lap not in self._orders:
            order = list(range(len(self.cases)))
            random.Random(f"{self.seed}:{lap}").shuffle(order)
            self._orders = {lap: order}  # the last one asked for is enough
        return self._orders[lap]

    def _among_random(
        self, case: Case, past: tuple[HistoryEntry, ...], n: int, draw: random.Random, told: Context
    ) -> list[Candidate]:
        """The target and `n` items that the person has not met, as the retriever orders them."""
        target = case.target.item_id
        seen = {entry.item.id for entry in past} | {target}
        others = [item.id for item in self.catalog if item.id not in seen]
        ids = frozenset((*draw.sample(others, min(n, len(others))), target))
        query = Query(past, told.wish, filter=Filter(only=ids), context=told)
        return self.retriever_of(case.user_id).retrieve(query, len(ids))

    def _whole(self, case: Case, found: list[Candidate], kind: ExampleKind) -> TrainingExample | None:
        place = next((n for n, one in enumerate(found) if one.item.id == case.target.item_id), None)
        if place is None:
            return None
        past, user = self.catalog.entries(case.history, self.domain.feedback), self.users.get(case.user_id)
        length = self.domain.ranker.history_length
        request = RankRequest(
            tuple(found), past[max(0, len(past) - length) :], self._told(case), self._profile(user)
        )
        return TrainingExample(request, place, kind, case.user_id)

    def _told(self, case: Case) -> Context:
        """What retrieval and served requests know of the situation: nothing where events do not say it."""
        return self._context(case, self.users.get(case.user_id)) if self.domain.has_event_contexts else Context()

    def _context(self, case: Case, user: User | None) -> Context:
        try:
            home, names = user.home if user else None, names_of(user, self.domain.privacy)
            return event_context(case.target, home, self.domain, names)
        except ContextError:
            return Context()

    def _profile(self, user: User | None) -> Mapping[str, str]:
        return mask_user(user, self.domain.privacy).profile if user else {}

    def _wish(self, item: Item, draw: random.Random) -> str:
        return wish_for(item, self.domain, self.prompts, draw)


def unknown(candidate: Candidate) -> Candidate:
    """The candidate as if nobody had met it: what a new item looks like."""
    return candidate.model_copy(update={"popularity": None, "co_consumed": {}})


def _drawn(found: Sequence[Candidate], target: Item, n: int, draw: random.Random) -> list[Candidate]:
    """The target and n - 1 others, all in the retriever's order."""
    others = [place for place, candidate in enumerate(found) if candidate.item.id != target.id]
    kept = set(draw.sample(others, min(len(others), n - 1)))
    return [
        candidate for place, candidate in enumerate(found) if place in kept or candidate.item.id == target.id
    ]
