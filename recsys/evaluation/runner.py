"""Ask every system about every case, check what it answers, and write result and report."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

import recsys
from recsys.data.splits import Case, Split, event_key
from recsys.errors import MissingDependency, RecsysError, RequestError
from recsys.evaluation.protocol import leaks
from recsys.evaluation.protocol.base import (
    NOTE,
    ContractError,
    EvaluationData,
    Factory,
    Ranked,
    System,
    train_log,
)
from recsys.evaluation.protocol.engines import SharedEngines
from recsys.evaluation.protocol.tasks import FULL, Protocol
from recsys.evaluation.results import report
from recsys.evaluation.results.provenance import ENGINES, data_hash, digest, run_of, versions
from recsys.evaluation.results.rankings import CaseAnswer, Made, RankingFile
from recsys.evaluation.results.summary import METHOD, SystemAnswers, summarise
from recsys.evaluation.systems import registry
from recsys.types import Item
from recsys.utils.files import write_text

MIN_DEPTH = 10
AT_ONCE = 16  # cases that a system which can is asked about together
FEW_USERS = 20
PACKAGES = ("numpy", "scipy", "ir-measures", "torch", "faiss-cpu", "sentence-transformers", "transformers")


def evaluate(
    data: EvaluationData,
    systems: Sequence[str],
    out: Path,
    *,
    protocol: Protocol = FULL,
    depth: int = 100,
    only: bool = False,
    overwrite: bool = False,
    factories: Mapping[str, Factory] | None = None,
    command: str = "",
) -> dict[str, Any]:
    """Evaluate `systems`, and beside them the baselines of every table unless `only`.

    Writes `rankings/<system>.jsonl`, `result.json` and `report.html` under `out`, and returns
    what `result.json` holds. A run that was stopped goes on where it was. A system that
    fails with a RecsysError stands under `failed` with its message; the others go on.
    `factories` are systems that the registry does not know.

    Raises LeakError if the split leaks, RequestError for unknown systems, no cases, or a
    folder that holds answers of another run, MissingDependency.
    """
    _check_installed()
    if not data.split.cases:
        raise RequestError(
            "there is no held-out event to ask about", hint="users need at least two different items each"
        )
    if depth < MIN_DEPTH:
        raise RequestError(f"a depth of {depth} is too short", hint=f"rank {MIN_DEPTH} items or more")
    leaks.check(data.split)
    leaks.check_wishes(data.split, data.by_id)
    train = train_log(data.split, data.items, data.domain).hash
    leaks.check_fitted("(data.log)", data.log.hash, train)

    always = () if only else registry.ALWAYS_RATED if protocol.name == "rated" else registry.ALWAYS
    names = tuple(dict.fromkeys((*systems, *always)))
    own = dict(factories or {})
    found = {**registry.find(name for name in names if name not in own), **own}
    header = _header(data, protocol, depth)
    files = _open(out, names, header, overwrite)

    answers: dict[str, SystemAnswers] = {}
    failed: dict[str, str] = {}
    engines = SharedEngines()
    asked = dataclasses.replace(data, engines=engines)
    try:
        for name in names:
            try:
                answers[name] = _ask(name, found[name], asked, depth, files[name])
            except RecsysError as error:
                failed[name] = str(error)
    finally:
        engines.close()
    _tell(data, "computing figures", 0, 1)
    result = {
        "run": _run(data, protocol, header, command) | {"requested": list(systems)},
        **summarise(data, protocol, answers, systems, depth),
        "failed": failed,
        "notes": _notes(data, protocol, failed) + _told(files),
    }
    write_text(out / "result.json", json.dumps(result, ensure_ascii=False, indent=2, allow_nan=False) + "\n")
    write_text(out / "report.html", report.render(result))
    _tell(data, "computing figures", 1, 1)
    return result


def verify(system: str, case: Case, ranked: Ranked, depth: int, items: Mapping[str, Item]) -> None:
    """Raise ContractError, naming system and user, if an answer is not what `System.rank` promises."""

    def broken(problem: str) -> ContractError:
        return ContractError(
            f"system '{system}', user '{case.user_id}': {problem}",
            hint="see recsys.evaluation.protocol.base.System",
        )

    given = set(ranked.items)
    if len(given) < len(ranked.items):
        twice = next(one for place, one in enumerate(ranked.items) if one in ranked.items[:place])
        raise broken(f"item '{twice}' is ranked twice")
    if unknown := next((one for one in ranked.items if one not in items), None):
        raise broken(f"item '{unknown}' is not in the catalogue")
    if case.candidates is None:
        if met := next((event.item_id for event in case.history if event.item_id in given), None):
            raise broken(f"item '{met}' of the history is ranked")
        if len(ranked.items) > depth:
            raise broken(f"{len(ranked.items)} items are ranked where at most {depth} were asked for")
    elif given != set(case.candidates):
        odd = sorted(given.symmetric_difference(case.candidates))[0]
        raise broken(f"item '{odd}' is no candidate" if odd in given else f"candidate '{odd}' is not ranked")
    if len(ranked.scores) != len(ranked.items):
        raise broken(f"{len(ranked.items)} items have {len(ranked.scores)} scores")
    if not np.isfinite(ranked.scores).all():
        raise broken("a score is not a finite number")
    if any(later > earlier for earlier, later in zip(ranked.scores, ranked.scores[1:], strict=False)):
        raise broken("a score is higher than the one before it")


def _ask(name: str, factory: Factory, data: EvaluationData, depth: int, file: RankingFile) -> SystemAnswers:
    """All answers of a system; it is built only if some are not in the file yet."""
    cases = data.split.cases
    what = f"evaluating {name}"
    if len(file.answers) < len(cases):
        _tell(data, what, len(file.answers), len(cases))
        system = factory(data)
        try:
            _complete(name, system, data, depth, file, what)
        finally:
            close: Callable[[], None] | None = getattr(system, "close", None)
            if close:
                close()
    assert file.made is not None
    for number, case in enumerate(cases):
        verify(name, case, file.answers[number].ranked, depth, data.by_id)
    return SystemAnswers([file.answers[number] for number in range(len(cases))], file.made.probabilities)


def _complete(
    name: str, system: System, data: EvaluationData, depth: int, file: RankingFile, what: str
) -> None:
    leaks.check_fitted(name, system.fitted_on, data.log.hash)
    options = {key: str(value) for key, value in getattr(system, "options", {}).items()}
    file.begin(Made(system.fitted_on, system.probabilities, options))
    todo = [number for number in range(len(data.split.cases)) if number not in file.answers]
    many: Callable[[list[Case], int], list[Ranked]] | None = getattr(system, "rank_many", None)
    size = AT_ONCE if many else 1
    for numbers in (todo[first : first + size] for first in range(0, len(todo), size)):
        cases = [data.split.cases[number] for number in numbers]
        begun = time.perf_counter()
        found = many(cases, depth) if many else [system.rank(case, depth) for case in cases]
        seconds = None if many else time.perf_counter() - begun
        for number, case, ranked in zip(numbers, cases, found, strict=True):
            verify(name, case, ranked, depth, data.by_id)
            if system.probabilities and not all(0 <= score <= 1 for score in ranked.scores):
                raise ContractError(
                    f"system '{name}', user '{case.user_id}': a score is no probability",
                    hint="scores lie between 0 and 1 where `probabilities` is true",
                )
            file.add(number, case, CaseAnswer(ranked, seconds))
        _tell(data, what, len(file.answers), len(data.split.cases))


def _open(
    out: Path, names: Sequence[str], header: Mapping[str, Any], overwrite: bool
) -> dict[str, RankingFile]:
    """All files first: nothing is computed, or overwritten, in a folder of another run."""
    for name in names:
        if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]*", name):
            raise RequestError(f"'{name[:80]}' cannot name a system", hint="use a-z, 0-9, '-', '_', '.'")
    try:
        return {
            name: RankingFile(
                out / "rankings" / f"{name}.jsonl", {"system": name, **header}, overwrite=overwrite
            )
            for name in names
        }
    except OSError as error:
        raise RequestError(f"cannot write to {out}: {error.strerror}", hint="choose another --out") from error


def _header(data: EvaluationData, protocol: Protocol, depth: int) -> dict[str, Any]:
    """Whatever answers depend on, known before any system is built."""
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
    elsewhere = {"folder", "title", "licence", "source", "reasons"}
    return {
        "version": recsys.__version__,
        "split": split.name,
        "part": split.part,
        "protocol": protocol.name,
        "situated": data.has_event_contexts,
        "depth": depth,
        "seed": data.seed,
        "train events": data.log.hash,
        "data": data_hash(data.items, (*split.train, *split.held_out)),
        "cases": digest(cases),
        "domain settings": digest(_dump(data.domain, exclude=elsewhere)),
        "settings": digest(_dump(data.settings, include=model) if data.settings else None),
    }


def _dump(model: BaseModel, **which: set[str]) -> dict[str, Any]:
    return model.model_dump(mode="json", **which)  # type: ignore[arg-type]


def _run(data: EvaluationData, protocol: Protocol, header: Mapping[str, Any], command: str) -> dict[str, Any]:
    return run_of(data, command) | {
        "protocol": protocol.name,
        "protocol_text": protocol.text,
        "method": METHOD,
        "depth": header["depth"],
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
    if protocol.name == "full" and _untold(data.split):
        notes.append(
            "What a user met and the system was not told stays in the catalogue and counts as wrong."
        )
    if data.split.new:
        notes.append(
            "Systems that know events alone order new items by id, which can be worse than chance: see 'random'."
        )
    if (users := len({case.user_id for case in data.split.cases})) < FEW_USERS:
        notes.append(f"Only {users} users: no figure here is worth much.")
    sizes = [len(case.candidates) for case in data.split.cases if case.candidates is not None]
    if protocol.name != "rated" and sizes and min(sizes) < max(sizes):
        notes.append(f"Lists have {min(sizes)} to {max(sizes)} candidates.")
    notes += [f"System '{name}' failed and is missing." for name in failed]
    return notes


def _untold(split: Split) -> bool:
    """Whether histories lack what their users met before the target."""
    return split.name.startswith("cold-users") or split.name.endswith("-alone")


def _told(files: Mapping[str, RankingFile]) -> list[str]:
    """What systems say of themselves that a reader must know."""
    made = {name: file.made for name, file in files.items() if file.made}
    return [f"{name}: {found.options[NOTE]}." for name, found in made.items() if NOTE in found.options]


def _check_installed() -> None:
    """Before hours of work, not after."""
    for package in ("ir_measures", "matplotlib"):
        if importlib.util.find_spec(package) is None:
            raise MissingDependency(f"{package} is not installed", hint="pip install 'whyrec[evaluate]'")


def _tell(data: EvaluationData, what: str, done: int, total: int) -> None:
    if data.progress:
        data.progress(what, done, total)
