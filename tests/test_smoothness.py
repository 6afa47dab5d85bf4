"""Whose path is the straighter one, in words and in a table, from a path that is known."""

import pandas as pd
import pytest
from planted_experiment import path, plant

from analysis.report import write_report
from analysis.smoothness import COLUMNS, path_groups, path_rows, path_sentence


def table(seeds=(1, 2, 3), T=4, num_fields=5, **lengths):
    records = path(T, num_fields, **lengths)
    return pd.DataFrame([{"seed": seed, **one} for seed in seeds for one in records], columns=COLUMNS)


def test_the_sentence_names_the_straighter_path_and_what_the_level_above_tells():
    assert path_sentence(table()) == (
        "Noise-free, the path of the latents is 1.12 times as long as its chord, that of the pixels 1.32 times: the "
        "latents' is straighter, by 0.20 [0.20, 0.20]. A line from the level above explains 90 % of the next latent's "
        "variance, and 90 % of the next image's."
    )
    assert "the pixels' is straighter, by 0.20" in path_sentence(table(latents=1.5))


def test_no_path_is_called_straighter_where_the_interval_holds_zero():
    both = pd.concat([table(seeds=(1,), latents=1.2), table(seeds=(2,), latents=1.41)])
    assert "neither is straighter (difference +0.0" in path_sentence(both)


def test_a_real_series_is_told_of_its_frames_and_an_older_run_nothing():
    frames = table().query("seen == 'frames'")
    assert path_sentence(frames).startswith("As acquired, the path of the latents is 2.12 times")
    assert {row.seen for row in path_rows(frames)} == {"acquired"}
    assert path_sentence(table()[:0]) == "" and path_rows(table()[:0]) == []


def test_the_table_has_a_row_per_measure_and_a_cell_per_group():
    rows = path_rows(table())
    assert path_groups(table()) == ["latents", "z1", "z2", "z3"]
    assert [(row.measure, row.seen) for row in rows[:2]] == [
        ("path over chord", at) for at in ("noise-free", "acquired")
    ]
    assert rows[0].cells == ["1.32 ± 0.01", *["1.12 ± 0.01"] * 4]
    assert rows[2].cells[0] == "0.930 (0.920 at t = 3)" and len(rows) == 8


@pytest.mark.slow
def test_the_report_shows_it_and_does_without(tmp_path):
    page = write_report(tmp_path, plant(tmp_path))
    text = page.read_text(encoding="utf-8")
    assert 'id="path"' in text and "the path of the latents is 1.18 times as long as its chord" in text
    numbers = pd.read_csv(page.parent / "path.csv")
    assert set(numbers["measure"]) == {"length", "alpha", "span", "next"} and len(numbers) == 2 * len(path(6, 16))
