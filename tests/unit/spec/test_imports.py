from __future__ import annotations

import subprocess
import sys


def test_the_spec_imports_no_arrow_and_no_driver() -> None:
    code = (
        "import sys, conduit_core.spec\n"
        "heavy = {'pyarrow', 'duckdb', 'adbc_driver_manager', 'jsonschema', 'pandas'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
