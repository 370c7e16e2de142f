"""Known vulnerabilities of what is installed: `python -m tests.support.checkers.audit`.

Exit code 1 for any. Where the vulnerability service is out of reach nothing is audited; that is said.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

COMMAND = [sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off"]


def verdict(report: Any, errors: str) -> tuple[int, str]:
    """Exit code and words for pip-audit's report, None if there is none."""
    known = report["dependencies"] if report else []
    bad = [f"{one['name']} {one['version']}: {it['id']}" for one in known for it in one.get("vulns", ())]
    skipped = [one["name"] for one in known if "skip_reason" in one]
    looked = len(known) - len(skipped)
    if bad:
        return 1, "VULNERABLE: " + ", ".join(bad)
    if not looked:
        why = ["it knows none of the packages"] if report else errors.strip().splitlines()[-1:] or [""]
        return 0, f"NOT AUDITED: the vulnerability service is out of reach: {why[0]:.200}"
    return (
        0,
        f"no known vulnerability in {looked} packages; not looked at: {', '.join(skipped) or 'none'}",
    )


def main() -> None:
    """Asks, and ends with the verdict."""
    done = subprocess.run(COMMAND, capture_output=True, text=True, check=False)
    code, words = verdict(json.loads(done.stdout) if done.stdout else None, done.stderr)
    print(words)
    sys.exit(code)


if __name__ == "__main__":
    main()
