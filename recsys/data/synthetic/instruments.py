"""Companies and exchange-traded funds of two packages, as items.

Companies of twenty indices with the noisy labels of public pages, and funds that say nothing but their
names: sector, size, risk class and what is complex are told from words, by the tables in
`instruments.toml`. The risk class is a rule of thumb, not advice; `risk_of_fund` states it.
"""

from __future__ import annotations

import ast
import csv
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from recsys.errors import DataError

NAMES = Path(__file__).with_suffix(".toml")
INDICES, FUNDS = "pytickersymbols/indices_data.py", "investpy/resources/etfs.csv"
DOMICILES = ("US", "IE", "LU")  # of funds: one for each of the two jurisdictions, and its largest
COMPANY_RISK = {"large": 5, "middle": 6, "small": 7}
MAX_TEXT = 300  # characters of what a company makes

_US_STATE = re.compile(r".+, [A-Z][A-Za-z. ]+")
_FOOTNOTE = re.compile(r"\s*\[[^\]]*\]|\s*\( [^)]*\)")
_NUMBER = re.compile(r"\d[\d,.]*")


@dataclass(frozen=True)
class Instrument:
    """One thing that can be bought."""

    id: str  # ISIN, or the symbol of a company without one
    title: str
    kind: str  # share, or fund
    asset: str  # class: equity, bond, commodity, currency, other
    sector: str  # GICS, or "several"
    country: str  # of the company, or the domicile of the fund
    currency: str
    size: str  # large, middle, small; "" of a fund
    risk: int  # 1 (least) to 7
    complex: bool  # leveraged, inverse, or on volatility
    sold_in: str  # "US", "EU" or "everywhere": where private investors may buy it
    indices: tuple[str, ...]
    sensitive: tuple[str, ...]  # what somebody may exclude: weapons, tobacco, coal
    text: str


def read_instruments(packages: Path) -> list[Instrument]:
    """Read companies and funds, by id, from where the packages are installed.

    Raises:
        DataError: A file is missing, or is not what is expected.
    """
    words = Words(tomllib.loads(NAMES.read_text(encoding="utf-8")))
    companies, funds = _companies(packages / INDICES), _funds(packages / FUNDS)
    instruments = [*(_company(row, words) for row in companies), *(_fund(row, words) for row in funds)]
    return sorted({one.id: one for one in instruments}.values(), key=lambda one: one.id)


