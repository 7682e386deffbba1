"""Errors that say what to do next. Callers match on the type, never on the text."""

from __future__ import annotations


class RecsysError(Exception):
    """Base of every error that a user can cause or see."""

    retryable = False  # whether the same call may succeed later

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint  # the next step, for a person

    def __str__(self) -> str:
        return f"{self.message}\n  -> {self.hint}" if self.hint else self.message


class ConfigError(RecsysError):
    """A setting or a `domain.toml` is wrong."""


class UnknownDomain(RecsysError):
    """No domain has this name or lies in this folder."""


class DataError(RecsysError):
    """A row of input data is wrong; nothing of its import is kept."""

    def __init__(
        self, file: str, row: int | None, field: str | None, problem: str, *, hint: str = ""
    ) -> None:
        where = file + (f", row {row}" if row is not None else "") + (f", field '{field}'" if field else "")
        super().__init__(f"{where}: {problem}", hint=hint)
        self.file, self.row, self.field = file, row, field


class StoreError(RecsysError):
    """The database cannot be read or written."""


class UnknownUser(RecsysError):
    """The user is not in the store."""


class UnknownItem(RecsysError):
    """The item is not in the catalog."""


class UnknownRecommendation(RecsysError):
    """The recommendation is not in the store, or no longer."""


class KeyReused(RecsysError):
    """An idempotency key came with another body than before."""


class KeyInUse(RecsysError):
    """The first request of an idempotency key has not ended."""


class RequestError(RecsysError):
    """A request that makes no sense: k = 0, nothing to rank."""


class ContextError(RecsysError):
    """A time or place that is impossible, ambiguous or unknown."""


class PromptError(RecsysError):
    """A template is missing, broken, lacks a variable, or does not fit its budget."""


class IndexDamaged(RecsysError):
    """A saved index is unusable. It is rebuilt."""


class ModelError(RecsysError):
    """Model weights are missing, damaged or unsuitable."""


class UnusableModel(ModelError):
    """A model that loads, but cannot be asked what ranking asks."""


class EngineError(RecsysError):
    """The engine failed to answer."""

    retryable = True


class EngineDead(EngineError):
    """The engine process has ended; the next request starts a new one."""


class MissingDependency(RecsysError):
    """An optional package is not installed; the hint is the pip command."""
