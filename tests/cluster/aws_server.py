"""moto's server on one address, which also writes down who asked for what: `python -m … ADDRESS PORT REGION FILE`.

While there is a file beside it of the name in REFUSED, no spot instance is given.
"""

from __future__ import annotations

import io
import json
import re
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

KEY = re.compile(r"Credential=([^/]+)/")
FORM = "application/x-www-form-urlencoded"
REFUSED = "spot-is-refused"
SPOT = b"MarketType=spot"
NO_CAPACITY = b"""<?xml version="1.0" encoding="UTF-8"?>
<Response><Errors><Error><Code>InsufficientInstanceCapacity</Code>
<Message>There is no Spot capacity available that matches your request.</Message></Error></Errors>
<RequestID>0</RequestID></Response>"""


class Noting:
    """A WSGI application that notes each request as a line of JSON: key, method, path, query, and body of a form."""

    def __init__(self, application: Callable[..., Iterable[bytes]], file: Path):
        self.application, self.file = application, file
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        body = b""
        if environ.get("CONTENT_TYPE", "").startswith(FORM):
            body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            environ["wsgi.input"] = io.BytesIO(body)
        found = KEY.search(environ.get("HTTP_AUTHORIZATION", ""))
        asked = {
            "key": found[1] if found else "",
            "method": environ["REQUEST_METHOD"],
            "path": environ["PATH_INFO"],
            "query": environ.get("QUERY_STRING", ""),
            "body": body.decode(),
        }
        with self._lock, self.file.open("a") as file:
            file.write(json.dumps(asked) + "\n")
        if SPOT in body and self.file.with_name(REFUSED).exists():
            start_response("500 Internal Server Error", [("Content-Type", "text/xml")])  # as AWS says it
            return [NO_CAPACITY]
        return self.application(environ, start_response)


def serve(address: str, port: int, region: str, file: Path) -> None:
    """Serve until killed; EC2's descriptions of machines, which take a while, are read before anybody asks."""
    from moto.backends import get_backend
    from moto.core import DEFAULT_ACCOUNT_ID
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import run_simple

    get_backend("ec2")[DEFAULT_ACCOUNT_ID][region]
    run_simple(address, port, Noting(DomainDispatcherApplication(create_backend_app), file), threaded=True)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
