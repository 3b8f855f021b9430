"""Build hook: fetches what the console's pages load, and compiles the translations, before the wheel is packed.

Neither is committed. Libraries and map data come by the lock file in api/pages/frontend and end in
api/pages/static/vendor; every `.po` gets its `.mo` beside it. An editable install runs this too.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FILES = (
    "bootstrap/dist/css/bootstrap.min.css",
    "d3-array/dist/d3-array.min.js",
    "d3-geo/dist/d3-geo.min.js",
    "htmx-ext-sse/dist/sse.min.js",
    "htmx.org/dist/htmx.min.js",
    "topojson-client/dist/topojson-client.min.js",
    "world-atlas/land-110m.json",
)
STAMP = ".stamp"  # the hash of the lock file that vendor/ was filled from
LICENCES = "LICENCES.txt"


class BuildHook(BuildHookInterface[Any]):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        fetch(root / "api" / "pages" / "frontend", root / "api" / "pages" / "static" / "vendor")
        for package in self.build_config.packages:
            compile_translations(root / package)


def fetch(frontend: Path, vendor: Path) -> None:
    """Fills `vendor` with FILES and their licences, as the lock file in `frontend` names them. Does nothing twice."""
    lock = (frontend / "package-lock.json").read_bytes()
    stamp = hashlib.sha256(lock).hexdigest()
    wanted = [vendor / Path(name).name for name in FILES] + [vendor / LICENCES]
    marker = vendor / STAMP
    if marker.is_file() and marker.read_text() == stamp and all(path.is_file() for path in wanted):
        return
    npm = shutil.which("npm")
    if npm is None:
        raise SystemExit("fenghuo: building needs npm (Node.js 18 or later) on PATH, to fetch the console's libraries.")
    with tempfile.TemporaryDirectory(prefix="fenghuo-npm-") as folder:
        work = Path(folder)
        for name in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy(frontend / name, work / name)
        # No peers: bootstrap's is for its scripts, of which none are used.
        command = [npm, "ci", "--legacy-peer-deps", "--loglevel=error"]
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode:
            raise SystemExit(f"fenghuo: npm ci failed in {frontend}: {(done.stderr or done.stdout).strip()}")
        shutil.rmtree(vendor, ignore_errors=True)
        vendor.mkdir(parents=True)
        for name in FILES:
            shutil.copyfile(work / "node_modules" / name, vendor / Path(name).name)
        (vendor / LICENCES).write_text(licences(work / "node_modules"), encoding="utf-8")
    marker.write_text(stamp)


def licences(modules: Path) -> str:
    """The licence text of every package whose code is handed on, as most of them ask."""
    parts = []
    for package in sorted({name.split("/")[0] for name in FILES} | {"internmap"}):
        text = next((modules / package).glob("LICENSE*")).read_text(encoding="utf-8")
        parts.append(f"{package}\n{'=' * len(package)}\n\n{text.strip()}\n")
    return "\n\n".join(parts)


def compile_translations(package: Path) -> None:
    """Writes the `.mo` of every `.po` below `package`. An entry that is unsure (fuzzy) is left out."""
    for source in package.glob("**/locale/*/LC_MESSAGES/*.po"):
        with source.open("rb") as opened:
            catalog = read_po(opened)
        with source.with_suffix(".mo").open("wb") as target:
            write_mo(target, catalog)
