import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dehazing.data.archive import load_series
from dehazing.data.simulator import NumFields, SimulatedConfig
from dehazing.pipeline import series as module
from dehazing.pipeline.series import ensure_series, series_fingerprint
from dehazing.pipeline.store import Store

ROOT = Path(__file__).resolve().parent.parent
TINY = {
    "pinholes_au": (1.0, 3.0, 6.0),
    "num_fields": NumFields(2, 1, 1),
    "field_px": 24,
    "pad_px": 8,
    "dz_um": 0.5,
    "depth_um": 1.0,
}


def test_a_series_is_made_once_and_read_back(tmp_path, monkeypatch):
    store, config = Store(tmp_path), SimulatedConfig(**TINY)
    name = ensure_series(config, store)
    assert name == series_fingerprint(config) and store.has(f"series/{name}")
    monkeypatch.setattr(module, "make_series", lambda *_, **__: pytest.fail("made again"))
    assert ensure_series(config, store) == name
    series = load_series(store.folder(f"series/{name}"))
    assert series.T == 2 and len(series.names("train")) == 2
    assert series.x("train").shape == (2, 3, 24, 24) and np.isfinite(series.x("train")).all()
    assert sorted(path.name for path in (tmp_path / "stages" / "series").iterdir()) == [name]
    assert not (store.folder(f"series/{name}") / "partial").exists()


def test_other_settings_are_another_series():
    one, same = (series_fingerprint(SimulatedConfig(**TINY)) for _ in range(2))
    assert one == same != series_fingerprint(SimulatedConfig(**{**TINY, "seed": 1}))


def test_a_failure_publishes_nothing(tmp_path, monkeypatch):
    store, config = Store(tmp_path), SimulatedConfig(**TINY)

    def fail(*_, **__):
        raise ValueError("The file must hold an image.")

    monkeypatch.setattr(module, "make_series", fail)
    with pytest.raises(ValueError, match="must hold an image"):
        ensure_series(config, store)
    assert store.addresses() == []


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files as Linux does")
def test_a_full_disk_is_one_sentence(tmp_path):
    code = f"""
import resource, signal
from dehazing.data.simulator import NumFields, SimulatedConfig
from dehazing.pipeline.series import ensure_series
from dehazing.pipeline.store import Store
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
try:
    ensure_series(SimulatedConfig(**{TINY!r}), Store({str(tmp_path)!r}))
except ValueError as error:
    print(error)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "must be writable, but cannot be written" in out.stdout and "File too large" in out.stdout
    assert Store(tmp_path).addresses() == []
