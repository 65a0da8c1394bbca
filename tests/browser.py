"""Find or install a Chromium for the page tests; `make test` runs this as a program.

Playwright's own browsers are hundreds of megabytes, so any installed Chromium or Chrome is used.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

VARIABLE = "FROSTLINE_BROWSER"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
ON_A_MAC = tuple(
    f"/Applications/{name}.app/Contents/MacOS/{name}" for name in ("Google Chrome", "Chromium")
)
PACKAGES = ("chromium", "fonts-dejavu-core")  # without a font, pages show boxes


def find() -> str | None:
    """The path of a browser, or None."""
    named = os.environ.get(VARIABLE)
    if named:
        return shutil.which(named)
    found = (shutil.which(name) for name in (*NAMES, *ON_A_MAC))
    return next(filter(None, found), None)


def install() -> str | None:
    """Install a browser if that needs no prompt: as root on Debian and its derivatives."""
    if os.environ.get(VARIABLE) or not shutil.which("apt-get") or os.geteuid() != 0:
        return None
    print("Setting up a browser for the tests: a minute, once.", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "-y", "--no-install-recommends", *PACKAGES]):
        done = subprocess.run(
            ["apt-get", "-qq", *command],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode:
            print(done.stdout[-2000:], file=sys.stderr)
            return None
    return find()


def missing() -> str:
    """One line that says how to get a browser."""
    named = os.environ.get(VARIABLE)
    if named:
        return f"{VARIABLE}={named}: no such program. Name a Chromium or Chrome, or unset it."
    return (
        "no Chromium or Chrome, which the tests of pages need. Install one "
        f"(Debian: apt-get install {' '.join(PACKAGES)}), or name it: {VARIABLE}=/path/to/chrome"
    )


def required() -> str:
    """The path of a browser; raises if there is none."""
    found = find()
    if found is None:
        raise RuntimeError(missing())
    return str(Path(found))


if __name__ == "__main__":
    sys.exit(None if find() or install() else missing())
