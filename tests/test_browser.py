"""The report and MLflow's pages in a real browser, cut off from the network."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from chromium import PROGRAM, browsing, watched
from planted_experiment import EXPERIMENT, plant
from safetensors.numpy import load_file
from told_experiment import searched, tell_confirmation, tell_search, tracking

from analysis.report import write_report
from analysis.trajectories import read_confirmation, read_trajectories
from dehazing.pipeline.store import Store
from tests.tracked import all_runs

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PROGRAM is None, reason="no Chromium is installed (Debian: apt-get install chromium)"),
]

CHECKOUT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def browser():
    with browsing() as found:
        yield found


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("results")
    return root, write_report(root, plant(root, seeds=(1, 2, 3), num_fields=8))


@pytest.mark.parametrize(("width", "scheme"), [(400, "dark"), (400, "light"), (1400, "dark"), (1400, "light")])
def test_the_report_opens_without_an_error_or_a_request_and_fits_its_window(browser, written, width, scheme):
    _, path = written
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    said, asked = watched(page)
    page.goto(path.as_uri())
    page.wait_for_load_state("load")
    assert said == []
    assert [address for address in asked if not address.startswith("data:")] == [path.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
    assert page.evaluate("[...document.images].filter((image) => image.checkVisibility()).length") >= 10
    assert "The best of 28 ways to iterate" in page.inner_text("main")
    ink, ground = page.evaluate(
        "(({color, backgroundColor}) => [color, backgroundColor])(getComputedStyle(document.body))"
    )
    assert contrast(ink, ground) > 7
    page.close()


def contrast(ink: str, ground: str) -> float:
    """Of WCAG 2: from 1 to 21."""

    def luminance(colour: str) -> float:
        parts = [int(part) / 255 for part in colour.strip("rgb()").split(",")]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    bright, dark = sorted((luminance(ink), luminance(ground)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def test_the_viewer_steps_through_the_levels_by_keyboard_and_tells_the_score(browser, written):
    root, path = written
    rows = read_trajectories(root, read_confirmation(root, EXPERIMENT))
    rows = rows[(rows["seed"] == 1) & (rows["field"] == rows["field"].iloc[0])].set_index(["variant", "level"])
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.goto(path.as_uri())
    page.get_by_label("left").select_option("residual")
    caption, picture = page.locator("#viewer-left-caption"), page.locator("#viewer-left-image")
    page.get_by_label("level").focus()
    seen = {}
    for key, level in (("End", 1), ("ArrowLeft", 2), ("Home", 6)):
        page.keyboard.press(key)
        assert caption.inner_text() == f"residual at t = {level}, {rows.loc[('residual', level), 'psnr']:.2f} dB"
        assert picture.get_attribute("alt") == f"The first test field: residual at t = {level}"
        seen[level] = picture.get_attribute("src")
    assert len(set(seen.values())) == 3, "the pictures of three levels are three pictures"
    page.get_by_label("right").select_option("truth")
    assert page.locator("#viewer-right-caption").inner_text() == "truth"
    page.close()


def test_the_viewer_shows_the_pixels_of_the_truth(browser, written):
    root, path = written
    address = next(iter(read_confirmation(root, EXPERIMENT)["iterative"].values()))
    truth = load_file(Store(root).folder(address) / "examples.safetensors")["truth"][0]
    page = browser.new_page()
    page.goto(path.as_uri())
    page.get_by_label("right").select_option("truth")
    page.wait_for_function("document.getElementById('viewer-right-image').complete")
    shown = page.evaluate(
        """() => {
            const image = document.getElementById("viewer-right-image");
            const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
            const context = canvas.getContext("2d");
            context.drawImage(image, 0, 0);
            const data = context.getImageData(0, 0, canvas.width, canvas.height).data;
            return [canvas.height, canvas.width, Array.from(data).filter((_, place) => place % 4 === 0)];
        }"""
    )
    assert tuple(shown[:2]) == truth.shape
    brighter = truth.ravel() > (truth.max() + truth.min()) / 2
    greys = list(zip(shown[2], brighter, strict=True))
    assert min(grey for grey, is_bright in greys if is_bright) >= max(
        grey for grey, is_bright in greys if not is_bright
    )
    page.close()


def test_mlflows_pages_show_nested_runs_and_a_comparison(browser, tmp_path):
    words = [sys.executable, "-m", "studies"]
    environment = {k: v for k, v in os.environ.items() if k not in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS")}
    done = subprocess.run(
        [*words, "run", "unet", "--scale", "smoke", "--storage", str(tmp_path)],
        cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("lines-smoke").experiment_id
    trials = [run.info.run_id for run in client.search_runs([experiment]) if "mlflow.parentRunId" in run.data.tags]
    assert len(trials) == 2
    with serving(tmp_path) as here:
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        _, asked = watched(page)
        page.goto(f"{here}/#/experiments/{experiment}/runs")
        study = page.get_by_role("link", name="unet", exact=True)
        study.first.wait_for(timeout=90_000)
        assert page.get_by_role("link", name="unet 1", exact=True).count() == 0, "trials are folded below their study"
        page.locator(".ag-cell-wrapper", has=study).locator("button").first.click()
        page.get_by_role("link", name="unet 1", exact=True).first.wait_for(timeout=90_000)
        page.goto(f'{here}/#/compare-runs?runs={json.dumps(trials)}&experiments=["{experiment}"]')
        page.get_by_text("Parallel Coordinates Plot").first.wait_for(timeout=90_000)
        page.locator(".js-plotly-plot").first.wait_for(timeout=90_000)
        assert "share_at_T" in page.inner_text("body")
        outside = [url for url in asked if not url.startswith((here, "data:", "blob:"))]
        assert outside == []
        page.close()


def test_the_descriptions_in_mlflow_lead_to_the_comparisons(browser, written, monkeypatch):
    root, _ = written
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    tracker, study = tracking(root), searched()
    tell_search(tracker, study)
    tell_confirmation(tracker, root, read_confirmation(root, EXPERIMENT)["iterative"])
    assert tracker.close() == ""
    ids = {run.info.run_name: run.info.run_id for run in all_runs(root, EXPERIMENT)}
    with serving(root) as here:
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        _, asked = watched(page)
        page.goto(f"{here}/#/experiments/1/runs/{ids['degrader']}")
        address = page.get_by_role("link", name="Compare the trials").get_attribute("href", timeout=90_000)
        page.goto(f"{here}/{address}")
        page.locator(".js-plotly-plot").first.wait_for(timeout=90_000)
        for place, name in enumerate(("lambda_cyc", "val/psnr_direct")):
            page.get_by_role("combobox").nth(place).click()
            page.keyboard.type(name)
            page.keyboard.press("Enter")
            page.keyboard.press("Escape")
        page.wait_for_function(f"{AXES}.has('lambda_cyc') && {AXES}.has('val/psnr_direct')", timeout=90_000)
        axes = page.evaluate(f"Object.fromEntries({AXES})")
        wanted = sorted(((t.params["lambda_cyc"], t.value) for t in study.trials if t.value), reverse=True)
        assert list(zip(axes["lambda_cyc"], axes["val/psnr_direct"], strict=True)) == wanted, "numbers, the best first"
        assert not [name for name in axes if name.startswith("nuisance/")]

        page.goto(f"{here}/#/experiments/1/runs/{ids['degrader']}")
        address = page.get_by_role("link", name="The saved view").get_attribute("href", timeout=90_000)
        page.goto(f"{here}/{address}")
        page.get_by_text("What the study asks about").first.wait_for(timeout=90_000)
        page.get_by_text("Parallel Coordinates").first.wait_for(timeout=90_000)
        page.get_by_text("val/psnr_direct", exact=True).first.wait_for(timeout=90_000)  # an axis, and lambda_cyc is one
        page.get_by_text("lambda_cyc", exact=True).first.wait_for(timeout=90_000)
        assert page.get_by_text("8 matching runs").count() == 1, "not the one that was stopped"

        page.goto(f"{here}/#/experiments/1/runs/{ids['confirmation']}")
        address = page.get_by_role("link", name="PSNR at every step of the loop").get_attribute("href", timeout=90_000)
        page.goto(f"{here}/{address}")
        page.wait_for_function(f"{LINES}.has('unet') && {LINES}.has('direct_blind')", timeout=90_000)
        lines = page.evaluate(f"Object.fromEntries({LINES})")
        means = read_trajectories(root, read_confirmation(root, EXPERIMENT)).groupby(["variant", "step"])["psnr"].mean()
        assert lines["unet"] == [list(range(6)), pytest.approx([means["unet", 0]] * 6)]
        assert lines["direct_blind"] == [list(range(6)), pytest.approx(list(means["direct_blind"]))]

        page.goto(f"{here}/#/experiments/1/runs/{ids['direct_blind']}/artifacts/pictures/steps.png")
        page.locator("img[src*='steps.png'], img[src^='blob:']").first.wait_for(timeout=90_000)
        page.goto(f"{here}/#/experiments/1/runs/{ids['report']}")
        page.get_by_text("ways to iterate").first.wait_for(timeout=90_000)
        assert [url for url in asked if not url.startswith((here, "data:", "blob:"))] == []
        page.close()


PLOT = "(document.querySelector('.js-plotly-plot')?.data ?? [])"
AXES = f"new Map(({PLOT}[0]?.dimensions ?? []).map((axis) => [axis.label, Array.from(axis.values)]))"
LINES = f"new Map({PLOT}.map((line) => [line.name, [Array.from(line.x ?? []), Array.from(line.y ?? [])]]))"


@contextmanager
def serving(root: Path):
    """MLflow's pages of a results folder, as `ui` serves them; yields their address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    process = subprocess.Popen(
        [sys.executable, "-m", "studies", "ui", "--storage", str(root), "--port", str(port)],
        cwd=CHECKOUT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        wait_for(f"http://127.0.0.1:{port}/health")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def wait_for(address: str) -> None:
    """Until a server answers, two minutes at most."""
    deadline_s = time.monotonic() + 120
    while time.monotonic() < deadline_s:
        with suppress(OSError), urllib.request.urlopen(address, timeout=1):
            return
        time.sleep(0.3)
    raise TimeoutError(f"{address} does not answer")
