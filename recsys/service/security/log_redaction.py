"""What no log may hold: keys, passwords, and what tells who somebody is."""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Mapping
from typing import Any

from recsys.config import Privacy, Settings
from recsys.context.pii import mask_json

HIDDEN = "[secret]"
EVERYTHING = Privacy(mask=("name", "mail", "phone", "card", "iban", "ip"))

_SECRETS = (
    re.compile(r"(?<!\w)whyrec_[0-9a-f]{12}_()[\w-]{20,}"),  # our own keys
    re.compile(r"(?<!\w)(?:hf_|sk-|ghp_|glpat-)()[\w-]{16,}"),  # tokens of others, by how they begin
    re.compile(r"(?i)((?:bearer|basic)\s+)[\w.~+/=-]{8,}"),
    re.compile(r"(://[^/\s:@]*:)[^@\s/]+(?=@)"),  # the password of a URL
    re.compile(
        r"(?i)((?:authorization|cookie|password|passwd|secret|token|api[_-]?key)[\"']?\s*[=:]\s*[\"']?)"
        r"(?!bearer\b|basic\b)[^\s\"',;&]{4,}"
    ),
)


class Redactor(logging.Filter):
    """Takes secrets and personal data out of records: message, traceback, and the fields beside them.

    `secrets` are texts that are one whatever they look like. A filter for a handler.
    """

    def __init__(self, secrets: tuple[str, ...] = (), privacy: Privacy = EVERYTHING) -> None:
        super().__init__()
        self._secrets = tuple(sorted((one for one in secrets if len(one) >= 4), key=len, reverse=True))
        self._privacy = privacy

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = self.text(_message(record)), None
        if record.exc_info and record.exc_info[0]:
            record.exc_text = self.text("".join(traceback.format_exception(*record.exc_info)).rstrip())
            record.exc_info = None  # a formatter would write it out anew
        if isinstance(fields := getattr(record, "fields", None), Mapping):
            record.fields = self._plain(fields)
        return True

    def text(self, text: str) -> str:
        """A text without secrets and personal data."""
        masked: str = mask_json(self._without_secrets(text), self._privacy)
        return masked

    def _without_secrets(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        for pattern in _SECRETS:
            text = pattern.sub(lambda match: f"{match[1]}{HIDDEN}", text)
        return text

    def _plain(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {name: self._plain(inner) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self._plain(inner) for inner in value]
        return value


def install(settings: Settings) -> Redactor:
    """Redact what all loggers send to the present handlers of the root logger."""
    from sqlalchemy import make_url

    password = make_url(settings.database_url).password
    redactor = Redactor(tuple(filter(None, (settings.api_key, str(password or "")))))
    for handler in logging.getLogger().handlers:
        handler.addFilter(redactor)
    return redactor


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):  # a wrong call of the logger, which must not raise here
        return str(record.msg)
