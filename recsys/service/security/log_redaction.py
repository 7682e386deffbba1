"""Redaction of logs: keys, passwords and personal data are masked."""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Mapping
from typing import Any

from recsys.config import Privacy, Settings
from recsys.context.pii import mask
from recsys.data.database import url_password

HIDDEN = "[secret]"
EVERYTHING = Privacy(mask=("name", "mail", "phone", "card", "iban", "id", "address", "ip"))

_SECRETS = (
    re.compile(r"(?<!\w)whyrec_[0-9a-f]{12}_()[\w-]{20,}"),  # API keys of this service
    re.compile(r"(?<!\w)(?:hf_|sk-|ghp_|glpat-)()[\w-]{16,}"),  # tokens of other services, by prefix
    re.compile(r"(?i)((?:bearer|basic)\s+)[\w.~+/=-]{8,}"),
    re.compile(r"(://[^/\s:@]*:)[^@\s/]+(?=@)"),  # the password of a URL
    re.compile(
        r"(?i)((?:authorization|cookie|password|passwd|secret|token|api[_-]?key)[\"']?\s*[=:]\s*[\"']?)"
        r"(?!bearer\b|basic\b)[^\s\"',;&]{4,}"
    ),
)


class Redactor(logging.Filter):
    """Removes secrets and personal data from log records.

    It is a filter for a handler.

    Args:
        secrets: Texts that are secret whatever they look like.
        privacy: Which personal data is masked.
    """

    def __init__(self, secrets: tuple[str, ...] = (), privacy: Privacy = EVERYTHING) -> None:
        super().__init__()
        self._secrets = tuple(
            sorted((secret for secret in secrets if len(secret) >= 4), key=len, reverse=True)
        )
        self._privacy = privacy

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact a record in place; keep every record."""
        record.msg, record.args = self.redact(_message(record)), None
        if record.exc_info and record.exc_info[0]:
            record.exc_text = self.redact("".join(traceback.format_exception(*record.exc_info)).rstrip())
            record.exc_info = None  # else a formatter would format it again
        if isinstance(fields := getattr(record, "fields", None), Mapping):
            record.fields = self._redact_all(fields)
        return True

    def redact(self, text: str) -> str:
        """Mask the secrets and personal data in a text."""
        return mask(self._without_secrets(text), self._privacy)

    def _without_secrets(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        for pattern in _SECRETS:
            text = pattern.sub(lambda match: f"{match[1]}{HIDDEN}", text)
        return text

    def _redact_all(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.redact(value)
        if isinstance(value, Mapping):
            return {name: self._redact_all(inner) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self._redact_all(inner) for inner in value]
        return value


def install(settings: Settings) -> Redactor:
    """Redact what all loggers send to the current handlers of the root logger."""
    redactor = Redactor(tuple(filter(None, (settings.api_key, url_password(settings.database_url)))))
    for handler in logging.getLogger().handlers:
        handler.addFilter(redactor)
    return redactor


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):  # the logger was called wrongly, which must not raise here
        return str(record.msg)