def _companies(path: Path) -> list[Mapping[str, Any]]:
    """Read a table of Python literals, which is never run."""
    try:
        module = ast.parse(path.read_text(encoding="utf-8"))
        table = next(node for node in module.body if isinstance(node, ast.Assign | ast.AnnAssign))
        indices = ast.literal_eval(table.value) if table.value is not None else {}
        rows: dict[str, dict[str, Any]] = {}
        for code, index in indices.items():
            for company in index["companies"]:
                row = rows.setdefault(company["name"], dict(company) | {"indices": []})
                row["indices"].append(code)
    except OSError as error:
        raise DataError(
            str(path), None, None, "no such file", hint="install pytickersymbols==1.17.10"
        ) from error
    except (SyntaxError, StopIteration, ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"not the table of pytickersymbols: {error}"
        raise DataError(str(path), None, None, problem, hint="install pytickersymbols==1.17.10") from error
    return [row for row in rows.values() if row.get("isins") or row.get("symbol")]


def _funds(path: Path) -> list[Mapping[str, str]]:
    """Read the funds of some domiciles, each once."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = {row["isin"]: row for row in csv.DictReader(file)}
    except OSError as error:
        raise DataError(str(path), None, None, "no such file", hint="install investpy==1.0.8") from error
    except KeyError as error:
        raise DataError(
            str(path), None, str(error), "no such column", hint="install investpy==1.0.8"
        ) from error
    return [row for isin, row in rows.items() if isin.startswith(DOMICILES)]


def _company(row: Mapping[str, Any], words: Words) -> Instrument:
    isin = next(iter(row.get("isins") or ()), "")
    labels, facts = row.get("industries") or [], row.get("metadata") or {}
    sizes = [words.indices[code]["size"] for code in row["indices"]]
    size = next(name for name in COMPANY_RISK if name in sizes)
    products = _FOOTNOTE.sub("", str(facts.get("products") or "")).strip()
    listed = row.get("symbols") or [{}]
    own = next((one for one in listed if one.get("yahoo") == row.get("symbol")), listed[0])
    return Instrument(
        id=isin or row["symbol"],
        title=row["name"],
        kind="share",
        asset="equity",
        sector=words.sector(labels),
        country=words.country(row.get("country") or "", isin),
        currency=own.get("currency") or "USD",
        size=size,
        risk=COMPANY_RISK[size],
        complex=False,
        sold_in="everywhere",
        indices=tuple(dict.fromkeys(words.indices[code]["name"] for code in row["indices"])),
        sensitive=words.sensitive(labels),
        text=products[:MAX_TEXT],
    )


def _fund(row: Mapping[str, str], words: Words) -> Instrument:
    name, isin = " ".join(row["full_name"].split()), row["isin"]
    leveraged = words.has("leverage", name)
    return Instrument(
        id=isin,
        title=name,
        kind="fund",
        asset=row["asset_class"] or "other",
        sector=words.sector([name]) or "several",
        country=words.country("", isin),
        currency=row["currency"],
        size="",
        risk=risk_of_fund(row["asset_class"], name, words),
        complex=leveraged,
        sold_in="US" if isin.startswith("US") else "EU",
        indices=(),
        sensitive=words.sensitive([name]),
        text="",
    )


def risk_of_fund(asset: str, name: str, words: Words) -> int:
    """Return the risk class of a fund, 1 to 7: a rule of thumb.

    Money market 1; short bonds 2; other bonds 3; high-yield and emerging bonds 4; broad equity and all
    else 5; narrow equity (one small market, small companies, one volatile theme) and commodities 6;
    leveraged, inverse, and funds on volatility 7.
    """
    if words.has("leverage", name):
        return 7
    if words.has("cash", name):
        return 1
    if asset == "bond":
        return 4 if words.has("risky_bonds", name) else 2 if words.has("short_bonds", name) else 3
    if asset == "commodity" or (asset == "equity" and words.has("narrow_equity", name)):
        return 6
    return 5


def _begins_a_word(text: str, words: Iterable[str]) -> bool:
    folded = text.casefold()
    return any(re.search(rf"(?<!\w){re.escape(word)}", folded) for word in words)


class Words:
    """What words stand for, from the tables in `instruments.toml`."""

    def __init__(self, table: Mapping[str, Any]) -> None:
        self._table = table
        self.indices: Mapping[str, Mapping[str, str]] = table["indices"]

    @cached_property
    def _sectors(self) -> Mapping[str, Sequence[str]]:
        return {sector["name"]: sector["words"] for sector in self._table["sectors"]}

    def sector(self, labels: Iterable[str]) -> str:
        """Return the sector that most labels stand for; "" if none does."""
        labels = list(labels)
        if exact := next((label for label in labels if label in self._sectors), None):
            return exact
        votes = Counter(filter(None, map(self._sector_of, labels)))
        return votes.most_common(1)[0][0] if votes else ""

    def _sector_of(self, label: str) -> str | None:
        found = (name for name, words in self._sectors.items() if _begins_a_word(label, words))
        return next(found, None)

    def sensitive(self, texts: Iterable[str]) -> tuple[str, ...]:
        """Return what some labels tell that an investor may exclude."""
        labels = [text for text in texts if text not in self._table["harmless"]]
        kinds: Mapping[str, Sequence[str]] = self._table["sensitive"]
        return tuple(
            kind for kind, words in kinds.items() if any(_begins_a_word(label, words) for label in labels)
        )

    def has(self, kind: str, name: str) -> bool:
        """Tell whether the name of a fund holds a word of a kind."""
        text = f" {name.casefold()} "
        return any(word in text for word in self._table["funds"][kind])

    def country(self, text: str, isin: str) -> str:
        """Return "United States" for "Houston, Texas"; of no text that of the ISIN."""
        known: Mapping[str, str] = self._table["countries"]
        if text in known.values():
            return text
        *_, last = text.split(", ")
        if last in known.values():
            return last
        return "United States" if _US_STATE.fullmatch(text) else text or known.get(isin[:2], "")
