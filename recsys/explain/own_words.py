"""What was measured of a model as a writer of its own words, kept with its name."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, TypeAdapter, ValidationError

from recsys.config import ReasonConfig
from recsys.types import StrictModel
from recsys.utils.files import write_text

FILE = "own_words.json"
UNMEASURED = 0.5  # p(Yes) that is asked for where a domain wants a free writer that nobody has measured
LEAST_WRITTEN = 0.5  # share of reasons that a model must word itself to be let
LEAST_ACCEPTED = 0.5  # share of true sentences that its check must hold
MOST_FAULTS = 0.05  # share of false sentences that its check may hold


class OwnWords(StrictModel):
    """How a model did as a free writer, and as its own judge."""

    reasons: int = Field(description="that it was asked for")
    written: float = Field(description="share of them that passed both checks")
    by_rule: float = Field(description="share of them that passed the check by rule")
    threshold: float = Field(description="least p(Yes) at which so few false sentences are held")
    true_held: float = Field(description="share of true sentences held at the threshold")
    false_held: float = Field(description="share of false sentences held at the threshold")
    auc: float = Field(description="of p(Yes), true sentences against false ones")

    @property
    def may_write(self) -> bool:
        """Whether the model may word reasons itself where the domain does not say."""
        return (
            self.written >= LEAST_WRITTEN
            and self.true_held >= LEAST_ACCEPTED
            and self.false_held <= MOST_FAULTS
        )


_RECORDS = TypeAdapter(dict[str, OwnWords])


def record_key(model: str, adapter: str | None, language: str) -> str:
    """Return the name of a record: of a model with its adapter, in one language."""
    return f"{model}|{adapter or ''}|{language}"


def read_records(data_dir: Path) -> dict[str, OwnWords]:
    """Return what was measured; nothing where the file is missing or not readable."""
    try:
        return _RECORDS.validate_json((data_dir / FILE).read_bytes())
    except (OSError, ValidationError):
        return {}


def keep_record(data_dir: Path, key: str, record: OwnWords) -> None:
    """Keep a record, in the place of an earlier one of the same name."""
    records = {**read_records(data_dir), key: record}
    write_text(data_dir / FILE, _RECORDS.dump_json(records, indent=2).decode() + "\n")


def follows_threshold(reasons: ReasonConfig, record: OwnWords | None) -> float | None:
    """Return the p(Yes) that own words need; None: the model may write none."""
    if reasons.writer == "grammar" or (reasons.writer == "auto" and not (record and record.may_write)):
        return None
    return record.threshold if record else UNMEASURED
