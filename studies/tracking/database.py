"""MLflow's database in a results folder, whose tables are made aside.

MLflow makes them by a series of migrations; one that is cut off in the middle leaves tables that no later one can
go on from.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from dehazing.pipeline.claims import Owner
from dehazing.pipeline.writing import make_durable

NAME = "mlflow.db"
ASIDE = ".mlflow-"


def database(root: Path) -> str:
    """The URI of the folder's database, made where it is missing; OSError where it cannot be made."""
    path = root / NAME
    if not path.exists():
        for left in root.glob(f"{ASIDE}*"):
            maker = Owner.named(left.name.removeprefix(ASIDE))
            if maker is None or maker.is_gone():
                left.unlink(missing_ok=True)
        aside = root / f"{ASIDE}{Owner.myself().name}-{uuid.uuid4().hex[:8]}"
        try:
            _make_tables(aside)
            make_durable(aside)
            try:
                os.link(aside, path)  # appears whole, and only once: two drivers may begin together
            except FileExistsError:
                pass  # the other's holds
            except OSError:  # a file system without links
                aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
    return f"sqlite:///{path}"


def _make_tables(path: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    store = SqlAlchemyStore(f"sqlite:///{path}", "mlflow-artifacts:/")
    store.engine.dispose()
