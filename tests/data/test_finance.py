"""Companies and funds as items, and generated investors who keep to the rules."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from recsys.config import load_domain
from recsys.data.synthetic.instruments import FUNDS, INDICES, Instrument, read_instruments
from recsys.data.synthetic.investors import EXCLUDES, Market
from recsys.errors import DataError

COMPANIES = {
    "DAX": ("Siemens Test", "DE0000000001", "Germany", ["Industrials", "Technology"], "EUR"),
    "S&P 600": ("Small Guns", "US0000000002", "Austin, Texas", ["Aerospace & Defense"], "USD"),
    "NIKKEI 225": ("Sweet Foods", "JP0000000003", "Japan", ["Food & Tobacco", "Foods"], "JPY"),
}
FUND_ROWS = [
    ("iShares Core S&P 500", "US0000000011", "equity", "USD"),
    ("Xtrackers MSCI Emerging Markets UCITS", "IE0000000012", "equity", "EUR"),
    ("Direxion Daily Technology Bull 3X", "US0000000013", "equity", "USD"),
    ("iShares Treasury Bond 1-3yr UCITS", "IE0000000014", "bond", "EUR"),
    ("SPDR High Yield Bond", "US0000000015", "bond", "USD"),
    ("Lyxor Fed Funds US Dollar Cash UCITS", "LU0000000016", "other", "USD"),
    ("ETFS Physical Gold", "IE0000000017", "commodity", "USD"),
    ("Vanguard Total Bond Market", "US0000000018", "bond", "USD"),
    ("Somewhere Else", "IL0000000019", "equity", "ILS"),
]


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both packages with a few rows."""
    folder = tmp_path_factory.mktemp("packages")
    table = {
        index: {
            "companies": [
                {
                    "name": name,
                    "symbol": f"{name[:2]}.X",
                    "country": country,
                    "industries": industries,
                    "isins": [isin],
                    "symbols": [{"yahoo": f"{name[:2]}.X", "currency": currency}],
                    "metadata": {"products": "Trains [ 1 ]"},
                }
            ]
        }
        for index, (name, isin, country, industries, currency) in COMPANIES.items()
    }
    (folder / INDICES).parent.mkdir(parents=True)
    (folder / INDICES).write_text(f"INDICES = {table!r}\n", encoding="utf-8")
    (folder / FUNDS).parent.mkdir(parents=True)
    with (folder / FUNDS).open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("full_name", "isin", "asset_class", "currency"))
        rows.writerows(FUND_ROWS)
    return folder


@pytest.fixture(scope="module")
def instruments(packages: Path) -> dict[str, Instrument]:
    """The instruments by title."""
    return {one.title: one for one in read_instruments(packages)}


def test_companies_have_a_sector_a_country_and_a_size(instruments: dict[str, Instrument]) -> None:
    siemens, guns, foods = (instruments[name] for name, *_ in COMPANIES.values())
    assert (siemens.sector, siemens.size, siemens.risk, siemens.text) == ("Industrials", "large", 5, "Trains")
    assert (guns.country, guns.size, guns.risk, guns.sensitive) == ("United States", "small", 7, ("weapons",))
    assert (foods.sector, foods.sensitive, foods.sold_in) == ("Consumer Staples", (), "everywhere")


@pytest.mark.parametrize(
    ("title", "risk", "complex_", "sold_in"),
    [
        ("iShares Core S&P 500", 5, False, "US"),
        ("Xtrackers MSCI Emerging Markets UCITS", 6, False, "EU"),
        ("Direxion Daily Technology Bull 3X", 7, True, "US"),
        ("iShares Treasury Bond 1-3yr UCITS", 2, False, "EU"),
        ("SPDR High Yield Bond", 4, False, "US"),
        ("Lyxor Fed Funds US Dollar Cash UCITS", 1, False, "EU"),
        ("ETFS Physical Gold", 6, False, "EU"),
        ("Vanguard Total Bond Market", 3, False, "US"),
    ],
)
def test_the_name_of_a_fund_tells_its_risk(
    instruments: dict[str, Instrument], title: str, risk: int, complex_: bool, sold_in: str
) -> None:
    fund = instruments[title]
    assert (fund.risk, fund.complex, fund.sold_in) == (risk, complex_, sold_in)


def test_funds_of_other_domiciles_are_left_out(instruments: dict[str, Instrument]) -> None:
    assert "Somewhere Else" not in instruments


def test_a_table_that_is_code_is_refused_and_never_run(tmp_path: Path) -> None:
    (tmp_path / INDICES).parent.mkdir(parents=True)
    (tmp_path / INDICES).write_text("INDICES = __import__('os').mkdir('/tmp/never')\n")
    with pytest.raises(DataError, match="not the table of pytickersymbols"):
        read_instruments(tmp_path)


@pytest.fixture(scope="module")
def market(instruments: dict[str, Instrument]) -> Market:
    """A market of eighty copies of each instrument."""
    copies = [
        Instrument(**{**vars(one), "id": f"{one.id}{n}"}) for one in instruments.values() for n in range(80)
    ]
    return Market(copies, n_investors=60)


def test_no_order_breaks_a_rule_and_nothing_is_bought_twice(market: Market) -> None:
    bought: set[tuple[int, int]] = set()
    assert len(market.orders) > 500
    for order in market.orders:
        investor, one = market.investors[order.investor], market.instruments[order.instrument]
        assert one.risk <= investor.tolerance
        assert one.sold_in in ("everywhere", investor.market)
        assert investor.knowledge == "advanced" or not one.complex
        assert not set(one.sensitive) & set(investor.excludes)
        assert (order.investor, order.instrument) not in bought
        bought.add((order.investor, order.instrument))


def test_the_rules_of_the_domain_forbid_what_no_order_holds() -> None:
    kinds = [rule.name for rule in load_domain("finance").rules if rule.hard]
    assert len(kinds) == 3 + len(EXCLUDES)


def test_the_optimum_knows_what_is_forbidden_and_held(market: Market) -> None:
    order = market.orders[-1]
    investor = market.investors[order.investor]
    held = {
        market.instruments[other.instrument].id
        for other in market.orders[:-1]
        if other.investor == order.investor
    }
    truth = market.optimum(investor.id, held)
    assert all(truth[one] == -np.inf for one in held)
    chosen = truth[market.instruments[order.instrument].id]
    assert np.mean([chosen > other for other in truth.values()]) > 0.7
