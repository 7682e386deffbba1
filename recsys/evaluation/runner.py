"""Run every system on every case, verify the answers, and write result and report."""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import recsys
from recsys.data.splits import Case, Split, event_key
from recsys.errors import MissingDependency, RecsysError, RequestError
from recsys.evaluation.protocol import leaks
from recsys.evaluation.protocol.base import (
    NOTE,
    ContractError,
    EvaluationData,
    Ranked,
    System,
    SystemFactory,
    train_log,
)
from recsys.evaluation.protocol.engines import SharedEngines
from recsys.evaluation.protocol.tasks import FULL, Protocol
from recsys.evaluation.results import report
from recsys.evaluation.results.provenance import ENGINES, data_hash, digest, run_facts, versions
from recsys.evaluation.results.rankings import CaseAnswer, RankingFile, SystemInfo
from recsys.evaluation.results.summary import METHOD, SystemAnswers, summarise
from recsys.evaluation.systems import registry
from recsys.types import Item
from recsys.utils.files import write_text

MIN_DEPTH = 10
BATCH_SIZE = 16  # cases per call of a system that ranks several at once
FEW_USERS = 20
PACKAGES = ("numpy", "scipy", "ir-measures", "torch", "faiss-cpu", "sentence-transformers", "transformers")


@dataclass(frozen=True)
class RunOptions:
    """How systems are evaluated, whichever they are."""

    protocol: Protocol = FULL
    depth: int = 100  # items of the catalogue that are ranked
    baselines: bool = True  # add the baselines that every table has
    overwrite: bool = False  # start over where the folder holds another run
    command: str = ""  # for the result


DEFAULT_OPTIONS = RunOptions()


def evaluate(
    data: EvaluationData,
    systems: Sequence[str],
    out: Path,
    options: RunOptions = DEFAULT_OPTIONS,
    *,
    factories: Mapping[str, SystemFactory] | None = None,
) -> dict[str, Any]:
    """Evaluate systems and write rankings, `result.json` and `report.html`.

    An interrupted run continues where it stopped. A system that raises a RecsysError is
    listed under `failed` with its message; the others go on.

    Args:
        data: Split, items and users.
        systems: Names of the systems to evaluate.
        out: Folder of the results.
        options: Protocol, depth, baselines.
        factories: Systems that the registry does not have, by name.

    Returns:
        The content of `result.json`.

    Raises:
        LeakError: The split leaks.
        RequestError: A system is unknown, there are no cases, or the folder holds another run.
        MissingDependency: ir-measures or matplotlib is not installed.
    """
    _check_installed()
    _check_data(data, options)
    names, all_factories = _select(systems, options, factories or {})
    header = _header(data, options)
    files = _open(out, names, header, options.overwrite)
    answers, failed = _collect(data, options, all_factories, files)
    _report_progress(data, "computing figures", 0, 1)
    result = {
        "run": _run(data, options, header) | {"requested": list(systems)},
        **summarise(data, options.protocol, answers, systems, options.depth),
        "failed": failed,
        "notes": _notes(data, options.protocol, failed) + _system_notes(files),
    }
    write_text(out / "result.json", json.dumps(result, ensure_ascii=False, indent=2, allow_nan=False) + "\n")
    write_text(out / "report.html", report.render(result))
    _report_progress(data, "computing figures", 1, 1)
    return result


def verify(system: str, case: Case, ranked: Ranked, depth: int, items: Mapping[str, Item]) -> None:
    """Raise ContractError for an answer that breaks the contract of `System.rank`."""
    if problem := _items_problem(case, ranked, depth, items) or _scores_problem(ranked):
        raise ContractError(
            f"system '{system}', user '{case.user_id}': {problem}",
            hint="see recsys.evaluation.protocol.base.System",
        )


def _items_problem(case: Case, ranked: Ranked, depth: int, items: Mapping[str, Item]) -> str:
    """Return what is wrong with the ranked items; "" if nothing."""
    ids = set(ranked.items)
    if len(ids) < len(ranked.items):
        duplicate = next(item for rank, item in enumerate(ranked.items) if item in ranked.items[:rank])
        return f"item '{duplicate}' is ranked twice"
    if unknown := next((item for item in ranked.items if item not in items), None):
        return f"item '{unknown}' is not in the catalogue"
    if case.candidates is None:
        if not case.repeats and (
            seen := next((event.item_id for event in case.history if event.item_id in ids), None)
        ):
            return f"item '{seen}' of the history is ranked"
        if len(ranked.items) > depth:
            return f"{len(ranked.items)} items are ranked where at most {depth} were asked for"
    elif ids != set(case.candidates):
        item = sorted(ids.symmetric_difference(case.candidates))[0]
        return f"item '{item}' is no candidate" if item in ids else f"candidate '{item}' is not ranked"
    return ""


