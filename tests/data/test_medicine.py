"""Medications joined across vocabularies, and generated patients whose truth is known."""

from __future__ import annotations

import itertools
import json
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest

from recsys.data.synthetic import medications
from recsys.data.synthetic.medications import (
    DISEASES,
    SUBSTANCES,
    THESAURUS,
    Disease,
    Medication,
    Pharmacy,
    plain,
    read_pharmacy,
)
from recsys.data.synthetic.patients import Clinic
from recsys.errors import DataError

CATALOGUE = {
    "Gout": ("M10.9", ["Allopurinol", "Colchicine", "Ibuprofen", "Surgery"]),
    "Pneumonia": ("J18.9", ["Clarithromycin", "Amoxicillin", "Antibiotics"]),
    "Sprain": ("S93.4", ["Ibuprofen", "Naproxen"]),
}
INDEX = {
    "allopurinol": ["inhibiteurs de la xanthine oxydase"],
    "colchicine": [],
    "clarithromycine": ["macrolides (sauf spiramycine)", "inhibiteurs puissants du CYP3A4"],
    "amoxicilline": ["pénicillines"],
    "ibuprofene": ["anti-inflammatoires non stéroïdiens"],
    "naproxene": ["anti-inflammatoires non stéroïdiens"],
}
ROWS = [
    ("COLCHICINE", "MACROLIDES (SAUF SPIRAMYCINE)", ["CONTRE-INDICATION"]),
    ("COLCHICINE", "CLARITHROMYCINE", ["A prendre en compte"]),  # of one pair the gravest row holds
    (
        "ANTI-INFLAMMATOIRES NON STÉROÏDIENS",
        "ANTI-INFLAMMATOIRES NON STÉROÏDIENS",
        ["Association DECONSEILLEE"],
    ),
    ("ALLOPURINOL", "PÉNICILLINES", ["CONTRE-INDICATION", "Précaution d'emploi"]),  # by dose: the mildest
    ("WARFARINE", "COLCHICINE", ["CONTRE-INDICATION"]),
]


def write_packages(folder: Path) -> Path:
    table = {
        name: {"icd10": code, "symptoms": ["Pain"], "medications": names, "medical_specialty": "Medicine"}
        for name, (code, names) in CATALOGUE.items()
    }
    contents = {
        DISEASES: f"DISEASE_CORRELATIONS: dict[str, object] = {table!r}\n",
        SUBSTANCES: json.dumps([{"substance": one, "drug_classes": of} for one, of in INDEX.items()]),
        THESAURUS: json.dumps(
            [
                {"main_drug": a, "plus_drug": b, "severity_levels": [{"level": level} for level in levels]}
                for a, b, levels in ROWS
            ]
        ),
    }
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def pharmacy(tmp_path_factory: pytest.TempPathFactory) -> Pharmacy:
    """The medications of small packages."""
    return read_pharmacy(write_packages(tmp_path_factory.mktemp("packages")))


def test_only_joined_names_are_medications(pharmacy: Pharmacy) -> None:
    names = [one.title for one in pharmacy.medications]
    assert names == sorted(
        ["Allopurinol", "Amoxicillin", "Clarithromycin", "Colchicine", "Ibuprofen", "Naproxen"]
    )
    assert pharmacy.left_out == 2
    ibuprofen = pharmacy.medications[names.index("Ibuprofen")]
    assert (ibuprofen.id, ibuprofen.treats, ibuprofen.classes) == (
        "ibuprofen",
        ("Gout", "Sprain"),
        ("NSAID",),
    )


def test_interactions_hold_by_substance_and_class(pharmacy: Pharmacy) -> None:
    names = [one.title for one in pharmacy.medications]
    found = {frozenset((names[a], names[b])): level for (a, b), level in pharmacy.interactions.items()}
    assert found == {
        frozenset(("Clarithromycin", "Colchicine")): "contraindicated",
        frozenset(("Ibuprofen", "Naproxen")): "advised_against",
        frozenset(("Allopurinol", "Amoxicillin")): "precaution",
    }


def test_every_name_of_the_reviewed_table_is_plain_and_its_classes_are_known() -> None:
    table = tomllib.loads(medications.NAMES.read_text(encoding="utf-8"))
    assert len(table["substances"]) == 262
    assert all(plain(one) == one for one in table["substances"].values())
    for names in (*table["pregnancy"].values(), table["least_age"]):
        assert set(names) <= set(table["substances"])


@pytest.mark.parametrize("content", ["X: int = __import__('os').getpid()", "nothing", "X: dict = {'a': {}}"])
def test_a_table_of_something_else_is_refused_and_never_run(tmp_path: Path, content: str) -> None:
    packages = write_packages(tmp_path)
    (packages / DISEASES).write_text(content)
    with pytest.raises(DataError, match="not the table of diseases"):
        read_pharmacy(packages)


def clinic() -> Clinic:
    """Twelve medications of four diseases; some pairs never, some of one class, some with conditions."""
    diseases = tuple(Disease(f"D{n}", f"X{n}", (), "ab"[n % 2]) for n in range(4))
    classes: Sequence[tuple[str, ...]] = [("penicillin",), ("NSAID",), ()]
    known = tuple(
        Medication(
            f"m{n}",
            f"M{n}",
            (f"D{n % 4}", f"D{(n + 1) % 4}"),
            classes[n % 3],
            "X" if n == 5 else "?",
            18 if n == 7 else 0,
        )
        for n in range(12)
    )
    never = {pair: "contraindicated" for pair in itertools.combinations(range(12), 2) if sum(pair) % 5 == 0}
    return Clinic(Pharmacy(diseases, known, never, 0), n_patients=300)  # type: ignore[arg-type]


def test_no_prescription_breaks_a_rule() -> None:
    made = clinic()
    taken: dict[int, list[int]] = {}
    for one in made.prescriptions:
        before = taken.setdefault(one.patient, [])
        assert made.allows(made.patients[one.patient], one.medication, before)
        assert one.medication not in before
        before.append(one.medication)
    assert len(made.prescriptions) > 300


def test_the_optimum_is_a_distribution_over_what_is_allowed() -> None:
    made = clinic()
    for patient in made.patients[:50]:
        truth = made.optimum(patient.id, ())
        index = {name: row for row, name in enumerate(truth)}
        assert sum(truth.values()) == pytest.approx(1.0)
        assert all(made.allows(patient, index[name], ()) for name, p in truth.items() if p)
