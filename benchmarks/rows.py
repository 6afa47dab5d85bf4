"""How much MLflow's SQLite database holds."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

TABLES = ("runs", "metrics", "latest_metrics", "params", "tags")


def num_rows(path: Path) -> dict[str, int]:
    """Rows by table, of those that trials fill."""
    with closing(sqlite3.connect(path)) as database:
        return {table: database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in TABLES}
