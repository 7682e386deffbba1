"""The second opinion about generated requests sees what a broken rule would let through."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.generated_requests import FinancialOpinion, MedicalOpinion
from recsys.data.synthetic.instruments import Instrument
from recsys.data.synthetic.investors import Investor, Market
from recsys.data.synthetic.medications import Disease, Medication, Pharmacy
from recsys.data.synthetic.patients import Clinic
from recsys.types import User


def medical() -> MedicalOpinion:
    """m0 never with m1, m2 and m3 of one class, m4 never in pregnancy, m5 from 18 on."""
    known = tuple(
        Medication(f"m{n}", f"M{n}", ("D",), ("NSAID",) * (n in (2, 3)), "?X"[n == 4], 18 * (n == 5))
        for n in range(6)
    )
    clinic = Clinic(
        Pharmacy((Disease("D", "X", (), "a"),), known, {(0, 1): "contraindicated"}, 0), n_patients=1
    )
    (patient,) = clinic.patients
    plain = replace(patient, sex="female", age=40, pregnant=False, allergy="")
    clinic.patients = [
        replace(plain, id="any"),
        replace(plain, id="pregnant", pregnant=True),
        replace(plain, id="allergic", allergy="NSAID"),
        replace(plain, id="child", age=9),
    ]
    return MedicalOpinion(clinic)


@pytest.mark.parametrize(
    ("user", "held", "listed", "wrong"),
    [
        ("any", [], ["m0", "m2", "m4", "m5"], 0),
        ("any", ["m1"], ["m0"], 1),
        ("any", [], ["m1", "m4", "m0"], 1),
        ("any", ["m3"], ["m2"], 1),
        ("any", [], ["m3", "m2"], 1),
        ("pregnant", [], ["m4"], 1),
        ("allergic", [], ["m2", "m0"], 1),
        ("child", [], ["m5"], 1),
        (None, ["m0"], ["m1", "m5"], 1),
    ],
)
def test_the_clinic_finds_what_must_not_be_in_a_set(
    user: str | None, held: list[str], listed: list[str], wrong: int
) -> None:
    assert len(medical().forbidden(User(id=user) if user else None, held, listed)) == wrong


INSTRUMENT = Instrument(
    id="a", title="A", kind="share", asset="equity", sector="Energy", country="", currency="EUR",
    size="large", risk=3, complex=False, sold_in="everywhere", indices=(), sensitive=(), text="",
)  # fmt: skip


def financial() -> FinancialOpinion:
    changes = {
        "risky": {"risk": 6},
        "complex": {"complex": True},
        "american": {"sold_in": "US"},
        "arms": {"sensitive": ("weapons",)},
    }
    odd = [replace(INSTRUMENT, id=name, sector=name, **change) for name, change in changes.items()]  # type: ignore[arg-type]
    plain = [replace(INSTRUMENT, id=f"energy{n}") for n in range(8)]
    several = [replace(INSTRUMENT, id=f"several{n}", sector="several") for n in range(8)]
    market = Market([*odd, *plain, *several], n_investors=1)
    market.investors = [Investor("v1", 4, "basic", 10, "Germany", ("weapons",))]
    return FinancialOpinion(market)


@pytest.mark.parametrize(
    ("held", "listed", "wrong"),
    [
        ([], ["energy0", "energy1", "several0", "several1", "several2"], 0),
        ([], ["risky", "complex", "american", "arms"], 4),
        ([], ["energy0", "energy1", "energy2"], 1),  # three of five
        (["energy0", "energy1", "energy2", "energy3"], ["energy4"], 1),  # five of nine
        (["energy0", "several0", "several1", "several2", "several3"], ["energy4", "energy5", "energy6"], 0),
    ],
)
def test_the_market_finds_what_may_not_be_offered(held: list[str], listed: list[str], wrong: int) -> None:
    assert len(financial().forbidden(User(id="v1"), held, listed)) == wrong


def test_nobody_known_may_be_offered_anything() -> None:
    assert len(financial().forbidden(None, [], ["energy0"])) == 1
