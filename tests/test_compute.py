"""How every trained stage computes: it never waits for the device, and takes its settings."""

import os
from functools import cache

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from dehazing.models.degrader import Discriminator, Operator
from dehazing.models.nafnet import NAFNet
from dehazing.models.unet import UNet
from dehazing.pipeline.execute import build, context_of, execute
from dehazing.pipeline.execution import Execution
from dehazing.stages.compute import Compute, compiled, lay_out, settle
from dehazing.stages.descent import Descent
from dehazing.strict import from_mapping
from tests import tiny_series
from tests.tiny_series import T

BRIEF = {"num_epochs": 1, "steps_per_epoch": 2, "batch_size": 2, "patch_px": 32}
LADDER = {"latent_channels": [2, 2, 2], "width": 8}
CONFIGS = {
    "unet": {"base": 4, "depth": 2},
    "nafnet": {"width": 4, "depth": 2, "window": 3},
    "hdn": {**LADDER, "num_samples": 2, "kl_ramp": 0.5, "skip_norm": 100.0},
    "hvae": {**LADDER, "free_nats": 0.1},
    "restorer": {"width": 8, "latent_noise": 0.1, "lambda_decoder": 0.1},
    "degrader": {"width": 8, "discriminator_width": 8, "pool_size": 3, "anchor": "z_T", "latent_noise": 0.1},
    "shared": {"width": 8, "discriminator_width": 8, "pool_size": 3, "shared": True},
    "restorer_pixels": {"width": 8, "domain": "pixels"},
    "pixels": {"width": 8, "discriminator_width": 8, "pool_size": 3, "domain": "pixels"},
}
KIND_OF = {"shared": "degrader", "pixels": "degrader", "restorer_pixels": "restorer"}
ROLES = {
    "restorer": ("hvae",),
    "degrader": ("hvae", "restorer"),
    "shared": ("hvae", "restorer"),
    "pixels": ("restorer_pixels",),
}


def execution(name, **compute):
    config = {**BRIEF, **CONFIGS[name], "compute": compute}
    kind = KIND_OF.get(name, name)
    upstreams = {role: execution(role).address for role in ROLES.get(name, ())}
    return Execution(kind, config, tiny_series.NAME, 0, upstreams)


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    """A stage before its first epoch, by its name and how it computes."""
    store = tiny_series.publish(tmp_path_factory.mktemp("compute"))

    @cache
    def upstreams(name):
        for role in execution(name).upstreams:
            upstreams(role)
            execute(execution(role), store)

    def made(name, **compute):
        upstreams(name)
        asked = execution(name, **compute)
        return build(asked, context_of(asked, store, "cpu"))

    yield made
    settle(Compute(), "cpu")


def an_epoch(stage):
    torch.manual_seed(0)  # what a network draws itself
    return stage.train_epoch()


class Waits(TorchDispatchMode):
    """Notes what on a GPU would wait for it, or copy between it and the host, whoever asks for it."""

    def __init__(self):
        super().__init__()
        self.found = []
        self._python = _Python(self.found)

    def __enter__(self):
        self._python.__enter__()
        return super().__enter__()

    def __exit__(self, *raised):
        super().__exit__(*raised)
        self._python.__exit__(*raised)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        masks = args[1] if name in ("index", "index_put", "index_put_") else ()
        if (
            name in ("_local_scalar_dense", "nonzero", "masked_select", "lift_fresh", "repeat_interleave")
            or (name == "_to_copy" and (kwargs or {}).get("device") not in (None, args[0].device))
            or any(mask is not None and mask.dtype == torch.bool for mask in masks)
        ):
            self.found.append(name)
        return func(*args, **(kwargs or {}))


