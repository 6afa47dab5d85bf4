"""Whether MLflow's server answers, asked before a run on a cluster begins.

The driver's host alone talks to MLflow: what workers do reaches it through the driver, so no worker needs a way to it.
"""

from __future__ import annotations

import http.client
import os
import socket
import time
import urllib.error
import urllib.request

TRIES_AFTER_S = (0.0, 2.0, 8.0)  # a server that is about to be up
ANSWERS_WITHIN_S = 10.0
ASKED = "/api/2.0/mlflow/experiments/get?experiment_id=0"  # unlike /health, it is refused to a foreign Host header


def require_mlflow() -> None:
    """ValueError naming this host where MLFLOW_TRACKING_URI is a server's address and no MLflow answers there."""
    address = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not address.startswith("http"):
        return
    said = ""
    for wait_s in TRIES_AFTER_S:
        time.sleep(wait_s)
        said = _fault(address.rstrip("/"))
        if not said:
            return
    raise ValueError(
        f"MLflow must answer the driver's host, but {address} does not answer {socket.gethostname()}: {said}. "
        "Start it, or correct MLFLOW_TRACKING_URI (unset, MLflow's database is a file of the results folder)."
    )


def _fault(address: str) -> str:
    """Why nothing can be told there; "" where MLflow answers. A refused user is told later, by who delivers."""
    try:
        with urllib.request.urlopen(f"{address}{ASKED}", timeout=ANSWERS_WITHIN_S) as answer:
            found = answer.read(1000)
    except urllib.error.HTTPError as error:
        found = error.read(1000)
        if error.code == 401 or b"error_code" in found:
            return ""
        return f"it says {error.code} {error.reason}"
    except (OSError, ValueError, http.client.HTTPException) as error:
        return str(getattr(error, "reason", error)) or type(error).__name__
    return "" if b"experiment" in found else "what answers there is no MLflow"
