"""A system's answers on disk, one line per case, to continue interrupted runs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recsys.data.splits import Case
from recsys.errors import DataError, RequestError
from recsys.evaluation.protocol.base import Ranked

OVERWRITE = "use another folder with --out, or --overwrite"


@dataclass(frozen=True)
class CaseAnswer:
    """A system's answer to one case."""

    ranked: Ranked
    seconds: float | None  # None where several cases were ranked at once


@dataclass(frozen=True)
class SystemInfo:
    """What a system says about itself once it is built."""

    fitted_on: str | None
    probabilities: bool
    options: Mapping[str, str]


class RankingFile:
    """`rankings/<system>.jsonl`: a header with all inputs, then an answer per case.

    A file with another header is refused, or replaced if `overwrite`; an incomplete last line
    is dropped.

    Args:
        path: The file.
        header: What is known before the system is built.
        overwrite: Replace the file.

    Raises:
        RequestError: The header differs.
        DataError: The file is damaged.
    """

    def __init__(self, path: Path, header: Mapping[str, Any], *, overwrite: bool = False) -> None:
        self.path = path
        self.system: SystemInfo | None = None
        self.answers: dict[int, CaseAnswer] = {}
        self._header = dict(header)
        if path.is_file() and not overwrite:
            self._read()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")

    def begin(self, system: SystemInfo) -> None:
        """Write the header, or check that the system is still the one in the file."""
        if self.system is None:
            self.system = system
            self._append(self._header | dataclasses.asdict(system))
        elif self.system != system:
            old, new = dataclasses.asdict(self.system), dataclasses.asdict(system)
            raise self._other([name for name in old if old[name] != new[name]])

    def add(self, number: int, case: Case, answer: CaseAnswer) -> None:
        """Append the answer to case `number` of the split."""
        self.answers[number] = answer
        self._append(
            {
                "case": number,
                "user": case.user_id,
                "target": case.target.item_id,
                "items": answer.ranked.items,
                "scores": answer.ranked.scores,
                "seconds": None if answer.seconds is None else round(answer.seconds, 6),
            }
        )

    def _append(self, line: Mapping[str, Any]) -> None:
        with self.path.open("ab") as file:
            file.write(json.dumps(line, ensure_ascii=False, allow_nan=False).encode() + b"\n")

    def _read(self) -> None:
        content = self.path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                entry = json.loads(line)
                if number == 1:
                    self._read_header(entry)
                else:
                    ranked = Ranked(tuple(entry["items"]), tuple(entry["scores"]))
                    self.answers[entry["case"]] = CaseAnswer(ranked, entry["seconds"])
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(
                    str(self.path), number, None, "this line is damaged", hint=OVERWRITE
                ) from error
        if len(whole) < len(content):
            with self.path.open("r+b") as file:
                file.truncate(len(whole))

    def _read_header(self, header: dict[str, Any]) -> None:
        system = {field.name: header.pop(field.name) for field in dataclasses.fields(SystemInfo)}
        differing = [
            name
            for name in {**self._header, **header}
            if json.loads(json.dumps(self._header.get(name))) != header.get(name)
        ]
        if differing:
            raise self._other(differing)
        self.system = SystemInfo(**system)

    def _other(self, differing: list[str]) -> RequestError:
        return RequestError(
            f"{self.path} holds answers of another run: {', '.join(differing)} differ", hint=OVERWRITE
        )
