"""Errors that say what to do next. Callers match on the type, never on the text."""

from __future__ import annotations


class RecsysError(Exception):
    """Base of every error a user can cause or meet.

    `hint` is the next step for a person; `retryable` tells a program whether the
    same call may succeed later.
    """

    retryable = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  -> {self.hint}" if self.hint else self.message


class ConfigError(RecsysError):
    """A setting or `domain.toml` is wrong."""


class UnknownDomain(RecsysError):
    """No domain of that name or at that folder."""


class DataError(RecsysError):
    """A row of input data is wrong. Nothing of that import was kept."""

    def __init__(
        self, file: str, row: int | None, field: str | None, problem: str, *, hint: str = ""
    ) -> None:
        where = file + (f", row {row}" if row is not None else "") + (f", field '{field}'" if field else "")
        super().__init__(f"{where}: {problem}", hint=hint)
        self.file, self.row, self.field = file, row, field


class StoreError(RecsysError):
    """The database cannot be read or written."""


class UnknownUser(RecsysError):
    """That user is not in the store."""


class UnknownItem(RecsysError):
    """That item is not in the catalogue."""


class RequestError(RecsysError):
    """A request that cannot be meant: k = 0, nothing to rank."""


class ContextError(RecsysError):
    """A time or place that is impossible, ambiguous or unknown."""


class PromptError(RecsysError):
    """A template is missing, broken, lacks a variable, or cannot fit its budget."""


class IndexDamaged(RecsysError):
    """A saved index cannot be used as it is. It is rebuilt, never trusted."""


class ModelError(RecsysError):
    """Model weights are missing, damaged or unsuitable."""


class EngineError(RecsysError):
    """The engine failed to answer."""

    retryable = True


class EngineDead(EngineError):
    """The engine process is gone; the next request starts a new one."""


class MissingDependency(RecsysError):
    """An optional package is not installed; the hint is the pip command."""
