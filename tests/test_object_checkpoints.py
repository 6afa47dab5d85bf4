"""Checkpoints in the object store: what one machine began another goes on with."""

import pytest

from dehazing.pipeline import checkpoint
from dehazing.pipeline.execute import execute, executing
from dehazing.pipeline.execution import Execution
from tests import tiny_series
from tests.object_places import ADDRESS, names


def test_a_checkpoint_is_gone_on_from_elsewhere(store, elsewhere):
    for epoch in (1, 2, 3):
        checkpoint.save(store.partial(ADDRESS), {"epoch": epoch}, epoch)
        store.save_partial(ADDRESS)
    assert [name[8:20] for name in names(store)] == ["epoch-000002", "epoch-000003"]
    assert checkpoint.latest(elsewhere.partial(ADDRESS)) == {"epoch": 3}
    checkpoint.save(elsewhere.partial(ADDRESS), {"epoch": 4}, 4)
    elsewhere.save_partial(ADDRESS)
    assert checkpoint.latest(store.partial(ADDRESS)) == {"epoch": 4}
    checkpoint.save(store.partial(ADDRESS), {"epoch": 5}, 5)  # not in the store yet: newer than what is
    assert checkpoint.latest(store.partial(ADDRESS)) == {"epoch": 5}
    store.clear_partial(ADDRESS)
    assert names(store) == [] and not (store.root / "stages" / ADDRESS / "partial").exists()


def test_a_damaged_checkpoint_does_not_outlive_a_new_beginning(store, elsewhere):
    checkpoint.save(store.partial(ADDRESS), {"epoch": 7}, 7)
    store.save_partial(ADDRESS)
    (name,) = names(store)
    store.objects.put(f"stages/{ADDRESS}/{name}", b"cut")
    assert checkpoint.latest(elsewhere.partial(ADDRESS)) is None
    folder = elsewhere.root / "stages" / ADDRESS / "partial"
    checkpoint.save(folder, {"epoch": 1}, 1)
    elsewhere.save_partial(ADDRESS)
    assert [name[8:20] for name in names(store)] == ["epoch-000001"]


@pytest.mark.slow
def test_a_stage_that_was_interrupted_is_gone_on_with_elsewhere(store, elsewhere, tmp_path):
    alone = tiny_series.publish(tmp_path / "alone")
    place = alone.folder(f"series/{tiny_series.NAME}")
    paths = {p.relative_to(place).as_posix(): p for p in place.rglob("*") if p.is_file() and p.name != "manifest.json"}
    store.publish(f"series/{tiny_series.NAME}", paths)
    settings = {"base": 4, "depth": 2, "patch_px": 32, "batch_size": 2, "num_epochs": 3, "steps_per_epoch": 1}
    execution = Execution("unet", settings, tiny_series.NAME, 0)
    begun = executing(execution, store, checkpoint_every_s=0.0)
    assert [next(begun)["epoch"], next(begun)["epoch"]] == [1, 2]
    begun.close()
    assert [metrics["epoch"] for metrics in executing(execution, elsewhere)] == [3]
    execute(execution, alone)
    assert elsewhere.read(execution.address, "weights.safetensors") == alone.read(
        execution.address, "weights.safetensors"
    )
    assert not [name for name in store.files()[execution.address] if name.startswith(("partial", "LEASE"))]
