"""Ask the advisory database whether anything in `requirements/cpu.lock` is known to be vulnerable.

Without a network nothing is known: that is said, and passes on a developer's machine but not
where CI is set. Run it with `make audit`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements" / "cpu.lock"
LIMIT_S = 900
# Advisories that do not concern us, each with the reason. Looked at again at every release.
IGNORED: dict[str, str] = {}


def main() -> int:
    """0: nothing known; 1: something is, or it could not be asked where it must be."""
    found, trouble = ask(LOCK)
    if found is None:
        print(f"NOT AUDITED: {trouble}", file=sys.stderr)
        must = bool(os.environ.get("CI"))
        print("this fails in CI" if must else "passed here only because this is no CI", file=sys.stderr)
        return int(must)
    for package in found:
        for one in package.get("vulns", ()):
            fixed = ", ".join(one["fix_versions"]) or "no release yet"
            print(f"{package['name']} {package['version']}: {one['id']}, mended in {fixed}")
        if "skip_reason" in package:
            print(f"{package['name']}: not looked at: {package['skip_reason']}", file=sys.stderr)
    vulnerable = sum(bool(package.get("vulns")) for package in found)
    asked = sum("skip_reason" not in package for package in found)
    print(f"{asked} of {len(found)} packages looked at, {vulnerable} with known vulnerabilities")
    return int(vulnerable > 0)


def ask(lock: Path) -> tuple[list[dict[str, Any]] | None, str]:
    """What pip-audit knows of each package of a lock; None and why if it could not ask."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(lock), "--no-deps", "--disable-pip"]
    command += ["--format", "json", "--progress-spinner", "off", "--timeout", "15"]
    for advisory in IGNORED:
        command += ["--ignore-vuln", advisory]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except subprocess.TimeoutExpired:
        return None, "the advisory database did not answer"
    except (ValueError, KeyError):
        return None, (done.stderr.strip().splitlines() or ["pip-audit said nothing"])[-1]
    if all("skip_reason" in package for package in found):  # as a mirror without advisories answers
        return None, f"nothing is known of any package: {found[0]['skip_reason'] if found else 'none'}"
    return found, ""


if __name__ == "__main__":
    sys.exit(main())
