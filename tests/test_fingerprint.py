import subprocess
import sys
from pathlib import Path

import pytest

from dehazing.pipeline.fingerprint import code_version, fingerprint, modules_of

ROOT = Path(__file__).resolve().parent.parent


def test_equal_settings_have_equal_fingerprints_however_they_are_written():
    first = fingerprint(config={"lr": 0.1, "widths": (8, 16)}, seed=1)
    assert first == fingerprint(seed=1, config={"widths": [8, 16], "lr": 0.1})
    assert len(first) == 16 and int(first, 16) >= 0


@pytest.mark.parametrize("other", [{"lr": 0.2}, {"lr": "0.1"}, {"rate": 0.1}, {"lr": None}, {}])
def test_any_difference_shows(other):
    assert fingerprint(config=other) != fingerprint(config={"lr": 0.1})


def test_numbers_close_by_differ():
    assert fingerprint(x=0.1 + 0.2) != fingerprint(x=0.3)
    assert fingerprint(x=float("inf")) != fingerprint(x=1e308)
    assert fingerprint(x=True) != fingerprint(x=1)


def test_another_process_computes_the_same():
    code = (
        "from dehazing.pipeline.fingerprint import *;"
        "print(fingerprint(a={'y': 1e-3, 'x': ('ü', None)}), code_version('dehazing.losses'))"
    )
    command = [sys.executable, "-c", code]
    out = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env={"PYTHONHASHSEED": "7"})
    assert out.stdout.split() == [fingerprint(a={"y": 1e-3, "x": ("ü", None)}), code_version("dehazing.losses")]


def test_what_has_no_text_of_its_own_is_refused():
    with pytest.raises(ValueError, match=r"fingerprint\.config\.path"):
        fingerprint(config={"path": object()})
    with pytest.raises(ValueError, match="keys must be text"):
        fingerprint(config={1: "a"})


FILES = {
    "__init__.py": '"""A package."""\n',
    "strict.py": "LIMIT = 1\n",
    "losses.py": 'def cycle(x, y):\n    """L1."""\n    return (x - y).abs().mean()\n',
    "metrics.py": "def psnr(x):\n    return x\n",
    "unrelated.py": "A = 1\n",
    "models/__init__.py": "",
    "models/unet.py": "from ..metrics import psnr\n\ndef unet(x):\n    return psnr(x)\n",
    "pipeline/__init__.py": "",
    "pipeline/stage.py": "from sample.unrelated import A\n",
    "stages/__init__.py": 'KINDS = ("unet",)\n',
    "stages/weights.py": "def pack(x):\n    return x\n",
    "stages/unet.py": (
        "import math\n"
        "from sample import losses, strict\n"
        "from sample.pipeline.stage import A\n"
        "from sample.stages import weights\n\n"
        "def train(x):\n    from sample.models.unet import unet\n\n    return losses.cycle(unet(x), math.pi)\n"
    ),
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    for name, text in FILES.items():
        path = tmp_path / "sample" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    code_version.cache_clear()
    yield tmp_path / "sample"
    code_version.cache_clear()


def version(package: Path, name: str, old: str, new: str) -> tuple[str, str]:
    """The code version of the stage before and after an edit."""
    before = code_version("sample.stages.unet")
    path = package / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    code_version.cache_clear()
    return before, code_version("sample.stages.unet")


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("losses.py", '"""L1."""', '"""Mean absolute difference, Eq. 15."""'),
        ("losses.py", '    """L1."""\n', ""),
        ("losses.py", "(x - y).abs().mean()", "(\n        x - y  # signed\n    ).abs().mean()"),
        ("stages/unet.py", "import math", '"""A stage."""\n\nimport math'),
        ("stages/__init__.py", '("unet",)', '("unet", "hdn")'),
        ("pipeline/stage.py", "import A", "import A as B"),
        ("unrelated.py", "1", "2"),
        ("strict.py", "1", "2"),
    ],
)
def test_an_edit_that_changes_no_arithmetic_keeps_the_version(package, name, old, new):
    before, after = version(package, name, old, new)
    assert after == before


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("losses.py", "abs()", "square()"),
        ("losses.py", "x - y", "y - x"),
        ("stages/unet.py", "math.pi", "math.e"),
        ("stages/weights.py", "return x", "return 2 * x"),
        ("models/unet.py", "return psnr(x)", "return psnr(x) + 1"),  # imported within a function
        ("metrics.py", "return x", "return -x"),  # imported by what is imported, relatively
    ],
)
def test_an_edit_that_changes_arithmetic_changes_the_version(package, name, old, new):
    before, after = version(package, name, old, new)
    assert after != before


def test_a_stage_does_not_depend_on_the_networks_of_others():
    networks = {"dehazing.models.unet", "dehazing.models.hvae", "dehazing.models.degrader"}
    assert modules_of("dehazing.stages.unet") & networks == {"dehazing.models.unet"}
    assert modules_of("dehazing.stages.hvae") & networks == {"dehazing.models.hvae"}
    assert modules_of("dehazing.stages.restorer") & networks == set()
    assert modules_of("dehazing.stages.degrader") & networks == {"dehazing.models.degrader"}


def test_only_stages_that_can_see_fresh_fields_depend_on_the_simulator_and_none_on_a_reader_of_files():
    simulator = {f"dehazing.data.{name}" for name in ("fresh", "microscope", "simulator", "lines")} | {
        "dehazing.optics"
    }
    for kind in ("restorer", "degrader", "iterative"):
        assert modules_of(f"dehazing.stages.{kind}") & simulator == set()
    for kind in ("unet", "nafnet", "hdn", "hvae"):
        reached = modules_of(f"dehazing.stages.{kind}")
        assert {"dehazing.data.fresh", "dehazing.data.microscope", "dehazing.data.lines"} <= reached
        assert reached & {"dehazing.data.tiff", "dehazing.data.objects", "dehazing.data.simulator"} == set()


def test_nothing_is_imported_to_be_fingerprinted(package):
    (package / "losses.py").write_text("raise RuntimeError\n")
    code_version("sample.stages.unet")
    assert "sample" not in sys.modules


def test_a_module_without_source_is_refused():
    with pytest.raises(ValueError, match=r"dehazing\.no_such_module"):
        code_version("dehazing.no_such_module")
