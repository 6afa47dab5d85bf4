"""The pinhole series as the store's first product: simulated or read once per dataset, then shared by every stage."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from safetensors import SafetensorError

from dehazing.data.archive import save_series
from dehazing.data.dataset import DatasetConfig, digest, make_series
from dehazing.data.prepared import PreparedConfig
from dehazing.pipeline.fingerprint import code_version, fingerprint
from dehazing.pipeline.lease import lease
from dehazing.pipeline.store import Store, writing


def series_fingerprint(config: DatasetConfig) -> str:
    """16 hex digits: the dataset's settings (and files, where it is a real one) and the code that makes it."""
    if isinstance(config, PreparedConfig):
        return config.series
    return fingerprint(kind="series", code_version=_code(config), digest=digest(config))


def ensure_series(config: DatasetConfig, store: Store, progress: bool | None = None) -> str:
    """Makes the series of a dataset unless the store has it, and returns its fingerprint.

    `progress`: a bar, by default only on a terminal. ValueError for a dataset that cannot be read.
    """
    name = series_fingerprint(config)
    address = f"series/{name}"
    if store.has(address):
        return name
    if isinstance(config, PreparedConfig):
        raise config.missing(store.name)
    with lease(store, address) as held:
        if not store.has(address):
            series = make_series(config, progress)
            with tempfile.TemporaryDirectory(dir=store.partial(address)) as aside:
                with writing(store.root):
                    try:
                        save_series(series, Path(aside))
                    except SafetensorError as error:  # what its writer makes of the system's errors
                        raise OSError(str(error)) from error
                paths = sorted(path for path in Path(aside).rglob("*") if path.is_file())
                files: dict[str, bytes | Path] = {path.relative_to(aside).as_posix(): path for path in paths}
                record = {"kind": "series", "code_version": _code(config), "digest": digest(config)}
                files["config.json"] = json.dumps(record, indent=1).encode()
                store.publish(address, files, fence=held.check, move=True)
            store.clear_partial(address)
    return name


def _code(config: DatasetConfig) -> str:
    return code_version(type(config).__module__)  # the simulator, or the reader, with what it imports
