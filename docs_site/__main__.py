"""``python -m docs_site``: build the site; a link that leads nowhere, or a warning, fails it."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from docs_site.assemble import ROOT, BrokenLinkError, assemble
from docs_site.navigation import CONFIG, faults

MEMBERS = ("providers/airflow", "integrations/prefect", "integrations/dagster", "dbt_bridge")


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
    if ended == 0:
        shutil.rmtree(to, ignore_errors=True)
        shutil.move(work / "site", to)
        print(f"{to / 'index.html'}; to search it, too: {_serve(to)}")
    return ended


def _serve(to: Path) -> str:
    shown = os.path.relpath(to)
    return f"python -m http.server --bind 127.0.0.1 --directory {shown}"


def _build(work: Path) -> int:
    """Run the builder, whose settings are those of ``mkdocs.yml`` in other folders."""
    text = CONFIG.read_text(encoding="utf-8")
    for key, folder in (("docs_dir", "docs"), ("site_dir", "site")):
        text, count = re.subn(rf"^{key}: .*$", f"{key}: {folder}", text, flags=re.MULTILINE)
        assert count == 1, key
    settings = work / "mkdocs.yml"
    settings.write_text(text, encoding="utf-8")
    program = Path(sys.executable).with_name("zensical")
    paths = [str(ROOT), *(str(ROOT / member) for member in MEMBERS)]
    # its lists are read from a cache in the folder that it starts in
    return subprocess.run(
        [program, "build", "--strict", "--config-file", settings],
        cwd=work,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        check=False,
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
