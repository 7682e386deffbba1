"""What does the model add to the retriever, before `recsys fit` and after?

    python -m benchmarks.model_weight --domain news --split impressions
    python -m benchmarks.model_weight --domain runs/films-671 --minutes 5 # benchmarks/films_671.py writes it

The model is asked about events of the validation, from which the weights are fitted as `recsys fit` does,
and then about events of the test, once. Adds the domain to benchmarks/results/model_weight.json: by kind of
request NDCG@10 of the retriever, and minus it that of the model alone, of the weights that hold without
a fit, and of the fitted ones.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.environment import describe, write_json
from recsys.cli.evaluate_options import SplitOptions
from recsys.config import Domain, load_domain, load_settings
from recsys.config.ranking import FittedScore, RequestKind, Weights
from recsys.data.batch import ImportBatch
from recsys.data.importers import read_domain
from recsys.data.splits import Split, leave_one_out, sample_users
from recsys.engine import open_engine
from recsys.engine.adapters import resolve_adapter
from recsys.evaluation.protocol.base import EvaluationData
from recsys.evaluation.score_cases import ScoreCases
from recsys.evaluation.systems.recommenders import fit_on_train
from recsys.prompting.library import PromptLibrary
from recsys.ranking import RankerParts, make_ranker
from recsys.ranking.score_fit import ScoredCase, fit_kind
from recsys.types import Filter
from recsys.utils.intervals import bootstrap
from retrieval import HybridRetriever, Query
from retrieval.fit import HeldOutRequest

OUT = Path(__file__).resolve().parent / "results" / "model_weight.json"
LAST = 3  # events of each user that the weights are fitted on, before the one of the test
ByKind = Mapping[RequestKind, Sequence[ScoredCase]]


def requests_of(data: EvaluationData) -> list[HeldOutRequest]:
    """Return the requests of a split's cases."""
    requests = []
    for case in data.split.cases:
        history = data.catalog.entries(case.history, data.domain.feedback)
        shown = case.candidates is not None
        query = Query(
            history,
            exclude=frozenset() if shown or case.repeats else frozenset(entry.item.id for entry in history),
            filter=Filter(only=frozenset(case.candidates)) if case.candidates is not None else Filter(),
            context=data.context_of(case),
            profile=data.profile_of(case),
        )
        requests.append(HeldOutRequest(case.user_id, case.target.item_id, query))
    return requests


def figures(cases: ByKind, fitted: FittedScore, domain: Domain) -> dict[str, Any]:
    """Return NDCG@10 by kind of request, under the weights of each way to rank."""
    model = fitted.model, fitted.adapter
    before = domain.weights(*model)
    score = domain.ranker.model_copy(update={"fitted": fitted})
    after = domain.model_copy(update={"ranker": score}).weights(*model)
    rows: dict[str, Any] = {}
    for kind, of_kind in sorted(cases.items()):
        users = [case.user for case in of_kind]
        retriever = _ndcg(of_kind, Weights(model=0, retriever=1))
        rows[kind] = {
            "events": len(of_kind),
            "found": sum(case.target is not None for case in of_kind),
            "users": len(set(users)),
            "retriever": _interval(retriever, users),
            "minus": {
                name: _interval(_ndcg(of_kind, weights) - retriever, users)
                for name, weights in (
                    ("model alone", Weights(model=1, retriever=0)),
                    ("before the fit", before.get(kind, before["plain"])),
                    ("after the fit", after.get(kind, after["plain"])),
                )
            },
        }
    return rows


def _ndcg(cases: Sequence[ScoredCase], weights: Weights) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([case.ndcg(np.array([weights.model, weights.retriever])) for case in cases])


def _interval(values: Any, users: Sequence[str]) -> dict[str, float]:
    interval = bootstrap(values, users)
    return {name: round(getattr(interval, name), 4) for name in ("value", "low", "high")}


def measure(name: str, split: str, minutes: float, users: int | None) -> dict[str, Any]:
    """Fit on the validation, and measure on the test."""
    domain, settings = load_domain(name), load_settings()
    batch = read_domain(domain)
    engine = open_engine(settings, adapter=resolve_adapter(domain, settings))
    prompts = PromptLibrary(domain.prompt_folder)
    ranker = make_ranker("pointwise", RankerParts.of(engine, prompts, domain))

    def collected(part: Split) -> tuple[dict[RequestKind, list[ScoredCase]], float]:
        data = EvaluationData.of(
            domain,
            batch.items,
            {user.id: user for user in batch.users},
            part,
            settings=settings,
            edges=batch.edges or (),
        )
        retriever: HybridRetriever = fit_on_train(data, None)
        cases, begun = ScoreCases(domain, retriever, ranker, prompts), time.monotonic()
        cases.collect(requests_of(data), 60 * minutes)
        return cases.scored, time.monotonic() - begun

    validation, test = split_parts(batch, domain, split, users)
    scored, seconds = collected(validation)
    kinds = {kind: fit for kind, of_kind in scored.items() if (fit := fit_kind(of_kind))}
    fitted = FittedScore(model=engine.model, adapter=engine.adapter, kinds=kinds)
    asked, test_seconds = collected(test)
    engine.close()
    return {
        "title": domain.title or domain.name,
        "model": engine.model,
        "adapter": engine.adapter,
        "rule": f"Weights: {validation.rule} Figures: {test.rule}",
        "seconds": {"fit": round(seconds), "test": round(test_seconds)},
        "fitted": fitted.model_dump(mode="json"),
        "test": figures(asked, fitted, domain),
    }


def split_parts(batch: ImportBatch, domain: Domain, name: str, users: int | None) -> tuple[Split, Split]:
    """Return validation and test of a split."""
    if name == "leave-one-out":
        events = batch.interactions
        parts = leave_one_out(events, "validation", LAST, 1), leave_one_out(events)
    else:
        parts = tuple(  # type: ignore[assignment]
            SplitOptions(name, part, 1, 0, None, None, 0).split(batch, domain)  # type: ignore[arg-type]
            for part in ("validation", "test")
        )
    if users is None:
        return parts
    return sample_users(parts[0], users), sample_users(parts[1], users)


def main() -> None:
    """Measure one domain and add it to the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--domain", required=True, help="name or folder")
    parser.add_argument("--split", default="leave-one-out", help="as for recsys evaluate")
    parser.add_argument("--minutes", type=float, default=5, help="of asking the model, for each part")
    parser.add_argument("--users", type=int, help="how many users, drawn by seed 0; default: all")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    result = measure(options.domain, options.split, options.minutes, options.users)
    known = json.loads(options.out.read_text(encoding="utf-8"))["domains"] if options.out.is_file() else {}
    known[Path(options.domain).name] = result | {"environment": describe()}
    write_json(options.out, {"domains": known})


if __name__ == "__main__":
    main()
