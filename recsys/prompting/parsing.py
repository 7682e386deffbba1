"""Parsing of model output into a typed result and a report, without ever raising.

Engine errors are raised by the engine and never reach a parser, so none is mistaken for a ranking.
"""

from __future__ import annotations

import json
import re
from typing import Any

from recsys.types import ParseCategory, ParseReport

_REFUSAL = re.compile(
    r"^\W*(i'?m sorry|i am sorry|sorry\b|i can(?:no|')t\b|i am unable|i'?m unable|as an ai\b)", re.IGNORECASE
)


def parse_json(text: str, *, truncated: bool = False) -> tuple[Any, ParseReport]:
    """Parse the JSON value in `text`, repaired if necessary; None if there is none."""
    stripped = text.strip()
    if not stripped:
        return None, _report("empty", "the model wrote nothing")
    try:
        return json.loads(stripped), _report(
            "truncated", "cut off by the token limit"
        ) if truncated else _report("ok")
    except ValueError:
        pass
    except RecursionError:
        return None, _report("wrong_format", "nested too deeply")
    if _REFUSAL.match(stripped):
        return None, _report("refusal", repr(stripped[:120]))
    if "{" not in stripped and "[" not in stripped:
        return None, _report("wrong_format", f"no JSON in {stripped[:80]!r}")
    import json_repair

    try:
        value = json_repair.loads(stripped)
    except Exception as error:  # whatever the repair library raises, the model's text caused it
        return None, _report("wrong_format", f"{type(error).__name__} while repairing")
    if not isinstance(value, dict | list) or not value:
        return None, _report("truncated" if truncated else "wrong_format", f"no JSON in {stripped[:80]!r}")
    if truncated:
        return value, ParseReport(category="truncated", detail="cut off by the token limit", repaired=True)
    return value, ParseReport(category="repaired", detail="JSON mended", repaired=True)


def parse_order(text: str, n: int, *, truncated: bool = False) -> tuple[list[int], ParseReport]:
    """Parse an order of the numbers 1..n, as 0-based positions, best first.

    Accepts a JSON list, an object with one, or plain text such as "3 > 1 > 2". Unknown and repeated
    numbers are dropped and missing ones appended in their given order, so the result is always a
    permutation. The report names the worst fault.
    """
    value, report = parse_json(text, truncated=truncated)
    if report.category in ("empty", "refusal"):
        return list(range(n)), report
    if isinstance(value, dict):
        value = next((entry for entry in value.values() if isinstance(entry, list)), None)
    numbers = [_integer(entry) for entry in value] if isinstance(value, list) else []
    if not isinstance(value, list):
        numbers = [int(number) for number in re.findall(r"(?<![\d.])\d{1,4}(?!\d|\.(?!\s*\Z))", text)]
        if not numbers:
            return list(range(n)), _report("wrong_format", f"no order in {text.strip()[:80]!r}")
        report = ParseReport(
            category="truncated" if truncated else "repaired",
            detail="numbers taken from plain text",
            repaired=True,
        )

    order: list[int] = []
    unknown = repeated = 0
    for number in numbers:
        if number is None or not 1 <= number <= n:
            unknown += 1
        elif number - 1 in order:
            repeated += 1
        else:
            order.append(number - 1)
    placed = set(order)
    missing = [position for position in range(n) if position not in placed]
    if report.category == "ok" or (report.category == "repaired" and (unknown or repeated or missing)):
        report = _order_report(unknown, repeated, len(missing), report)
    return order + missing, report


def parse_reason(text: str, *, truncated: bool = False) -> tuple[str, ParseReport]:
    """Parse {"sentence": "..."} into (sentence, report)."""
    value, report = parse_json(text, truncated=truncated)
    if not isinstance(value, dict):
        return "", report if report.category != "ok" else _report("wrong_format", "not a JSON object")
    sentence = value.get("sentence")
    if not isinstance(sentence, str) or not sentence.strip():
        return "", _report("missing", "no sentence")
    return sentence.strip(), report


def _integer(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, str) and value.strip().isdecimal() and len(value.strip()) <= 6:
        return int(value.strip())
    if isinstance(value, dict):  # [{"id": 3, "score": 0.9}, ...]
        numbers = (_integer(entry) for entry in value.values() if not isinstance(entry, dict))
        return next((number for number in numbers if number is not None), None)
    return None


def _order_report(unknown: int, repeated: int, missing: int, before: ParseReport) -> ParseReport:
    if unknown:
        return _report("unknown_id", f"{unknown} unknown, {repeated} repeated, {missing} missing")
    if repeated:
        return _report("duplicate", f"{repeated} repeated, {missing} missing")
    if missing:
        return _report("missing", f"{missing} missing")
    return before


def _report(category: ParseCategory, detail: str = "") -> ParseReport:
    return ParseReport(category=category, detail=detail)
