"""``python -m tests.soak``: play many seeds, or one again."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from tests import services
from tests.soak.play import Mismatch, Place, Player
from tests.soak.schedule import Schedule, schedule

_NEEDED = (
    "adbc_driver_postgresql",
    "adbc_driver_sqlite",
    "duckdb",
    "psycopg",
    "stamina",
    "conduit_core.connectors.duckdb.destination",
    "conduit_core.connectors.postgres.destination",
    "conduit_core.connectors.postgres.source",
    "conduit_core.connectors.sqlite.cutting",
    "conduit_core.connectors.sqlite.destination",
    "conduit_core.connectors.sqlite.source",
    "conduit_core.engine.admin",
    "conduit_core.engine.cutting",
    "conduit_core.engine.run",
    "conduit_core.engine.steps",
    "conduit_core.testing.faults",
)
_MEMORY = Path("/dev/shm")  # noqa: S108 - each schedule makes a folder of its own in it


def main() -> int:
    """Play the seeds that the arguments name; return 1 if one fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument(
        "--seeds",
        type=int,
        default=int(os.environ.get("CONDUIT_SOAK_SEEDS", "1000")),
        help="how many (CONDUIT_SOAK_SEEDS)",
    )
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="this one alone, told step by step")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--postgres", help="a server's URL; without one, a server of our own")
    parser.add_argument("--without-postgres", action="store_true")
    parser.add_argument(
        "--spoil", action="store_true", help="with --seed: forget a row, to be told"
    )
    parser.add_argument("--unharmed", action="store_true", help="with --seed: kill nothing")
    parser.add_argument(
        "--leave-out", default="", help="with --seed: numbers of steps to skip, 3,5-8"
    )
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    with ExitStack() as stack:
        url = None if args.without_postgres else args.postgres or _own_server(stack)
        if args.seed is not None:
            return _one(
                args.seed, url, _numbers(args.leave_out), unharmed=args.unharmed, spoil=args.spoil
            )
        if args.worker is not None or args.workers == 1:
            return _worker(args, url)
        return _crew(args, url)


def _own_server(stack: ExitStack) -> str | None:
    if given := os.environ.get(services.POSTGRES_URL):
        return given
    binaries = services.local_binaries()
    return stack.enter_context(services.LocalPostgres(binaries)).url if binaries else None


def _crew(args: argparse.Namespace, url: str | None) -> int:
    """Share the seeds among processes, each with one thread: they fork."""
    given = ["--postgres", url] if url else ["--without-postgres"]
    command = [sys.executable, "-m", "tests.soak", "--seeds", str(args.seeds), "--first",
               str(args.first), "--workers", str(args.workers), *given]  # fmt: skip
    crew = [subprocess.Popen([*command, "--worker", str(n)]) for n in range(args.workers)]
    return max(worker.wait() for worker in crew)


def _worker(args: argparse.Namespace, url: str | None) -> int:
    share = range(args.first + (args.worker or 0), args.first + args.seeds, args.workers)
    began, failed, told = time.monotonic(), [], Counter[str]()
    for seed in share:
        player = _play(seed, url)
        told.update(schedules=1, loads=player.loads, killed=player.kills)
        told[f"{player.spec.mode}"] += 1
        told[f"into {player.spec.destination}"] += 1
        if player.failure:
            failed.append(seed)
            _show(player, url)
        if told["schedules"] % 50 == 0:
            _tell(f"soak: {told['schedules']} of {len(share)}, {len(failed)} failed")
    facts = ", ".join(f"{count} {what}" for what, count in told.items())
    _tell(f"soak: {facts}, {len(failed)} failed, {time.monotonic() - began:.0f} s")
    return bool(failed)


class _Played(Player):
    failure = ""


def _play(
    seed: int,
    url: str | None,
    leave_out: frozenset[int] = frozenset(),
    *,
    unharmed: bool = False,
    spoil: bool = False,
) -> _Played:
    systems = ("sqlite",) * 6 + ("duckdb",) + (("postgres",) if url else ())
    sources = ("sqlite", "sqlite", "sqlite", *(["postgres"] if url else []))
    made = schedule(seed, systems, sources)
    steps = tuple(step for n, step in enumerate(made.steps) if n not in leave_out)
    if unharmed:
        steps = tuple(replace(step, fault=None) for step in steps)
    made = Schedule(seed, made.spec, steps)
    uses = "postgres" in (made.spec.source, made.spec.destination)
    folder = Path(tempfile.mkdtemp(prefix="conduit-soak-", dir=_memory()))
    server = services.PostgresServer(url) if url and uses else None
    database = server.create_database() if server else None
    player = _Played(made, Place(folder, database), spoil=spoil)
    try:
        player.play()
    except Mismatch as error:
        player.failure = str(error)
    except Exception:  # noqa: BLE001 - a bug of the soak itself
        player.failure = traceback.format_exc()
    finally:
        if server and database:
            server.drop_database(database)
        shutil.rmtree(folder)
    return player


def _memory() -> str | None:
    """Return a folder in memory, where there is one: a process is killed here, never a machine."""
    return str(_MEMORY) if os.access(_MEMORY, os.W_OK) else None


def _one(
    seed: int, url: str | None, leave_out: frozenset[int], *, unharmed: bool, spoil: bool
) -> int:
    player = _play(seed, url, leave_out, unharmed=unharmed, spoil=spoil)
    _tell("\n".join(f"{n}: {step}" for n, step in enumerate(player.schedule.steps)))
    _show(player, url)
    return bool(player.failure)


def _show(player: _Played, url: str | None) -> None:
    seed = player.schedule.seed
    end = player.failure or "as the model says"
    _tell("\n  ".join([f"seed {seed}: {player.spec}", *player.told, end]))
    if player.failure:
        more = "" if url else " --without-postgres"
        _tell(f"to repeat it: {sys.executable} -m tests.soak --seed {seed}{more}")


def _tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _numbers(text: str) -> frozenset[int]:
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return frozenset(found)


def _import_all() -> None:
    """Import what loads need before any fork."""
    for name in _NEEDED:
        import_module(name)


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    _import_all()
    sys.exit(main())
