from __future__ import annotations

import pytest

from conduit_core.observe.otlp_reasons import reason, together

GAVE_UP = "Failed to export spans batch due to timeout, max retries or shutdown."
POOL = "Transient error HTTPConnectionPool(host='h', port=4318): "
CAUSED = POOL + "Max retries exceeded with url: /v1 (Caused by "
NEW = CAUSED + "NewConnectionError(\"HTTPConnection(host='h', port=4318): "
UNTRUSTED = "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate"
STATUS = "Failed to export traces to h:4317, error code: StatusCode"
LOOKUP = "errors resolving h:4317: [field:hostname lookup error:address lookup failed for h:4317: "


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            [
                NEW + 'Failed to establish a new connection: [Errno 111] Connection refused"))',
                GAVE_UP,
            ],
            "it can't be reached: connection refused",
        ),
        (
            [
                NEW + 'Failed to establish a new connection: [Errno 101] No route to host"))',
                GAVE_UP,
            ],
            "it can't be reached: No route to host",
        ),
        (
            [NEW + "Failed to resolve 'h' ([Errno -2] Name or service not known)\"))", GAVE_UP],
            "there is no host h",
        ),
        (
            [
                CAUSED + f"SSLError(SSLCertVerificationError(1, '{UNTRUSTED} (_ssl.c:1006)')))",
                GAVE_UP,
            ],
            "its certificate isn't trusted: self-signed certificate",
        ),
        ([POOL + "Read timed out. (read timeout=2)", GAVE_UP], "it didn't answer in time"),
        (["Failed to export spans batch code: 401, reason: No"], "it answered 401 No"),
        (
            [f"{STATUS}.UNAVAILABLE, error details: {LOOKUP}Domain name not found]"],
            "there is no host h",
        ),
        (
            [f"{STATUS}.UNAUTHENTICATED, error details: no token"],
            "it answered UNAUTHENTICATED: no token",
        ),
        (
            [f"{STATUS}.DEADLINE_EXCEEDED, error details: Deadline Exceeded"],
            "it didn't answer in time",
        ),
        ([f"{STATUS}.UNIMPLEMENTED, error details: "], "it answered UNIMPLEMENTED"),
        (["something  else\nof the SDK's."], "something else of the SDK's"),
        (["x" * 500], "x" * 157 + "..."),
        ([], "it wasn't taken"),
    ],
)
def test_what_the_sdk_says_is_one_clause(said: list[str], told: str) -> None:
    assert reason(said) == told


def test_what_is_the_same_of_both_signals_is_told_once() -> None:
    assert together({"traces": "a", "metrics": "a"}) == "traces and metrics: a"
    assert together({"traces": "a", "metrics": "b"}) == "traces: a; metrics: b"
    assert together({}) == ""
