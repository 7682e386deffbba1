"""The final order: long tail, diversity, rules and calibration."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from recsys.config import Domain, Rule, load_domain
from recsys.config.ranking import RankerConfig
from recsys.errors import ConfigError
from recsys.knowledge.fields import Moment
from recsys.knowledge.reordering import RerankedList, apply_rules
from recsys.knowledge.rules import Gate, RuleBook
from recsys.ranking.base import apply_isotonic
from recsys.ranking.calibration import apply_temperature, fit_isotonic, fit_temperature
from recsys.ranking.reranking import attribute_similarity, boost_long_tail, diversify, rerank
from recsys.types import Candidate
from tests.fakes import DOMAIN, candidate, film, write_films

GENRES = ("Drama", "Drama", "Comedy", "Drama", "Horror", "Comedy")
SCORES = (0.4, 0.25, 0.15, 0.1, 0.06, 0.04)
LIST = [candidate(film(f"c{n}", "", genre), popularity=1 - n / 10) for n, genre in enumerate(GENRES)]
ORDER = list(range(6))


GENRE_OF_FILMS = {"items": {"file": "f.csv", "id": "id", "title": "title", "attributes": {"genre": "genre"}}}


def gate(*rules: Rule) -> Gate:
    films = {"name": "films", "noun": "film", "plural": "films", "folder": ".", "rules": rules}
    return RuleBook(Domain.model_validate(films | GENRE_OF_FILMS)).gate(Moment())


def ruled(*rules: Rule, order: list[int] | None = None) -> RerankedList:
    return apply_rules(gate(*rules), LIST, ORDER if order is None else order, SCORES)


def rule(do: str, *genres: str, items: Sequence[str] = (), **options: Any) -> Rule:
    when = " || ".join(f"'{genre}' in item.genre" for genre in genres) or f"item.id in {list(items)}"
    hard = {"missing": "allow"} if do in ("forbid", "require") else {}
    return Rule.model_validate({"name": do, "do": do, "when": when} | hard | options)


class TestRules:
    def test_without_rules_nothing_changes(self) -> None:
        assert ruled() == RerankedList(ORDER, {})

    @pytest.mark.parametrize(
        ("one", "order", "acted"),
        [
            (rule("forbid", "Drama"), [2, 4, 5], {0, 1, 3}),
            (rule("bury", "Drama"), [2, 4, 5, 0, 1, 3], {0, 1, 3}),
            (rule("boost", "Comedy", factor=2.0), [0, 2, 1, 3, 5, 4], {2, 5}),
            (rule("boost", "Horror", factor=100.0), [4, 0, 1, 2, 3, 5], {4}),
            (rule("pin", items=["c5", "c4"]), [4, 5, 0, 1, 2, 3], {4, 5}),
            (rule("pin", items=["c5"], first=3), [0, 1, 5, 2, 3, 4], {5}),
            (rule("pin", items=["c1"], first=50), [0, 2, 3, 4, 5, 1], {1}),
            (rule("quota", "Drama", n=1, first=3), [0, 2, 4, 1, 3, 5], {1, 3}),
            (rule("quota", "Drama", n=0, first=2), [2, 4, 0, 1, 3, 5], {0, 1, 3}),
            (rule("quota", "Drama", n=1, first=6), [0, 2, 4, 5, 1, 3], {1, 3}),
            (rule("at_least", "Comedy", n=1, first=2), [0, 2, 1, 3, 4, 5], {2}),
            (rule("at_least", "Comedy", n=2, first=3), [0, 2, 5, 1, 3, 4], {5}),
            (rule("at_least", "Comedy", n=1, first=3), ORDER, set()),
            (rule("at_least", "War", n=1, first=3), ORDER, set()),
            (rule("forbid", items=["gone"]), ORDER, set()),
        ],
        ids=lambda value: value.do if isinstance(value, Rule) else "",
    )
    def test_each_acts_and_is_named(self, one: Rule, order: list[int], acted: set[int]) -> None:
        found = ruled(one)
        assert found.order == order
        named = {position for position, names in found.rules.items() if one.name in names}
        assert named | set(found.refused) == acted

    def test_forbidden_items_stay_out_and_pins_apply_last(self) -> None:
        found = ruled(rule("pin", "Comedy"), rule("bury", "Comedy"), rule("forbid", items=["c2"]))
        assert found.order == [5, 0, 1, 3, 4]
        assert found.rules == {5: ("bury", "pin")}
        assert [(position, refusal.rule.name) for position, refusal in found.refused.items()] == [
            (2, "forbid")
        ]

    def test_each_pin_gets_its_rank_in_any_order_of_rules(self) -> None:
        for pins in ([(3, "c5"), (1, "c4")], [(1, "c4"), (3, "c5")]):
            found = ruled(*(rule("pin", items=[item], first=rank, name=item) for rank, item in pins))
            assert found.order == [4, 0, 5, 1, 2, 3]

    @pytest.mark.parametrize(
        "wrong",
        [
            {"do": "forbid", "when": "true"},
            {"do": "move", "when": "true"},
            {"do": "forbid", "when": "true", "missing": "allow", "n": 2},
            {"do": "boost", "when": "true", "missing": "allow"},
            {"do": "boost", "when": "true", "factor": 1},
        ],
    )
    def test_invalid_rules_are_refused(self, wrong: dict[str, Any]) -> None:
        with pytest.raises(ValidationError):
            Rule.model_validate({"name": "r"} | wrong)

    def test_rules_are_read_from_the_domain(self, tmp_path: Path) -> None:
        text = "[[rules]]\nname = '{}'\ndo = 'pin'\nwhen = 'item.year == 1995'\n"
        folder = write_films(tmp_path, toml=DOMAIN + text.format("first"))
        (folder / "rules.toml").write_text(text.format("second"), encoding="utf-8")
        assert [rule.name for rule in load_domain(folder).rules] == ["first", "second"]


class TestDiversity:
    def test_items_are_alike_by_the_attribute_values_they_share(self) -> None:
        items = [film("a", "", "Drama", "War"), film("b", "", "drama"), film("c"), film("d")]
        assert attribute_similarity(items)[0].tolist() == [1, 0.5, 0, 0]
        assert attribute_similarity(items)[2].tolist() == [0, 0, 0, 0]

    def test_weight_moves_similar_items_down(self) -> None:
        alike = attribute_similarity([one.item for one in LIST])
        assert diversify(ORDER, SCORES, alike, 0.0) == ORDER
        assert diversify(ORDER, SCORES, alike, 0.5)[:3] == [0, 2, 4]

    @given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0, 0.99))
    def test_it_is_always_a_permutation_with_the_best_first(self, scores: list[float], weight: float) -> None:
        order = sorted(range(len(scores)), key=lambda n: -scores[n])
        alike = np.ones((len(scores), len(scores)))
        found = diversify(order, scores, alike, weight)
        assert sorted(found) == list(range(len(scores)))
        assert found[0] == order[0]

    def test_long_tail_raises_items_with_few_interactions(self) -> None:
        flat = boost_long_tail(LIST, [1 / 6] * 6, 2.0)
        assert math.fsum(flat) == pytest.approx(1)
        assert list(flat) == sorted(flat)
        assert math.log(flat[5] / flat[0]) == pytest.approx(2.0 * 0.5)
        unknown = candidate(film("u"), popularity=None)
        assert boost_long_tail([LIST[0], unknown], [0.5, 0.5], 1.0)[1] > 0.5


class TestReranking:
    def test_by_default_it_is_the_rankers_order(self) -> None:
        found = rerank(LIST, [3, 1, 2, 0, 5, 4], SCORES, RankerConfig(), gate())
        assert found == RerankedList([3, 1, 2, 0, 5, 4], {})

    def test_rules_come_after_diversity(self) -> None:
        found = rerank(LIST, ORDER, SCORES, RankerConfig(diversity=0.5), gate(rule("pin", items=["c1"])))
        assert found.order[:3] == [1, 0, 2]
        assert found.rules == {1: ("pin",)}

    def test_rules_hold_where_only_the_retriever_ranked(self) -> None:
        rules = gate(rule("forbid", items=["c0"]))
        scored = [Candidate(item=one.item, score=-n, source="text") for n, one in enumerate(LIST)]
        assert rerank(scored, ORDER, None, RankerConfig(), rules).order == [1, 2, 3, 4, 5]

    def test_empty_list_stays_empty(self) -> None:
        assert rerank([], [], (), RankerConfig(diversity=0.5, long_tail=1), gate()) == RerankedList([], {})


class TestTemperature:
    def sample(self, temperature: float, lists: int = 4000) -> tuple[list[list[float]], list[int]]:
        """Draw targets by the softmax of scores / temperature."""
        random = np.random.default_rng(0)
        scores = random.normal(0, 2, (lists, 10))
        chances = np.exp(scores / temperature)
        chances /= chances.sum(axis=1, keepdims=True)
        return scores.tolist(), [int(random.choice(10, p=chance)) for chance in chances]

    @pytest.mark.parametrize("truth", [0.5, 1.0, 3.0])
    def test_fit_recovers_the_temperature_of_the_targets(self, truth: float) -> None:
        assert fit_temperature(*self.sample(truth)) == pytest.approx(truth, rel=0.1)

    def test_without_lists_it_changes_nothing(self) -> None:
        assert fit_temperature([], []) == 1.0

    def test_tempered_probabilities_keep_their_order_and_what_is_impossible(self) -> None:
        found = apply_temperature((0.7, 0.3, 0.0), 2.0)
        assert math.fsum(found) == pytest.approx(1)
        assert found[0] / found[1] == pytest.approx(math.sqrt(0.7 / 0.3))
        assert found[2] == 0
        assert apply_temperature((0.7, 0.3), 1.0) == pytest.approx((0.7, 0.3))


class TestIsotonic:
    def sample(self, n: int = 20_000) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Draw predictions, and outcomes that happen with their squared probability."""
        random = np.random.default_rng(0)
        predicted = random.uniform(0, 1, n)
        return predicted, random.uniform(0, 1, n) < predicted**2

    def test_fit_recovers_the_calibration_map(self) -> None:
        predicted, happened = self.sample()
        points = fit_isotonic(predicted.tolist(), happened.tolist())
        for probability in (0.1, 0.3, 0.5, 0.7, 0.9):
            (found,) = apply_isotonic([probability], points)
            assert found == pytest.approx(probability**2, abs=0.05)

    def test_line_rises_so_that_the_order_stays(self) -> None:
        predicted, happened = self.sample(500)
        points = fit_isotonic(predicted.tolist(), happened.tolist())
        found = apply_isotonic(sorted(predicted.tolist()), points)
        assert all(low < high for low, high in itertools.pairwise(found))
        assert all(0 < probability < 1 for probability in found)
        assert apply_isotonic((0.0, 1.0), points) == (0.0, 1.0)

    def test_few_pairs_make_nothing_certain(self) -> None:
        ((predicted, calibrated),) = fit_isotonic([0.2, 0.2], [False, False])
        assert predicted == 0.2
        assert calibrated == pytest.approx(0.2 / 3, rel=1e-4)
        assert fit_isotonic([], []) == ()

    def test_scores_that_fall_where_probabilities_rise_are_one_value(self) -> None:
        predicted = np.linspace(0.01, 0.99, 1000)
        ((_, calibrated),) = fit_isotonic(predicted.tolist(), (predicted < 0.5).tolist())
        assert calibrated == pytest.approx(0.5, abs=0.01)

    def test_without_points_probabilities_stay(self) -> None:
        assert apply_isotonic((0.7, 0.3), ()) == (0.7, 0.3)

    def test_domain_refuses_points_that_do_not_rise(self, tmp_path: Path) -> None:
        def domain(points: str) -> Domain:
            toml = DOMAIN.replace("[ranker]", f"[ranker]\nisotonic = {points}")
            return load_domain(write_films(tmp_path, toml=toml))

        assert domain("[[0.1, 0.05], [0.4, 0.5]]").ranker.isotonic == ((0.1, 0.05), (0.4, 0.5))
        for wrong in ("[[0.1, 0.5], [0.4, 0.5]]", "[[0.4, 0.1], [0.1, 0.5]]", "[[0.1, 1.0]]", "[[0.0, 0.1]]"):
            with pytest.raises(ConfigError, match="isotonic"):
                domain(wrong)