class _Python(TorchFunctionMode):
    """Some of it never reaches torch's operators where the device is the CPU."""

    def __init__(self, found):
        super().__init__()
        self.found = found

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in (torch.Tensor.tolist, torch.Tensor.cpu, torch.Tensor.numpy, torch.from_numpy):
            self.found.append(func.__name__)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(),
        lambda x: float(x.sum()),
        lambda x: bool(x.sum() > 0),
        lambda x: x.tolist(),
        lambda x: x[x > 0],
        lambda x: x.masked_select(x > 0),
        lambda x: x.to("meta"),
        lambda x: x * torch.tensor([1.0, 2.0]),
        lambda x: range(3)[x.long()[0]],
        lambda x: x.__setitem__(x > 0, x[0]),
    ],
)
def test_what_waits_is_noticed(wait):
    with Waits() as waits:
        wait(torch.rand(2))
    assert waits.found


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_training_step_waits_for_nothing(make, name, precision):
    stage = make(name, precision=precision)
    stage.train_step()  # what is drawn, made or looked up once
    with Waits() as waits:
        for _ in range(3):
            stage.train_step()
    assert waits.found == []


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_bfloat16_keeps_weights_and_moments_and_what_is_published_in_float32(make, name):
    single, half = make(name), make(name, precision="bfloat16")
    dtypes = set()
    part = next(part for part in half.descent.module.modules() if isinstance(part, nn.Conv2d))
    part.register_forward_hook(lambda module, inputs, output: dtypes.add(output.dtype))
    metrics = [an_epoch(stage) for stage in (single, half)]
    assert dtypes == {torch.bfloat16}
    kept = [*half.descent.module.parameters(), *half.descent.averaged.parameters()]
    kept += [moment for moments in half.descent.optimizer.state.values() for moment in moments.values()]
    assert {tensor.dtype for tensor in kept} == {torch.float32}
    assert metrics[1]["train/loss"] == pytest.approx(metrics[0]["train/loss"], rel=0.05, abs=0.02)
    assert metrics[1]["train/loss"] != metrics[0]["train/loss"]


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_the_memory_format_changes_no_more_than_rounding(make, name):
    plain, last = make(name, channels_last=False), make(name, channels_last=True)
    first, second = (an_epoch(stage) for stage in (plain, last))
    assert second == pytest.approx(first, rel=1e-3, abs=1e-4)
    weights = [weight for weight in last.descent.averaged.parameters() if weight.dim() == 4 and min(weight.shape) > 1]
    assert any(weight.stride()[1] == 1 for weight in weights)


def test_a_stage_prefers_a_memory_format_where_none_is_asked_for():
    assert Compute().preferring(channels_last=True) == Compute(channels_last=True)
    assert Compute(channels_last=False).preferring(channels_last=True) == Compute(channels_last=False)
    half = from_mapping(Compute, {"precision": "bfloat16", "channels_last": None}, "compute")
    assert half.preferring(channels_last=True) == Compute("bfloat16", channels_last=True)


@pytest.mark.slow
def test_a_compiled_network_computes_the_same():
    def stepped(compute):
        torch.manual_seed(0)
        descent = Descent(nn.ModuleDict({"G": nn.Linear(3, 3)}), lr=0.1, num_steps=9, seed=0, compute=compute)
        descent.step(descent.module["G"](torch.ones(2, 3)).square().mean())
        return descent

    plain, other = stepped(Compute()), stepped(Compute(compile=True))
    assert other.module["G"]._compiled_call_impl and not other.averaged["G"]._compiled_call_impl
    torch.testing.assert_close(other.state_dict()["module"], plain.state_dict()["module"])


@pytest.fixture
def graphs():
    """What is compiled from here on, of which torch makes graphs alone, as code for them takes long to be made."""
    made = []

    def noted(graph, inputs):
        made.append(graph)
        return graph.forward

    with torch.compiler.set_stance("default", force_backend=noted):
        yield made
    torch.compiler.reset()


@pytest.mark.slow
def test_every_trial_of_a_process_is_compiled(graphs):
    nums = []
    for base in range(2, 11):  # more than torch would by itself
        settle(Compute(compile=True), "cpu")
        images = torch.zeros(1, 1, 8, 8)
        descent = Descent(UNet(T, base=base, depth=1), 0.1, 9, 0, compute=Compute(compile=True))
        before = len(graphs)
        descent.step(descent.module(images, torch.tensor([1])).square().mean())
        nums.append(len(graphs) - before)
    assert nums[0] > 0 and len(set(nums)) == 1


@pytest.mark.slow
def test_every_step_of_a_degrader_is_compiled(graphs):
    settle(Compute(compile=True), "cpu")
    num_steps = 9
    G = Operator((2,), 4, num_steps, shared=False, anchored=False)
    compiled(G, Compute(compile=True))
    nums = []
    for s in range(1, num_steps + 1):
        for z in (torch.zeros(1, 2, 8, 8), torch.zeros(1, 2, 8, 8, requires_grad=True)):  # X, and what F made of Y
            before = len(graphs)
            G((z,), s)
            nums.append(len(graphs) - before)
    assert min(nums) > 0


