"""``python -m benchmarks.dask_run FILE WORKERS``: a run on a local Dask cluster; its time as JSON.

The cluster's start isn't in it: a cluster is there before the load.
"""

from __future__ import annotations

import json
import sys

from distributed import Client, LocalCluster

from conduit_core import Pipeline, raise_for_failures, run


def main() -> None:
    """Run the pipeline on as many workers as the second argument says."""
    file, workers = sys.argv[1:]
    cluster = LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=int(workers), threads_per_worker=1, dashboard_address=None, silence_logs=50
    )
    with cluster, Client(cluster) as client:  # type: ignore[no-untyped-call]
        result = run(Pipeline.from_file(file), executor=client.get_executor())
    raise_for_failures(result)
    print(json.dumps({"seconds": result.seconds}))


if __name__ == "__main__":
    main()
