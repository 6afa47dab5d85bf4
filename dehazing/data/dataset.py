"""A dataset in YAML: what it is, what identifies it, and the series that it makes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from dehazing.data.pinhole_files import escaped, find_files
from dehazing.data.pinhole_series import PinholeSeriesConfig, read_series
from dehazing.data.prepared import PreparedConfig
from dehazing.data.series import Series
from dehazing.data.simulator import SimulatedConfig, simulate
from dehazing.data.synthetic import SyntheticConfig, degraded
from dehazing.strict import from_mapping, nearest, to_mapping

DatasetConfig = SimulatedConfig | PinholeSeriesConfig | SyntheticConfig | PreparedConfig
KINDS: dict[str, type[DatasetConfig]] = {
    "simulated": SimulatedConfig,
    "pinhole_series": PinholeSeriesConfig,
    "synthetic": SyntheticConfig,
    "prepared": PreparedConfig,
}


def read_dataset(path: Path | str) -> DatasetConfig:
    """The configuration that a YAML describes, its paths made absolute; ValueError, naming key and file, if wrong."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"A dataset is a YAML file, but {path} is none.")
    try:
        mapping = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path.name} is not valid YAML: {' '.join(str(error).split())}.") from error
    return _config(mapping, path.parent, path.name)


def _config(mapping: Any, folder: Path, where: str) -> DatasetConfig:
    if not isinstance(mapping, Mapping):
        raise ValueError(f"{where} must be a mapping that begins with `kind`, but is {mapping!r:.60}.")
    kind = mapping.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        near = nearest(str(kind), KINDS)
        raise ValueError(f"{where}: `kind` must be one of {', '.join(KINDS)}, but is {kind!r} (nearest: {near}).")
    mapping = dict(mapping)
    if kind == "synthetic":
        source = mapping.get("source")
        if isinstance(source, str):
            mapping["source"] = read_dataset(folder / source)
        elif source is not None:
            mapping["source"] = _config(source, folder, f"{where}: `source`")
        if isinstance(source := mapping.get("source"), (SyntheticConfig, PreparedConfig)):
            raise ValueError(f"{where}: `source` must be simulated or a pinhole_series, but is {source.kind}.")
    config: DatasetConfig = from_mapping(KINDS[kind], mapping, where)
    if isinstance(config, PinholeSeriesConfig):
        relative = Path(config.path).expanduser()
        return replace(config, path=str(Path(escaped(str(folder.resolve()))) / relative))
    if isinstance(config, SimulatedConfig) and config.object != "lines":
        return replace(config, object=str(folder.resolve() / Path(config.object).expanduser()))
    return config


def with_scale(config: DatasetConfig, overrides: Mapping[str, Any]) -> DatasetConfig:
    """The configuration with a scale's settings in place of its own, nested ones merged; as strict as the YAML."""
    overrides = dict(overrides)
    if overrides and isinstance(config, PreparedConfig):
        raise ValueError(
            f"A prepared series has no settings left, so `{next(iter(overrides))}` must be given where it is made."
        )
    if isinstance(config, SyntheticConfig) and "source" in overrides:
        wanted = overrides.pop("source")
        if isinstance(wanted, Mapping) and wanted and set(wanted) <= set(KINDS):  # by kind of source
            wanted = wanted.get(config.source.kind, {})
        source = with_scale(config.source, wanted)
        assert isinstance(source, (SimulatedConfig, PinholeSeriesConfig))
        config = replace(config, source=source)
    mapping = _merged(to_mapping(config), overrides)
    if isinstance(config, SyntheticConfig):
        mapping["source"] = config.source
    return from_mapping(type(config), mapping, "the dataset's settings of the scale")


def _merged(mapping: dict[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(mapping)
    for key, value in overrides.items():
        inner = merged.get(key)
        merged[key] = _merged(inner, value) if isinstance(inner, dict) and isinstance(value, Mapping) else value
    return merged


def digest(config: DatasetConfig) -> str:
    """16 hex digits of the settings and of the content of the files they name, wherever those lie."""
    if isinstance(config, PreparedConfig):
        return config.digest
    mapping = to_mapping(config)
    if isinstance(config, SyntheticConfig):
        mapping["source"] = digest(config.source)
    elif isinstance(config, PinholeSeriesConfig):
        mapping["path"] = [
            [found.path.name, found.fov, str(found.pinhole), found.split, _sha256(found.path)]
            for found in find_files(config.path)
        ]
    elif config.object != "lines":
        mapping["object"] = _sha256(_existing(Path(config.object)))
    text = json.dumps(mapping, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def files_of(config: DatasetConfig) -> list[Path]:
    """The files that a dataset is made of; none where it is simulated from nothing. ValueError where one is missing."""
    if isinstance(config, SyntheticConfig):
        return files_of(config.source)
    if isinstance(config, PinholeSeriesConfig):
        return [found.path for found in find_files(config.path)]
    if isinstance(config, PreparedConfig) or config.object == "lines":
        return []
    return [_existing(Path(config.object))]


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise ValueError(f"`object` must be `lines` or a TIFF, but {path} does not exist.")
    return path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def make_series(config: DatasetConfig, progress: bool | None = None) -> Series:
    """Simulates or reads the series; `progress`: a bar where it simulates, by default only on a terminal."""
    if isinstance(config, SyntheticConfig):
        return degraded(config, make_series(config.source, progress))
    if isinstance(config, PinholeSeriesConfig):
        return read_series(config)
    if isinstance(config, PreparedConfig):
        raise config.missing("the store")
    return simulate(config, progress)
