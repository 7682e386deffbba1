"""A system's answers on disk: one line per case, so that a run that was killed goes on where it stopped."""

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
    """What a system said to one case, and how long it took; None where several were asked at once."""

    ranked: Ranked
    seconds: float | None


@dataclass(frozen=True)
class Made:
    """What a system said of itself when it was built."""

    fitted_on: str | None
    probabilities: bool
    options: Mapping[str, str]


class RankingFile:
    """`rankings/<system>.jsonl`: a header that names all the answers depend on, then the answers.

    `header` is what is known before the system is built. A file with another header is
    refused, or begun anew if `overwrite`; a last line that was half written is dropped.
    Raises RequestError if the header differs, DataError if the file is damaged.
    """

    def __init__(self, path: Path, header: Mapping[str, Any], *, overwrite: bool = False) -> None:
        self.path = path
        self.made: Made | None = None
        self.answers: dict[int, CaseAnswer] = {}
        self._header = dict(header)
        if path.is_file() and not overwrite:
            self._read()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")

    def begin(self, made: Made) -> None:
        """Note what the system is, or check that it is still the one that the file is of."""
        if self.made is None:
            self.made = made
            self._append(self._header | dataclasses.asdict(made))
        elif self.made != made:
            old, new = dataclasses.asdict(self.made), dataclasses.asdict(made)
            raise self._other([name for name in old if old[name] != new[name]])

    def add(self, number: int, case: Case, answer: CaseAnswer) -> None:
        """Keep the answer to case `number` of the split."""
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
                found = json.loads(line)
                if number == 1:
                    self._read_header(found)
                else:
                    ranked = Ranked(tuple(found["items"]), tuple(found["scores"]))
                    self.answers[found["case"]] = CaseAnswer(ranked, found["seconds"])
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(
                    str(self.path), number, None, "this line is damaged", hint=OVERWRITE
                ) from error
        if len(whole) < len(content):
            with self.path.open("r+b") as file:
                file.truncate(len(whole))

    def _read_header(self, found: dict[str, Any]) -> None:
        made = {field.name: found.pop(field.name) for field in dataclasses.fields(Made)}
        differing = [
            name
            for name in {**self._header, **found}
            if json.loads(json.dumps(self._header.get(name))) != found.get(name)
        ]
        if differing:
            raise self._other(differing)
        self.made = Made(**made)

    def _other(self, differing: list[str]) -> RequestError:
        return RequestError(
            f"{self.path} holds answers of another run: {', '.join(differing)} differ", hint=OVERWRITE
        )
