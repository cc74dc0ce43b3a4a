"""``python -m benchmarks [CASE ...]``: measure, keep the results, and renew the page.

It asserts no number. With ``--peers`` it runs the same works by dlt and Sling, too. ``--quick``
takes a hundredth of each size, to see whether everything works, and writes nothing.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from benchmarks import (
    airflow_parse,
    dbt_after,
    deleting,
    full,
    hosts,
    merging,
    observe,
    page,
    peers,
    quality,
    spread,
)
from benchmarks.bench import Bench
from benchmarks.machine import BESIDE, OURS, busy, described
from benchmarks.results import Measured, Results, Run, Wanted
from tests.services import LocalPostgres, local_binaries

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).with_name("results.json")
PAGE = ROOT / "docs" / "benchmarks.md"
DURABLE = {"fsync": "on", "full_page_writes": "on"}
QUICK_SCALE = 100


def cases(bench: Bench) -> dict[str, Callable[[], Measured]]:
    """Return our cases by name; those that take most memory and disk come last."""
    first = full.cases(bench)
    last = {name: case for name, case in first.items() if name.startswith("memory")}
    return {
        **{name: case for name, case in first.items() if name not in last},
        **merging.cases(bench),
        **deleting.cases(bench),
        **quality.cases(bench),
        **spread.cases(bench),
        **hosts.cases(bench),
        **dbt_after.cases(bench),
        **airflow_parse.cases(bench),
        **observe.cases(bench),
        **last,
    }


def log_in_as_others_do(url: str) -> None:
    """Hash the password as often as is usual: the suite's does it once, which Sling refuses."""
    with psycopg.connect(url, autocommit=True) as connection:
        if connection.info.server_version >= 160000:
            connection.execute("SET scram_iterations = 4096")
            connection.execute(f"ALTER ROLE postgres PASSWORD '{urlsplit(url).password}'")


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", help="cases to run (default: all)")
    parser.add_argument("--peers", action="store_true", help="the works of dlt and Sling")
    parser.add_argument("--runs", type=int, help="counted turns of each case (3; with --quick: 1)")
    parser.add_argument("--quick", action="store_true", help="a hundredth of each size")
    parser.add_argument("--list", action="store_true", help="list the cases, and end")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> None:
    """Run the named cases, all by default."""
    options = arguments(given)
    if options.list:
        nothing = Bench(Path(), "", Path(), 0)
        print("\n".join(peers.cases(nothing) if options.peers else cases(nothing)))
        return
    _compiled()
    binaries = local_binaries()
    if binaries is None or not (binaries / "psql").exists():
        sys.exit("needs PostgreSQL's own programs (psql), from the wheel or on PATH")
    runs = options.runs or (1 if options.quick else 3)
    scale = QUICK_SCALE if options.quick else 1
    with tempfile.TemporaryDirectory() as name, LocalPostgres(binaries, DURABLE) as server:
        log_in_as_others_do(server.url)
        bench = Bench(Path(name), server.url, binaries / "psql", runs, scale)
        known = peers.cases(bench) if options.peers else cases(bench)
        if unknown := set(options.names) - set(known):
            sys.exit(f"no case {', '.join(sorted(unknown))}; there are: {', '.join(known)}")
        used = OURS if options.peers else OURS + BESIDE
        run = described(_command(options), server.url, runs, used)
        if options.peers:
            run = run.model_copy(update={"versions": run.versions | peers.versions()})
        failed = _all(options, run, known)
    if failed:
        sys.exit(f"failed, and not measured: {', '.join(failed)}")


def _all(
    options: argparse.Namespace, run: Run, known: dict[str, Callable[[], Measured]]
) -> list[str]:
    """Measure the cases and write what came of each; return those that failed."""
    results = Results() if options.quick else Results.read(RESULTS)
    rows: dict[str, Measured] = {}
    failed = []
    for case in options.names or known:
        try:
            row = _one(case, known[case])
        except RuntimeError as error:  # a command ended badly
            print(error, file=sys.stderr)
            failed.append(case)
            continue
        # What is promised, is promised of the full size.
        rows[case] = row.model_copy(update={"wanted": Wanted()}) if options.quick else row
        if not options.quick:
            kept = results.renewed(run, rows, list(known))
            kept.write(RESULTS)
            PAGE.write_text(page.renewed(PAGE.read_text(), kept))
    if options.quick:
        print(_tables(results.renewed(run, rows)))
    return failed


def _one(name: str, case: Callable[[], Measured]) -> Measured:
    print(f"{name}: ", end="", file=sys.stderr, flush=True)
    beside, started = busy(), time.perf_counter()
    row = case()
    took = time.perf_counter() - started
    print(f"{took:.0f} s{', others were busy' if beside else ''}", file=sys.stderr, flush=True)
    return row.model_copy(update={"busy": beside})


def _compiled() -> None:
    """Let what is started keep its bytecode, as an installed program has it."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def _command(options: argparse.Namespace) -> str:
    words = [*options.names, *(["--runs", str(options.runs)] if options.runs else [])]
    made = "make bench-peers" if options.peers else "make bench"
    return f'{made} ARGS="{" ".join(words)}"' if words else made


def _tables(results: Results) -> str:
    """Return the tables that have rows, for a quick look."""
    sections = {row.section for row in results.rows.values()}
    return "\n".join(made(results) for name, made in page.TABLES.items() if name in sections)


if __name__ == "__main__":
    main()
