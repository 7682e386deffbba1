"""Reasons of whole requests: a planted cause is cited with its figures."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from recsys.config import Settings, load_domain
from recsys.errors import EngineDead, EngineError, RequestError
from recsys.explain.evidence import RETRIEVAL_DEPENDENT
from recsys.recommender.recommender import Recommender
from recsys.recommender.request import RequestOptions
from tests.fakes import FILMS, ScriptedEngine, build_recommender, write_films

AT = "2026-11-20T21:00"  # a Friday


class TestFigures:
    def test_cause_is_cited_with_its_figures(
        self, recommender: Recommender, scripted: ScriptedEngine
    ) -> None:
        def score(text: str, label: str) -> float:
            shared, _, about = text.partition("Will this person")
            return 2.0 * (label == "Yes" and "Alien" in shared and "Casablanca" in about)

        scripted.score = score
        first = recommender.recommend("ann", k=1, n_candidates=8)[0]
        assert first.item.title == "Casablanca"
        reason = first.explanation
        assert reason is not None
        assert "Alien" in reason.text
        assert [entry.item_id for entry in reason.evidence if entry.kind == "history"] == ["f3"]
        assert reason.counterfactual is not None
        assert reason.counterfactual.rank == 1
        assert reason.counterfactual.rank_without > 1
        assert reason.comprehensiveness == pytest.approx(first.score - 1 / 8, abs=1e-6)
        assert math.fsum(one.share for one in reason.influences) == pytest.approx(1)
        assert reason.influences[0].name == "history"

    def test_work_of_evidence_is_counted(self, recommender: Recommender, scripted: ScriptedEngine) -> None:
        answer = recommender.recommend("ann", at=AT, k=2)
        tokens = sum(len(ids) for call in scripted.calls for ids in call.token_ids)
        assert answer.usage.prompt_tokens == tokens

    @pytest.mark.parametrize("strategy", ["listwise", "generated"])
    def test_other_strategies_are_explained_by_effects_on_retrieval(
        self, recommender: Recommender, strategy: str
    ) -> None:
        for line in recommender.recommend("ann", at=AT, k=3, strategy=strategy):
            assert line.explanation is not None
            assert line.explanation.counterfactual is None
            measures = {
                entry.measure for entry in line.explanation.evidence if entry.contribution is not None
            }
            assert measures <= {"log p of retrieval with and without"}

    def test_engine_that_dies_after_ranking_leaves_the_ranking_and_true_sentences(
        self, recommender: Recommender, scripted: ScriptedEngine
    ) -> None:
        scripted.fail_at[2] = EngineDead("it is gone")
        answer = recommender.recommend("ann", k=3)
        assert answer.strategy == "pointwise"
        assert len(answer.degraded) == 1
        for line in answer:
            assert line.explanation is not None
            assert line.explanation.source == "template"
            assert not line.explanation.counterfactual  # the films' retriever has no weight in the score

    def test_everything_a_reason_cites_is_measured_as_a_set(
        self, recommender: Recommender, scripted: ScriptedEngine
    ) -> None:
        scripted.write = lambda *_: ""  # template sentences cite two liked films at once
        cited = 0
        for line in recommender.recommend("ann", at=AT, k=5, n_candidates=8):
            assert line.explanation is not None
            evidence = [e for e in line.explanation.evidence if e.kind != "attribute"]
            measured = [e for e in evidence if e.contribution is not None]
            figures = (line.explanation.comprehensiveness, line.explanation.sufficiency)
            assert (None in figures) == (not measured)
            cited += len(measured)
        assert cited > 5

    def test_evidence_and_reasons_of_five_cost_at_most_four_rankings(
        self, tmp_path: Path, settings: Settings
    ) -> None:
        genres = ("Drama", "Comedy", "Crime", "Sci-Fi", "War")
        items = [
            (f"m{n}", f"The Long Title of Film {n}", str(1950 + n), f"{genres[n % 5]}|{genres[n % 3]}", "")
            for n in range(50)
        ]
        events = [("ann", f"m{n}", "5" if n % 3 else "1", str(n)) for n in range(15)]
        domain = load_domain(write_films(tmp_path / "many", items=items, events=events))
        with build_recommender(domain, settings, ScriptedEngine()) as recommender:
            answer = recommender.recommend("ann", k=5, n_candidates=20)
        computed = {
            stage: used.prompt_tokens - used.cached_tokens + used.generated_tokens
            for stage, used in answer.usage_by_stage.items()
        }
        assert computed["evidence"] > 0
        assert computed["evidence"] + computed["reasons"] <= 4 * computed["rank"]

    def test_invented_title_is_named_by_the_catalogue(
        self, recommender: Recommender, scripted: ScriptedEngine
    ) -> None:
        response = '{"evidence": [], "sentence": "You liked Toy Story, and {item} is a good one to try."}'
        scripted.write = lambda *_: response
        answer = recommender.recommend("ann", k=8, n_candidates=8)
        failures = [line.explanation.failures for line in answer if line.explanation]
        assert sum("invented_title" in found for found in failures) >= 4

    def test_one_liked_film_and_an_item_without_attributes(self, recommender: Recommender) -> None:
        line = recommender.explain(liked=["Alien"], user=None, item="Untold", n_candidates=12).item
        assert line.explanation is not None
        assert {entry.item_id for entry in line.explanation.evidence} <= {"f3", None}
        assert "Untold" in line.explanation.text


class TestExplain:
    def test_groups_and_parts_of_the_item_stand_beside_parts_of_the_request(
        self, recommender: Recommender
    ) -> None:
        why = recommender.explain("ann", "Metropolis", at=AT, n_candidates=8)
        assert [effect.text for effect in why.effects if effect.kind == "attribute"] == ["genre"]
        sizes = [abs(effect.contribution) for effect in why.effects]
        assert sizes == sorted(sizes, reverse=True)

    def test_two_items_are_compared_by_what_separates_them_most(self, recommender: Recommender) -> None:
        why = recommender.explain("ann", "Metropolis", instead_of="Fargo", at=AT, n_candidates=8)
        gaps = [abs(effect.contribution - (effect.other or 0.0)) for effect in why.effects]
        assert len(gaps) > 1
        assert gaps == sorted(gaps, reverse=True)

    def test_unlisted_item_is_explained_by_the_evidence_against_it(
        self, recommender: Recommender, scripted: ScriptedEngine
    ) -> None:
        def score(text: str, label: str) -> float:
            shared, _, about = text.partition("Will this person")
            return -3.0 * (label == "Yes" and "Airplane" in shared and "Toy Story" in about)

        scripted.score = score
        why = recommender.explain(
            None,
            "Metropolis",
            instead_of="Toy Story",
            liked=["Alien"],
            disliked=["Airplane!"],
            n_candidates=10,
        )
        assert why.other is not None
        assert why.other.rank == why.candidates == 10
        reason = why.other.explanation
        assert reason is not None
        assert reason.text == "You did not like Airplane!, and Toy Story is a film of the genre Comedy too."
        assert [(entry.item_id, entry.kind) for entry in reason.against[:1]] == [("f10", "history")]
        assert reason.counterfactual is not None
        assert reason.counterfactual.rank_without < 10

    @pytest.mark.parametrize("by_model", [True, False])
    def test_reason_of_an_unlisted_item_does_not_call_it_chosen(
        self, recommender: Recommender, scripted: ScriptedEngine, by_model: bool
    ) -> None:
        if not by_model:
            scripted.write = lambda *_: ""
        order = [line.item.id for line in recommender.recommend("ann", k=8, n_candidates=8, reasons=False)]
        reason = recommender.explain("ann", order[-1], n_candidates=8).item.explanation
        assert reason is not None
        assert not re.search("is here|chosen|comes up|you may|try", reason.text)

    def test_why_this_and_why_not_that(self, recommender: Recommender, scripted: ScriptedEngine) -> None:
        def score(text: str, label: str) -> float:
            shared, _, about = text.partition("Will this person")
            return 2.0 * (label == "Yes" and "Alien" in shared and "Casablanca" in about)

        scripted.score = score
        why = recommender.explain("ann", "Casablanca", instead_of="f11", n_candidates=8)
        assert (why.item.item.id, why.item.rank, why.candidates) == ("f12", 1, 8)
        assert why.other is not None
        assert why.other.item.id == "f11"
        assert why.other.rank > 1
        strongest = why.effects[0]
        assert strongest.text == "Alien"
        assert strongest.contribution > 0 > (strongest.other or 0)
        assert strongest.rank_without > 1

    def test_item_that_was_not_retrieved_is_scored_with_the_candidates(
        self, recommender: Recommender
    ) -> None:
        retrieved = {
            one.item.id for one in recommender.prepare("ann", k=1, n_candidates=2).request.candidates
        }
        left = next(row[0] for row in FILMS if row[0] not in retrieved | {"f3", "f4", "f10", "f2"})
        why = recommender.explain("ann", left, n_candidates=2)
        assert why.candidates == 3
        assert 1 <= why.item.rank <= 3
        assert any("was not among the 2 candidates" in note for note in why.notes)

    def test_item_that_the_wish_does_not_retrieve_is_not_retrieval_dependent(
        self, recommender: Recommender
    ) -> None:
        options: RequestOptions = {"wish": "thriller", "n_candidates": 1}
        retrieved = {one.item.id for one in recommender.prepare("new", k=1, **options).request.candidates}
        left = next(row[0] for row in FILMS if "Thriller" in row[3] and row[0] not in retrieved)
        reason = recommender.explain("new", left, **options).item.explanation
        assert reason is not None
        assert not [entry for entry in reason.evidence if RETRIEVAL_DEPENDENT in (entry.measure or "")]

    def test_explaining_a_history_item_notes_that_it_is_one(self, recommender: Recommender) -> None:
        why = recommender.explain("ann", "Alien")
        assert any("in the history already" in note for note in why.notes)
        assert why.item.explanation is not None
        assert "f3" not in {
            entry.item_id for entry in why.item.explanation.evidence if entry.kind == "history"
        }

    def test_the_same_item_twice_is_an_error(self, recommender: Recommender) -> None:
        with pytest.raises(RequestError, match="the same"):
            recommender.explain("ann", "Fargo", instead_of="f7")

    @pytest.mark.parametrize("user", ["new", None, "nobody"])
    def test_without_a_history_no_personal_evidence_is_cited(
        self, recommender: Recommender, user: str | None
    ) -> None:
        explanation = recommender.explain(user, "Fargo").item.explanation
        assert explanation is not None
        assert not [entry for entry in explanation.evidence if entry.kind in ("history", "co_consumed")]

    def test_without_an_engine_the_retriever_is_measured(
        self, recommender: Recommender, scripted: ScriptedEngine
    ) -> None:
        scripted.fail_in["labels"] = EngineError("busy")
        why = recommender.explain("ann", "Metropolis", n_candidates=8)
        assert why.strategy == "retriever"
        assert why.degraded
        assert any(one.kind == "history" for one in why.effects)
        ranks = [
            recommender.explain("ann", row[0], n_candidates=8).item.rank for row in FILMS if row[0] == "f11"
        ]
        assert ranks == [why.item.rank]