def _scores_problem(ranked: Ranked) -> str:
    """Return what is wrong with the scores; "" if nothing."""
    if len(ranked.scores) != len(ranked.items):
        return f"{len(ranked.items)} items have {len(ranked.scores)} scores"
    if not np.isfinite(ranked.scores).all():
        return "a score is not a finite number"
    if any(later > earlier for earlier, later in itertools.pairwise(ranked.scores)):
        return "a score is higher than the one before it"
    return ""


def _check_installed() -> None:
    """Fail before hours of work, not after."""
    for package in ("ir_measures", "matplotlib"):
        if importlib.util.find_spec(package) is None:
            raise MissingDependency(f"{package} is not installed", hint="pip install 'whyrec[evaluate]'")


def _check_data(data: EvaluationData, options: RunOptions) -> None:
    if not data.split.cases:
        raise RequestError("no held-out event to evaluate on", hint="users need two or more different items")
    if options.depth < MIN_DEPTH:
        raise RequestError(f"a depth of {options.depth} is too short", hint=f"rank {MIN_DEPTH} items or more")
    leaks.check(data.split)
    leaks.check_wishes(data.split, data.by_id)
    train = train_log(data.split, data.items, data.domain).hash
    leaks.check_fitted("(data.log)", data.log.hash, train)


def _select(
    systems: Sequence[str], options: RunOptions, factories: Mapping[str, SystemFactory]
) -> tuple[tuple[str, ...], dict[str, SystemFactory]]:
    """Return the names to evaluate, requested ones first, and each one's factory."""
    rated = options.protocol.name == "rated"
    baselines = registry.RATED_BASELINE_NAMES if rated else registry.BASELINE_NAMES
    names = tuple(dict.fromkeys((*systems, *(baselines if options.baselines else ()))))
    return names, {
        **registry.find_factories(name for name in names if name not in factories),
        **factories,
    }


def _collect(
    data: EvaluationData,
    options: RunOptions,
    factories: Mapping[str, SystemFactory],
    files: Mapping[str, RankingFile],
) -> tuple[dict[str, SystemAnswers], dict[str, str]]:
    """Return the answers of each system, or its error message."""
    answers: dict[str, SystemAnswers] = {}
    failed: dict[str, str] = {}
    engines = SharedEngines()
    shared = dataclasses.replace(data, engines=engines)
    try:
        for name, file in files.items():
            try:
                answers[name] = _answers_of(name, factories[name], shared, options.depth, file)
            except RecsysError as error:
                failed[name] = str(error)
    finally:
        engines.close()
    return answers, failed


def _answers_of(
    name: str, factory: SystemFactory, data: EvaluationData, depth: int, file: RankingFile
) -> SystemAnswers:
    """All answers of a system; it is built only if some are not in the file yet."""
    cases = data.split.cases
    if len(file.answers) < len(cases):
        _report_progress(data, f"evaluating {name}", len(file.answers), len(cases))
        system = factory(data)
        try:
            _rank_missing(name, system, data, depth, file)
        finally:
            close: Callable[[], None] | None = getattr(system, "close", None)
            if close:
                close()
    assert file.system is not None
    for number, case in enumerate(cases):
        verify(name, case, file.answers[number].ranked, depth, data.by_id)
    return SystemAnswers([file.answers[number] for number in range(len(cases))], file.system.probabilities)


def _rank_missing(name: str, system: System, data: EvaluationData, depth: int, file: RankingFile) -> None:
    """Rank the cases whose answer is not in the file yet."""
    leaks.check_fitted(name, system.fitted_on, data.log.hash)
    options = {key: str(value) for key, value in getattr(system, "options", {}).items()}
    file.begin(SystemInfo(system.fitted_on, system.probabilities, options))
    todo = [number for number in range(len(data.split.cases)) if number not in file.answers]
    rank_many: Callable[[list[Case], int], list[Ranked]] | None = getattr(system, "rank_many", None)
    size = BATCH_SIZE if rank_many else 1
    for numbers in (todo[first : first + size] for first in range(0, len(todo), size)):
        cases = [data.split.cases[number] for number in numbers]
        begun = time.perf_counter()
        rankings = rank_many(cases, depth) if rank_many else [system.rank(case, depth) for case in cases]
        seconds = None if rank_many else time.perf_counter() - begun
        for number, case, ranked in zip(numbers, cases, rankings, strict=True):
            verify(name, case, ranked, depth, data.by_id)
            if system.probabilities and not all(0 <= score <= 1 for score in ranked.scores):
                raise ContractError(
                    f"system '{name}', user '{case.user_id}': a score is no probability",
                    hint="scores lie between 0 and 1 where `probabilities` is true",
                )
            file.add(number, case, CaseAnswer(ranked, seconds))
        _report_progress(data, f"evaluating {name}", len(file.answers), len(data.split.cases))


