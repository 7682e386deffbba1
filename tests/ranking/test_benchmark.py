"""The benchmark's figures, with a scripted engine: what is counted is what was asked."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import gpu_rates, knobs, report, report_ranking, report_trimming
from benchmarks import ranking as benchmark
from benchmarks.environment import describe
from recsys.config import Settings, load_domain
from tests.evaluation.world import data_of
from tests.fakes import ScriptedEngine, build_recommender, candidate, write_films

OPTIONS = benchmark.RankingOptions(
    users=3, few=2, sizes=(4, 6), concurrent=(1, 2), prefill_rate=1000.0, decode_rate=10.0
)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("benchmark")
    settings = Settings(cache_dir=folder / "cache", data_dir=folder / "data")
    domain = load_domain(write_films(folder / "films"))
    with build_recommender(domain, settings, ScriptedEngine()) as recommender:
        yield benchmark.measure(recommender, OPTIONS)


def test_every_strategy_has_every_figure(result: dict[str, Any]) -> None:
    assert set(result["strategies"]) == set(benchmark.VARIANTS)
    for strategy in result["strategies"].values():
        assert strategy["users"] == 3
        assert 0 <= strategy["ndcg@10_low"] <= strategy["ndcg@10"] <= strategy["ndcg@10_high"] <= 1
        assert 0 < strategy["p50_ms"] <= strategy["p95_ms"]
        uncached = strategy["prompt_tokens"] - strategy["cached_tokens"]
        assert strategy["computed_tokens"] == pytest.approx(uncached)
        assert set(strategy["candidates"]) == {"4", "6"}
        assert set(strategy["requests_per_s"]) == {"1", "2"}
        assert strategy["outputs"] == ({"ok": 3} if strategy["invalid_outputs"] == 0 else {"duplicate": 3})
        assert -1 <= strategy["kendall_tau"] <= 1


def test_outputs_that_break_the_rules_are_counted(result: dict[str, Any]) -> None:
    """The scripted engine gives every object the first id."""
    results = {name: one["invalid_outputs"] for name, one in result["strategies"].items()}
    assert results.pop("generated-scores") == 1
    assert set(results.values()) == {0}


def test_what_sees_no_other_candidate_is_stable_and_what_writes_the_first_numbers_is_not(
    result: dict[str, Any],
) -> None:
    results = {name: one["kendall_tau"] for name, one in result["strategies"].items()}
    assert results["pointwise"] == results["title"] == 1.0
    assert results["generated"] < 1


def test_the_page_shows_a_row_for_each(result: dict[str, Any]) -> None:
    page = report_ranking.ranking(json.loads(json.dumps(result)))
    assert all(page.count(f"| {name} |") == 2 for name in result["strategies"])
    assert all(page.count(f"| {name} |") == 1 for name in result["baselines"])


def test_a_shared_prefix_spares_tokens(result: dict[str, Any]) -> None:
    assert result["without_shared_prefix"]["times_computed"] > 2


def test_times_from_rates_are_prefill_and_writing(result: dict[str, Any]) -> None:
    listwise, generated = (result["strategies"][name] for name in ("listwise", "generated"))
    assert listwise["from_rates_ms"] == pytest.approx(listwise["computed_tokens"], abs=0.1)
    expected = generated["computed_tokens"] + 100 * generated["generated_tokens"]
    assert generated["from_rates_ms"] == pytest.approx(expected, abs=0.1)
    assert listwise["times_faster_than_from_rates"]["generated"] > 1


def test_knobs_make_lists_more_diverse_and_less_popular() -> None:
    data = data_of()
    popular = data.log.counts / max(1, data.log.counts.max())
    share = dict(zip(data.log.items, popular, strict=True))
    lists = [
        [
            candidate(item, score=-0.01 * place, popularity=float(share[item.id]))
            for place, item in enumerate(sorted(data.items, key=lambda item: item.attributes["genre"]))
        ]
        for _ in data.split.cases
    ]
    results = knobs.measure(data, lists)
    assert results["diversity 0.0"]["diversity@10"] < results["diversity 0.3"]["diversity@10"]
    assert results["long_tail 4.0"]["popularity_lift@10"] < results["diversity 0.0"]["popularity_lift@10"]
    described = {"domain": "d", "users": 1, "candidates": 20, "environment": describe()}
    page = report._knobs(described | {"settings": results})
    assert page.count("| long_tail") == len(knobs.SETTINGS["long_tail"])


def test_smaller_models_are_shown_with_what_failed_and_what_was_not_run() -> None:
    ndcg = {"value": 0.4, "low": 0.35, "high": 0.45, "n": 9}
    size = {"rss_mib": 1500, "weights_mib": 257, "ndcg@10": ndcg}
    minus = {"value": -0.01, "low": -0.02, "high": 0.0, "n": 9}
    result = {
        "model": "m",
        "adapter": None,
        "users": 9,
        "protocol": "p",
        "kv_cache_gb": 2.0,
        "not_run": {"fp8": "a GPU"},
        "variants": {
            "bf16": {"what": "as served"} | size,
            "int8": {"what": "rounded", "p50_ratio": 0.8, "ndcg@10_minus_default": minus} | size,
            "last-6": {"what": "shorter", "failed": "vLLM did not start"},
        },
    }
    page = report_trimming.section(result)
    assert "| bf16 | as served | 1.00 | 1500 | 257 | 0.400 (0.350 to 0.450) | - |" in page
    assert "| 0.80 | 1500 | 257 | 0.400 (0.350 to 0.450) | -0.010 (-0.020 to +0.000) |" in page
    assert "does not run: vLLM did not start" in page
    assert "not run here: a GPU" in page


def test_rates_of_a_gpu_are_measured_on_any_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu_rates, "LENGTHS", (8, 16, 24))
    monkeypatch.setattr(sys, "argv", ["gpu_rates", "--shape", "tiny", "--out", str(tmp_path / "rates.json")])
    gpu_rates.main()
    results = json.loads((tmp_path / "rates.json").read_text())
    assert [row["tokens"] for row in results["prefill"]] == [8, 16, 24]
    assert all(
        row["tokens_per_s"] == pytest.approx(1000 * row["tokens"] / row["ms"], rel=0.01)
        for row in results["prefill"]
    )
    assert results["decode"]["tokens_per_s"] > 0
    assert results["parameters"] > 200_000
    assert "prefill" in capsys.readouterr().out
