"""The command line: what is wrong with an input is said in one sentence, with exit code 2 and no traceback."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaml

from dehazing.data.dataset import read_dataset, with_scale
from dehazing.data.synthetic import SyntheticConfig
from studies.__main__ import COMMANDS, main
from studies.scale import read_scale

DATASETS = Path(__file__).parents[1] / "studies" / "datasets"


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(words)
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture(autouse=True)
def nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake that is overlooked must not train for a quarter of an hour before its test fails."""

    def prepare(self: object) -> None:
        pytest.fail("the mistake was overlooked, and the run began")

    monkeypatch.setattr("studies.investigation.Investigation.search_all", prepare)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pln"], "no command `pln`; the nearest is `plan`"),
        (["plan", "degradr"], "no study `degradr`; the nearest is `degrader`"),
        (["run", "degradr"], "no study `degradr`; the nearest is `degrader`"),
        (["run", "--scale", "smok"], "no scale `smok`; the nearest is `smoke`"),
        (["run", "--set", "degrader.space.lambda_cy.high=5"], "the nearest is `lambda_cyc`"),
        (["run", "--set", "degrader.space.lambda_cyc.hihg=5"], "nearest valid key is `high`"),
        (["run", "--set", "degrader.config.widht=5"], "nearest valid key is `width`"),
        (["run", "--set", "degrader.config.width=wide"], "`width` must be a whole number"),
        (["run", "--set", "degrader.space.domain=latent"], "`domain` must be one of latents, pixels"),
        (["run", "--set", "degrader.space.anchor.choices=[z_0]"], "`anchor` must be one of none, z_T, z_t"),
        (["run", "--set", "degrader.config.anchor=z_T"], "fix it in the space instead: space.anchor=z_T"),
        (["run", "--set", "degrader.sampler=tpx"], "`sampler` must be one of auto, tpe"),
        (["run", "--set", "degrader.nm_trials=5"], "nearest valid key is `num_trials`"),
        (["run", "--set", "scale.num_seds=5"], "nearest valid key is `num_seeds`"),
        (["run", "--set", "dataset.sed=5"], "`seed`"),
        (["run", "--set", "degrader"], "KEY=VALUE"),
        (["run", "--dataset", "missing.yaml"], "missing.yaml"),
        (["run", "--experiment", "a/b"], "--experiment must be a plain name"),
        (["run", "--experiment", "stages"], "--experiment must be a plain name"),
        (["run", "--scal", "smoke"], "nrecognized arguments: --scal"),
        (["plan", "--port", "3"], "nrecognized arguments: --port"),
        (["simulate"], "--out"),
    ],
)
def test_a_mistake_gets_one_sentence(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = said(capsys, *words)
    assert code == 2 and message in err, err
    assert out == "" and "Traceback" not in err and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == [], "nothing was begun"


@pytest.mark.parametrize("text", ["kind: [", "", "kind: simulatd", "kind: simulated\nfeild_px: 3", "- 1"])
def test_a_bad_dataset_gets_one_sentence(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(text)
    code, _, err = said(capsys, "plan", "--dataset", str(path))
    assert code == 2 and "own.yaml" in err and err.count("\n") == 1


OBJECT = np.random.default_rng(0).integers(100, 4000, (300, 80))
LEVELS = np.stack([OBJECT, 2 * OBJECT, 3 * OBJECT]).astype(np.uint16)


def series_in(folder: Path, image: np.ndarray = LEVELS, **settings: object) -> Path:
    """A series in one TIFF and its YAML, whose path is returned."""
    tifffile.imwrite(folder / "cell.tif", image, photometric="minisblack")
    record = {"path": "cell.tif", "axes": "CYX", "pinholes": [1, 2, 4], "guard_px": 8, "pinhole_unit": "au"}
    own = {"kind": "pinhole_series", **record, **settings}
    (folder / "own.yaml").write_text(yaml.safe_dump({key: value for key, value in own.items() if value is not None}))
    return folder / "own.yaml"


def of_bytes(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        path = series_in(folder).parent / "cell.tif"
        path.write_bytes(change(path.read_bytes()))

    return write


def of_image(image: np.ndarray, **settings: object) -> Callable[[Path], object]:
    return lambda folder: series_in(folder, image, **settings)


def absurd(_: bytes) -> bytes:
    """A header of 160 bytes that claims 300 GiB."""
    tags = [(256, 400_000), (257, 400_000), (258, 16), (259, 1), (262, 1), (273, 8), (277, 1), (278, 400_000)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in [*tags, (279, 100)])
    return struct.pack("<2sHI", b"II", 42, 108) + bytes(100) + struct.pack("<H", 9) + entries + bytes(4)


def rgb(folder: Path) -> None:
    series_in(folder)
    tifffile.imwrite(folder / "cell.tif", LEVELS[0, :, :, None].repeat(3, 2).astype(np.uint8), photometric="rgb")


def different_shapes(folder: Path) -> None:
    series_in(folder, path="c_{pinhole}.tif", axes=None, pinholes=None)
    for pinhole, width in ((1, 80), (2, 72)):
        tifffile.imwrite(folder / f"c_{pinhole}.tif", LEVELS[0, :, :width], photometric="minisblack")


def pages_of_different_shapes(folder: Path) -> None:
    series_in(folder)
    with tifffile.TiffWriter(folder / "cell.tif") as tif:
        tif.write(LEVELS[0], photometric="minisblack")
        tif.write(LEVELS[1, :200], photometric="minisblack")


def with_nan() -> np.ndarray:
    image = LEVELS.astype(np.float32)
    image[1, 5, 5] = np.nan
    return image


def with_a_constant_level() -> np.ndarray:
    image = LEVELS.copy()
    image[1] = 7
    return image


BAD_FILES = {
    "truncated": (of_bytes(lambda whole: whole[:20_000]), "cell.tif is damaged or truncated"),
    "empty": (of_bytes(lambda whole: b""), "cell.tif is empty"),
    "text": (of_bytes(lambda whole: b"no image"), "cell.tif is not a TIFF"),
    "absurd": (of_bytes(absurd), "more than the maximum of 8 GiB"),
    "rgb": (rgb, "must be grey, but is RGB"),
    "axes": (of_image(LEVELS, axes="TZCYX"), "`axes` must name the 3 dimensions"),
    "axes without a lens": (of_image(LEVELS, axes="CZT"), "must have the axes Y, X"),
    "files of different shapes": (different_shapes, "must have one shape"),
    "pages of different shapes": (pages_of_different_shapes, "one shape"),
    "one level": (of_image(LEVELS[:1], pinholes=[1]), "at least two levels"),
    "pinholes": (of_image(LEVELS, pinholes=[1, 2]), "one entry per level, but has 2 and cell.tif has 3"),
    "no pinholes": (of_image(LEVELS, pinholes=None), "`pinholes` must be given"),
    "clean": (of_image(LEVELS, clean=3), "`clean` must be one of the pinholes [1, 2, 4], but is 3"),
    "nan": (of_image(with_nan()), "NaN or infinity"),
    "constant": (of_image(np.full_like(LEVELS, 7)), "constant: every pixel is 7"),
    "constant level": (of_image(with_a_constant_level()), "the frame of pinhole 2 is constant"),
    "small": (of_image(LEVELS[:, :, :60]), "at least a patch (64 px)"),
    "too small for regions": (of_image(LEVELS[:, :150]), "divided into three regions"),
    "absent": (of_image(LEVELS, path="other.tif"), "nothing matches"),
}


@pytest.mark.parametrize("command", ["plan", "simulate"])
@pytest.mark.parametrize("mistake", BAD_FILES)
def test_bad_files_get_one_sentence(
    command: str, mistake: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write, message = BAD_FILES[mistake]
    write(tmp_path)
    out_of_the_way = ["--storage" if command == "plan" else "--out", str(tmp_path / "results")]
    code, out, err = said(capsys, command, "--dataset", str(tmp_path / "own.yaml"), *out_of_the_way)
    assert code == 2 and message in err, err
    assert out == "" and "Traceback" not in err and err.count("\n") == 1
    assert not list((tmp_path / "results").rglob("*.tif")) and not (tmp_path / "results" / "stages").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind: [a]", "`kind` must be one of"),
        ("kind: simulated\nfield_px: 1000000", "`field_px >= 16`"),
        ("kind: simulated\ndepth_um: .inf", "all finite"),
        ("kind: simulated\ncamera: {photons: .inf}", "`photons > 0`"),
        ("kind: synthetic\nsource: {kind: simulated}\nalpha: {kind: [a]}", "must be one of linear"),
        ("kind: synthetic\nsource: {kind: simulated}\nalpha: {kind: power, exponent: [1]}", "must be a number"),
        ("kind: simulated\nobject: stack.tif\nfield_px: 128", "`field_px` must be at most 80"),
    ],
)
def test_impossible_datasets_get_one_sentence(
    text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stack = np.random.default_rng(0).integers(0, 999, (8, 256, 256)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "stack.tif", stack, photometric="minisblack")
    (tmp_path / "own.yaml").write_text(text)
    settings = ["--scale", "quickstart", "--storage", str(tmp_path / "results")]
    code, out, err = said(capsys, "plan", "--dataset", str(tmp_path / "own.yaml"), *settings)
    assert code == 2 and message in err, err
    assert out == "" and "Traceback" not in err and err.count("\n") == 1


def test_simulate_says_what_the_reader_has_to_say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = series_in(tmp_path, pinholes=[4, 1, 2])
    code, out, err = said(capsys, "simulate", "--dataset", str(path), "--out", str(tmp_path / "out"))
    assert code == 0, err
    assert "note: The levels are sorted by pinhole" in out


def test_smoke_makes_the_source_of_a_synthetic_series_small(tmp_path: Path) -> None:
    config = read_dataset(DATASETS / "lines.yaml")
    (tmp_path / "own.yaml").write_text(f"kind: synthetic\nsource: {DATASETS / 'lines.yaml'}\n")
    synthetic = read_dataset(tmp_path / "own.yaml")
    overrides = read_scale("smoke").dataset
    small = with_scale(synthetic, overrides["synthetic"])
    assert isinstance(small, SyntheticConfig)
    assert small.source == with_scale(config, overrides["simulated"]) and small.T == 2


def test_a_bad_study_file_gets_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "degrader.yaml"
    path.write_text(yaml.safe_dump({"spase": {}}))
    code, _, err = said(capsys, "plan", str(path))
    assert code == 2 and "unknown key `spase`; the nearest valid key is `space`" in err


def test_a_results_folder_that_cannot_be_written_gets_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    code, _, err = said(capsys, "run", "--scale", "smoke", "--storage", str(tmp_path / "file" / "results"))
    assert code == 2 and "must be writable" in err and err.count("\n") == 1


@pytest.mark.parametrize("command", ["report", "ui"])
def test_a_folder_without_results_gets_one_sentence(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    code, _, err = said(capsys, command, "--storage", str(tmp_path))
    assert code == 2 and "`python -m studies run all` makes one" in err


def test_list_names_every_study_with_its_question(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = said(capsys, "list")
    assert code == 0
    assert "degrader: Which degrader" in out and "quickstart" in out


def test_status_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = said(capsys, "status", "--scale", "smoke", "--storage", str(tmp_path / "results"))
    assert code == 0 and "unet       0/2 complete" in out and "not written yet" in out


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = said(capsys, "--help")
    assert code == 0 and all(name in out for name in COMMANDS)


def test_a_patch_larger_than_the_images_is_refused_before_anything_trains(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "degrader", "--scale", "smoke", "--storage", str(tmp_path), "--set"]
    code, _, err = said(capsys, *words, "degrader.controls.pixels.patch_px=128")
    assert code == 2 and "pixels: `patch_px` must be at most the shorter side of an image, but is 128" in err
    assert "64 x 64 px; add --set degrader.controls.pixels.patch_px=" in err and "Traceback" not in err


def test_what_the_system_refuses_gets_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(28, "No space left on device", "journal.log")

    monkeypatch.setattr("studies.looking.status", refuse)
    code, _, err = said(capsys, "status", "--storage", str(tmp_path))
    assert code == 2 and "No space left on device: journal.log" in err and err.count("\n") == 1


def test_gpus_are_asked_for_before_the_series_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    words = ["run", "unet", "--scale", "smoke", "--set", "scale.num_gpus=1", "--storage", str(tmp_path)]
    code, _, err = said(capsys, *words)
    assert code == 2 and "needs a GPU (" in err and "this machine has none" in err and err.count("\n") == 1
