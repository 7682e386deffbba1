"""Look up known vulnerabilities of the packages in `requirements/cpu.lock`.

Without a network nothing is looked up, which fails only where CI is set. Run it with `make audit`.
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
# Advisories that do not concern us, each with the reason. Reviewed at every release.
IGNORED: dict[str, str] = {}


def main() -> int:
    """Print what is known. Return 1 if a package is vulnerable, or in CI if the lookup failed."""
    packages, problem = look_up(LOCK)
    if packages is None:
        print(f"NOT AUDITED: {problem}", file=sys.stderr)
        in_ci = bool(os.environ.get("CI"))
        print("this fails in CI" if in_ci else "this passes only because CI is not set", file=sys.stderr)
        return int(in_ci)
    for package in packages:
        for advisory in package.get("vulns", ()):
            fixed = ", ".join(advisory["fix_versions"]) or "no release yet"
            print(f"{package['name']} {package['version']}: {advisory['id']}, fixed in {fixed}")
        if "skip_reason" in package:
            print(f"{package['name']}: skipped: {package['skip_reason']}", file=sys.stderr)
    vulnerable = sum(bool(package.get("vulns")) for package in packages)
    audited = sum("skip_reason" not in package for package in packages)
    print(f"{audited} of {len(packages)} packages audited, {vulnerable} with known vulnerabilities")
    return int(vulnerable > 0)


def look_up(lock: Path) -> tuple[list[dict[str, Any]] | None, str]:
    """Return pip-audit's report on each package of a lock, or None and the problem."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(lock), "--no-deps", "--disable-pip"]
    command += ["--format", "json", "--progress-spinner", "off", "--timeout", "15"]
    for advisory in IGNORED:
        command += ["--ignore-vuln", advisory]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        packages: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except subprocess.TimeoutExpired:
        return None, "the advisory database did not answer"
    except (ValueError, KeyError):
        return None, (done.stderr.strip().splitlines() or ["pip-audit said nothing"])[-1]
    if all("skip_reason" in package for package in packages):  # the answer of a mirror without advisories
        reason = packages[0]["skip_reason"] if packages else "none"
        return None, f"nothing is known of any package: {reason}"
    return packages, ""


if __name__ == "__main__":
    sys.exit(main())
