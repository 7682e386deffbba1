"""Generated investors who buy real companies and funds; all orders invented.

An investor has a risk tolerance, knowledge, a horizon, a country, things they exclude, and holdings. Now and
then they buy one instrument that they do not hold, of those that the rules of `domains/finance` allow them,
with probability softmax(utility), where the utility (nats) is

    taste(sector) + taste(asset class) + HOME if it is of their country + RISK * |risk - wanted risk|
    + SPREAD * share of the sector among what they hold + quality of the instrument

The wanted risk is the tolerance, less where the horizon is short. Nothing else has an effect.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from recsys.data.synthetic import instruments
from recsys.data.synthetic.instruments import Instrument, read_instruments
from recsys.data.synthetic.tables import made_once, write_table

SEED = 5
INVESTORS = 800
BUYS = (8, 30)  # of an investor: fewest, most
FIRST_DAY = dt.datetime(2020, 1, 2, 9, tzinfo=dt.UTC)
DAYS = 730
TASTE, QUALITY = 1.8, 1.3  # standard deviations
HOME = 1.5
RISK = -1.2  # per class above or below what is wanted
SPREAD = -2.0
SHORT_YEARS = 5  # below this horizon less risk is wanted

KNOWLEDGE = ("basic", "informed", "advanced")
COUNTRIES: Mapping[str, float] = {
    "United States": 0.4,
    "Germany": 0.2,
    "France": 0.12,
    "Netherlands": 0.08,
    "Spain": 0.06,
    "Finland": 0.05,
    "Sweden": 0.05,
    "Ireland": 0.04,
}
EXCLUDES = ("weapons", "tobacco", "coal")

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Investor:
    """One generated person."""

    id: str
    tolerance: int  # the highest risk class they accept
    knowledge: str
    horizon: int  # years
    country: str
    excludes: tuple[str, ...]

    @property
    def market(self) -> str:
        """Which funds may be sold to them."""
        return "US" if self.country == "United States" else "EU"

    @property
    def wanted_risk(self) -> float:
        """The risk class they are after."""
        return self.tolerance * min(1.0, 0.5 + 0.5 * self.horizon / SHORT_YEARS)


@dataclass(frozen=True)
class Order:
    """An investor bought something."""

    investor: int  # index in `Market.investors`
    instrument: int  # index in `Market.instruments`
    time: dt.datetime


class Market:
    """The investors in some instruments, from a seed."""

    def __init__(self, items: Sequence[Instrument], seed: int = SEED, n_investors: int = INVESTORS) -> None:
        self.instruments = tuple(items)
        self._random = np.random.default_rng(seed)
        self._index = {one.id: index for index, one in enumerate(self.instruments)}
        self._risk = np.array([one.risk for one in self.instruments], dtype=float)
        self._complex = np.array([one.complex for one in self.instruments])
        self._sector, self._sectors = _numbered([one.sector for one in self.instruments])
        self._asset, assets = _numbered([one.asset for one in self.instruments])
        self._country = np.array([one.country for one in self.instruments])
        self._sold_in = np.array([one.sold_in for one in self.instruments])
        self._sensitive = {
            kind: np.array([kind in one.sensitive for one in self.instruments]) for kind in EXCLUDES
        }
        self.investors = self._sample_investors(n_investors)
        self._investor_index = {one.id: index for index, one in enumerate(self.investors)}
        random = self._random
        self._sector_taste = random.normal(0, TASTE, (n_investors, len(self._sectors)))
        self._asset_taste = random.normal(0, TASTE, (n_investors, len(assets)))
        self._quality = random.normal(0, QUALITY, len(self.instruments))
        self.orders = self._sample_orders()

    def optimum(self, investor: str, held: Collection[str] = ()) -> dict[str, float]:
        """Return the true utility of each instrument; -inf where it is forbidden or held.

        Raises KeyError for an investor or instrument that there is not.
        """
        row, rows = self._rows(investor, held)
        return self._by_id(self._possible(row, rows))

    def utility(self, investor: str, held: Collection[str] = ()) -> dict[str, float]:
        """Return the same, of what is forbidden or held too. Raises KeyError as `optimum`."""
        return self._by_id(self._utility(*self._rows(investor, held)))

    def _rows(self, investor: str, held: Collection[str]) -> tuple[int, npt.NDArray[np.int64]]:
        rows = np.array([self._index[one] for one in held], dtype=np.int64)
        return self._investor_index[investor], rows

    def _by_id(self, utility: Array) -> dict[str, float]:
        return dict(zip(self._index, utility.tolist(), strict=True))

    def write(self, folder: Path) -> None:
        """Write instruments.csv, investors.csv and orders.csv."""
        write_table(folder / "instruments.csv", [_row(one) for one in self.instruments])
        write_table(folder / "investors.csv", [_row(one) | {"market": one.market} for one in self.investors])
        write_table(
            folder / "orders.csv",
            [
                {
                    "investor": self.investors[order.investor].id,
                    "instrument": self.instruments[order.instrument].id,
                    "time": round(order.time.timestamp()),
                }
                for order in self.orders
            ],
        )

    def _sample_investors(self, n: int) -> list[Investor]:
        random, countries = self._random, list(COUNTRIES)
        investors = []
        for number in range(n):
            tolerance = int(np.clip(round(random.normal(4.8, 1.4)), 1, 7))
            knowledge = KNOWLEDGE[int(np.clip(round(random.normal((tolerance - 3) / 2, 0.6)), 0, 2))]
            horizon = int(np.clip(round(random.gamma(2.5, 4)), 1, 30))
            country = countries[int(random.choice(len(countries), p=list(COUNTRIES.values())))]
            excludes = tuple(kind for kind in EXCLUDES if random.random() < 0.2)
            investors.append(Investor(f"v{number + 1:03}", tolerance, knowledge, horizon, country, excludes))
        return investors

    def _sample_orders(self) -> list[Order]:
        random = self._random
        orders = []
        for row in range(len(self.investors)):
            count = int(random.integers(BUYS[0], BUYS[1] + 1))
            minutes = np.sort(random.choice(DAYS * 8 * 60, count, replace=False))
            held: list[int] = []
            for minute in minutes:
                utility = self._possible(row, np.array(held, dtype=np.int64))
                chosen = int(np.argmax(utility + random.gumbel(size=len(utility))))
                if not np.isfinite(utility[chosen]):
                    break
                held.append(chosen)
                day, of_day = divmod(int(minute), 8 * 60)
                orders.append(Order(row, chosen, FIRST_DAY + dt.timedelta(days=day, minutes=of_day)))
        return sorted(orders, key=lambda order: (order.time, order.investor))

    def _possible(self, row: int, held: npt.NDArray[np.int64]) -> Array:
        """Return each utility; -inf where a rule forbids the instrument, or it is held."""
        utility = self._utility(row, held)
        utility[~self._allowed(self.investors[row])] = -np.inf
        utility[held] = -np.inf
        return utility

    def _utility(self, row: int, held: npt.NDArray[np.int64]) -> Array:
        """Return each utility."""
        investor = self.investors[row]
        shares = np.bincount(self._sector[held], minlength=len(self._sectors)) / max(1, len(held))
        utility: Array = (
            self._sector_taste[row][self._sector]
            + self._asset_taste[row][self._asset]
            + HOME * (self._country == investor.country)
            + RISK * np.abs(self._risk - investor.wanted_risk)
            + SPREAD * shares[self._sector]
            + self._quality
        )
        return utility

    def _allowed(self, investor: Investor) -> npt.NDArray[np.bool_]:
        allowed = self._risk <= investor.tolerance
        allowed &= (self._sold_in == "everywhere") | (self._sold_in == investor.market)
        if investor.knowledge != "advanced":
            allowed &= ~self._complex
        for kind in investor.excludes:
            allowed &= ~self._sensitive[kind]
        return np.asarray(allowed, dtype=np.bool_)


@lru_cache(maxsize=1)
def market(packages: Path) -> Market:
    """Return the investors in the instruments of two installed packages."""
    return Market(read_instruments(packages))


def files(packages: Path, folder: Path) -> Path:
    """Return the folder of the tables inside `folder`; write them if they are missing.

    Args:
        packages: Where pytickersymbols and investpy are installed.
        folder: Of all generated tables.

    Raises:
        DataError: A package is missing, or is not what is expected.
    """
    makers = (Path(__file__), Path(instruments.__file__), instruments.NAMES)
    return made_once(folder, "finance", makers, lambda new: market(packages).write(new))


def _numbered(names: Sequence[str]) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Return each name as a number, and the names."""
    known = sorted(set(names))
    return np.array([known.index(name) for name in names], dtype=np.int64), known


def _row(one: Instrument | Investor) -> dict[str, object]:
    """Return the fields, several values joined."""
    return {
        name: "|".join(value) if isinstance(value, tuple) else value
        for name, value in dataclasses.asdict(one).items()
    }