def _open(
    out: Path, names: Sequence[str], header: Mapping[str, Any], overwrite: bool
) -> dict[str, RankingFile]:
    """Open all files first: a folder of another run is refused before any work."""
    for name in names:
        if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]*", name):
            raise RequestError(f"'{name[:80]}' cannot name a system", hint="use a-z, 0-9, '-', '_', '.'")
    folder = out / "rankings"
    try:
        return {
            name: RankingFile(folder / f"{name}.jsonl", {"system": name, **header}, overwrite=overwrite)
            for name in names
        }
    except OSError as error:
        raise RequestError(f"cannot write to {out}: {error.strerror}", hint="choose another --out") from error


def _header(data: EvaluationData, options: RunOptions) -> dict[str, Any]:
    """All that the answers depend on and that is known before any system is built."""
    split = data.split
    cases = [
        [
            event_key(case.target),
            [event_key(event) for event in case.history],
            case.candidates,
            *([case.wish] if case.wish else []),
        ]
        for case in split.cases
    ]
    model = {"model", "embedder", "adapter", "engine", "dtype", "max_model_len"}
    irrelevant = {"folder", "title", "licence", "source", "reasons"}
    return {
        "version": recsys.__version__,
        "split": split.name,
        "part": split.part,
        "protocol": options.protocol.name,
        "situated": data.has_event_contexts,
        "depth": options.depth,
        "seed": data.seed,
        "train events": data.log.hash,
        "data": data_hash(data.items, (*split.train, *split.held_out)),
        "cases": digest(cases),
        "domain settings": digest(data.domain.model_dump(mode="json", exclude=irrelevant)),
        "settings": digest(data.settings.model_dump(mode="json", include=model) if data.settings else None),
    }


def _run(data: EvaluationData, options: RunOptions, header: Mapping[str, Any]) -> dict[str, Any]:
    return run_facts(data, options.command) | {
        "protocol": options.protocol.name,
        "protocol_text": options.protocol.text,
        "method": METHOD,
        "depth": options.depth,
        "items": len(data.items),
        "train_events": len(data.split.train),
        "held_out_events": len(data.split.held_out),
        "data_hash": header["data"],
        "train_hash": header["train events"],
        "versions": versions((*PACKAGES, *ENGINES)),
    }


def _notes(data: EvaluationData, protocol: Protocol, failed: Mapping[str, str]) -> list[str]:
    notes = [protocol.warning] if protocol.warning else []
    if data.split.part == "validation":
        notes.append("Validation: figures to tune by, never to report beside those of the test.")
    if protocol.name == "full" and _has_hidden_events(data.split):
        notes.append(
            "What a user met and the system was not told stays in the catalogue and counts as wrong."
        )
    if data.split.new:
        notes.append(
            "Systems that know events alone order new items by id, which can be worse than chance: "
            "see 'random'."
        )
    if (users := len({case.user_id for case in data.split.cases})) < FEW_USERS:
        notes.append(f"Only {users} users: no figure here is worth much.")
    sizes = [len(case.candidates) for case in data.split.cases if case.candidates is not None]
    if protocol.name != "rated" and sizes and min(sizes) < max(sizes):
        notes.append(f"Lists have {min(sizes)} to {max(sizes)} candidates.")
    notes += [f"System '{name}' failed and is missing." for name in failed]
    return notes


def _has_hidden_events(split: Split) -> bool:
    """Whether histories lack events that their users had before the target."""
    return split.name.startswith("cold-users") or split.name.endswith("-alone")


def _system_notes(files: Mapping[str, RankingFile]) -> list[str]:
    """Return the notes that systems give about themselves."""
    systems = {name: file.system for name, file in files.items() if file.system}
    return [f"{name}: {info.options[NOTE]}." for name, info in systems.items() if NOTE in info.options]


def _report_progress(data: EvaluationData, what: str, done: int, total: int) -> None:
    if data.progress:
        data.progress(what, done, total)
