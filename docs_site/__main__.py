"""``python -m docs_site``: build the site; a link that leads nowhere, or a warning, fails it."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

from docs_site.assemble import MEMBERS, ROOT, BrokenLinkError, assemble
from docs_site.dead import dead
from docs_site.navigation import CONFIG, faults


def main() -> int:
    """Build the site, and say where it is."""
    parser = argparse.ArgumentParser(prog="python -m docs_site", description=__doc__)
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "site", help="for the pages")
    parser.add_argument("--to", type=Path, default=ROOT / "site", help="where the site goes")
    given = parser.parse_args()
    work, to = given.work.resolve(), given.to.resolve()
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        pages = assemble(work / "docs")
    except BrokenLinkError as error:
        print(error, file=sys.stderr)
        return 1
    if found := faults([page.as_posix() for page in pages]):
        print("\n".join(found), file=sys.stderr)
        return 1
    ended = _build(work)
    if ended == 0 and (found := dead(work / "site")):
        print("\n".join(found), file=sys.stderr)
        return 1
    if ended == 0:
        shutil.rmtree(to, ignore_errors=True)
        shutil.move(work / "site", to)
        where = os.path.relpath(to)
        print(f"{where}/index.html can be opened as it is; its search needs a server:")
        print(f"    python -m http.server --bind 127.0.0.1 --directory {where}")
    return ended


def _build(work: Path) -> int:
    """Run the builder beside the assembled pages; where it reads docstrings, nothing is imported.

    Its settings lie beside what they name: it takes no folder outside of theirs.
    """
    shutil.copyfile(CONFIG, work / CONFIG.name)
    sources = [ROOT, *(ROOT / member for member in MEMBERS)]
    program = Path(sys.executable).with_name("zensical")
    return subprocess.run(
        [program, "build", "--strict", "--config-file", work / CONFIG.name],
        cwd=work,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, sources))},
        check=False,
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
