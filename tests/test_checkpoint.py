import errno
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from dehazing.pipeline import checkpoint


def same(a, b):
    """Equal to the bit, types included."""
    assert type(a) is type(b), (type(a), type(b))
    if isinstance(a, dict):
        assert list(a) == list(b)
        return all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a.nan_to_num(7), b.nan_to_num(7))
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b)
    return a == b or (a != a and b != b)


def test_a_tree_comes_back_as_it_was(tmp_path):
    shared = torch.randn(3, 4)
    tree = {
        "shared": [shared, shared, shared.T, shared[1:]],
        "empty": (torch.empty(0), {}, [], ()),
        "scalars": (1, True, None, "ü", 0.1 + 0.2, -0.0, 2**200, math.inf, math.nan),
        "dtypes": [torch.tensor([1, 2], dtype=dtype) for dtype in (torch.uint8, torch.int64, torch.bfloat16)],
        "numpy": [np.arange(3, dtype=np.uint32), np.float32(0.1), np.array(3.0), np.arange(6).reshape(2, 3).T],
        3: {"int key": torch.tensor(5.0, requires_grad=True).detach()},
        "tensor": {"tensor": "not a reference"},
    }
    checkpoint.save(tmp_path, tree, 1)
    assert same(checkpoint.latest(tmp_path), tree)


def test_optimizers_and_generators_go_on_to_the_bit(tmp_path):
    torch.manual_seed(0)
    network = torch.nn.Linear(4, 4)
    adam = torch.optim.AdamW(network.parameters(), lr=0.1)
    generator = torch.Generator().manual_seed(5)
    numpy_generator = np.random.default_rng(5)

    def step():
        x = torch.randn(8, 4, generator=generator)
        loss = (network(x) - x).square().mean() * float(numpy_generator.random())
        adam.zero_grad()
        loss.backward()
        adam.step()

    for _ in range(3):
        step()
    tree = {
        "network": network.state_dict(),
        "adam": adam.state_dict(),
        "generator": generator.get_state(),
        "numpy": numpy_generator.bit_generator.state,
    }
    checkpoint.save(tmp_path, tree, 3)
    step()
    expected = [parameter.detach().clone() for parameter in network.parameters()]

    state = checkpoint.latest(tmp_path)
    network.load_state_dict(state["network"])
    adam.load_state_dict(state["adam"])
    generator.set_state(state["generator"])
    numpy_generator.bit_generator.state = state["numpy"]
    step()
    assert all(torch.equal(a, b) for a, b in zip(expected, network.parameters(), strict=True))


def test_a_copy_stays_what_it_was(tmp_path):
    def tree():
        torch.manual_seed(0)
        last = torch.ones(1, 2, 3, 3).to(memory_format=torch.channels_last)
        moments = (torch.randn(3), [np.arange(3.0)])
        return {"moments": moments, 3: None, "text": "ü", "weight": torch.nn.Linear(2, 2).weight, "last": last}

    changed, expected = tree(), tree()
    kept = checkpoint.copied(changed)
    with torch.no_grad():
        for tensor in (changed["weight"], changed["last"], changed["moments"][0]):
            tensor.fill_(math.nan)
    changed["moments"][1][0][:] = 7
    changed["moments"][1].append(1)
    expected["weight"] = expected["weight"].detach()
    assert same(kept, expected)
    assert kept["last"].stride() == expected["last"].stride() and not kept["weight"].requires_grad


def test_no_checkpoint_is_none(tmp_path):
    assert checkpoint.latest(tmp_path) is None
    assert checkpoint.latest(tmp_path / "absent") is None


def test_two_are_kept(tmp_path):
    for epoch in (1, 2, 10, 3):
        checkpoint.save(tmp_path, {"epoch": epoch}, epoch)
        if epoch == 10:
            assert checkpoint.latest(tmp_path) == {"epoch": 10}
            for path in tmp_path.glob("epoch-000010-*"):
                path.unlink()
    assert [path.name[:12] for path in sorted(tmp_path.iterdir())] == ["epoch-000002", "epoch-000003"]


def test_the_same_epoch_again_replaces_it(tmp_path):
    checkpoint.save(tmp_path, "first", 4)
    checkpoint.save(tmp_path, "second", 4)
    assert checkpoint.latest(tmp_path) == "second"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b[:-1], lambda b: b[:-1] + bytes([b[-1] ^ 1])])
def test_a_damaged_one_gives_way_to_the_one_before(tmp_path, damage, caplog):
    checkpoint.save(tmp_path, {"w": torch.ones(5)}, 1)
    newest = checkpoint.save(tmp_path, {"w": torch.zeros(5)}, 2)
    newest.write_bytes(damage(newest.read_bytes()))
    assert torch.equal(checkpoint.latest(tmp_path)["w"], torch.ones(5))
    assert "damaged" in caplog.text and not newest.exists()


def test_a_full_disk_leaves_the_checkpoints_as_they_were(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, "kept", 1)

    def full(path, content):
        path.open("wb").write(content[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(ValueError, match="No space left on device"):
            checkpoint.save(tmp_path, "lost", 2)
    assert checkpoint.latest(tmp_path) == "kept" and len(list(tmp_path.iterdir())) == 1


def test_what_cannot_be_kept_is_named(tmp_path):
    with pytest.raises(AssertionError, match=r"state\['a'\]\[1\]"):
        checkpoint.save(tmp_path, {"a": [1, object()]}, 1)