# by `torch.use_deterministic_algorithms.__doc__`, what raises on a GPU; `median` and `put_` in some of their forms
REFUSED = {
    *("avg_pool3d_backward", "_adaptive_avg_pool2d_backward", "_adaptive_avg_pool3d_backward"),
    *("adaptive_max_pool2d_backward", "fractional_max_pool2d_backward", "fractional_max_pool3d_backward"),
    *("max_unpool2d", "max_unpool3d", "upsample_linear1d_backward", "upsample_bilinear2d_backward"),
    *("upsample_bicubic2d_backward", "upsample_trilinear3d_backward", "reflection_pad1d_backward"),
    *("reflection_pad2d_backward", "reflection_pad3d_backward", "nll_loss_forward", "nll_loss2d_forward"),
    *("_ctc_loss_backward", "_embedding_bag_backward", "put_", "histc", "bincount", "median", "nanmedian"),
    *("grid_sampler_2d_backward", "grid_sampler_3d_backward", "cumsum", "cumsum_"),
}


class Refused(TorchDispatchMode):
    """Notes what a GPU would refuse when it is to be deterministic."""

    def __init__(self):
        super().__init__()
        self.found = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.found |= {func.overloadpacket.__name__} & REFUSED
        return func(*args, **(kwargs or {}))


def test_what_a_gpu_refuses_is_noticed():
    h = torch.randn(1, 1, 4, 4, requires_grad=True)
    with Refused() as refused:
        functional.pad(h, (1, 1, 1, 1), mode="reflect").sum().backward()
        functional.interpolate(h, scale_factor=2, mode="bicubic").sum().backward()
        h.detach().cumsum(0)
    assert refused.found == {"reflection_pad2d_backward", "upsample_bicubic2d_backward", "cumsum"}


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_no_stage_does_what_a_gpu_refuses_when_it_is_to_be_deterministic(make, name):
    with Refused() as refused:
        stage = make(name)
        stage.train_epoch()
        stage.finish()
    assert refused.found <= {"upsample_bilinear2d_backward"}, "which torch itself takes apart where not on a CPU"


def test_torch_takes_apart_what_is_left_where_it_is_not_on_a_cpu():
    settle(Compute(deterministic=True), "cpu")
    with torch.device("meta"), Refused() as refused:
        network = NAFNet(T, width=4, depth=2, window=3)
        network(torch.empty(1, 1, 16, 16), torch.empty(1, dtype=torch.long)).sum().backward()
    settle(Compute(), "cpu")
    assert network.stem.weight.grad is not None and not refused.found


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_every_stage_can_be_deterministic_and_the_next_one_need_not(make, name):
    first, second = (an_epoch(make(name, deterministic=True)) for _ in range(2))
    assert torch.are_deterministic_algorithms_enabled()
    assert first == second
    make("unet")
    assert not torch.are_deterministic_algorithms_enabled()


def test_determinism_is_asked_of_the_whole_process():
    settle(Compute(deterministic=True), "cuda")
    assert torch.are_deterministic_algorithms_enabled() and not torch.backends.cudnn.benchmark
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"]
    settle(Compute(), "cuda:1")
    assert not torch.are_deterministic_algorithms_enabled() and torch.backends.cudnn.benchmark
    settle(Compute(), "cpu")
    assert not torch.backends.cudnn.benchmark


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_float32_is_never_tensorfloat32(device, precision):
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    settle(Compute(precision=precision), device)
    assert not torch.backends.cudnn.allow_tf32 and not torch.backends.cuda.matmul.allow_tf32
    settle(Compute(), "cpu")


def test_how_it_computes_is_part_of_what_it_is():
    assert execution("unet").fingerprint == execution("unet", precision="float32").fingerprint
    assert execution("unet").fingerprint != execution("unet", precision="bfloat16").fingerprint
    with pytest.raises(ValueError, match=r"`precision` must be one of float32, bfloat16, but got 'half'"):
        execution("unet", precision="half")
    with pytest.raises(ValueError, match=r"unknown key `chanels_last`; the nearest valid key is `channels_last`"):
        execution("unet", chanels_last=True)


def test_weights_with_a_side_of_one_keep_their_strides():
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 2))
    before = [weight.clone() for weight in module.parameters()]
    lay_out(module, Compute(channels_last=True))
    assert [module[i].weight.stride() for i in range(3)] == [(9, 9, 3, 1), (4, 1, 1, 1), (16, 1, 8, 4)]
    assert all(torch.equal(*pair) for pair in zip(before, module.parameters(), strict=True))


def test_a_discriminator_is_normed_in_float32_under_autocast():
    torch.manual_seed(0)
    critic, z = Discriminator((3,), 8, 2, shared=False), (torch.randn(2, 3, 8, 8),)
    critic.eval()  # the norm's vectors stay as they are
    (plain,) = critic(z, 1)
    with torch.autocast("cpu", torch.bfloat16):
        (half,) = critic(z, 1)
    assert half.dtype == torch.float32 and not torch.equal(half, plain)
    torch.testing.assert_close(half, plain, rtol=0.1, atol=0.05)
