"""What readers see: tables and figures of the finished study, and the self-contained HTML report in a browser."""

import csv
import re
import shutil
import subprocess

import pytest

from conftest import snakemake


@pytest.fixture(scope="module")
def html(finished, tmp_path_factory):
    """The HTML report of the tiny study."""
    folder = tmp_path_factory.mktemp("report")
    shutil.copytree(finished, folder / "repo", symlinks=True)
    snakemake(folder / "repo", "--report", str(folder / "report.html"))
    return folder / "report.html"


def test_every_dataset_has_its_tables_and_figures(finished):
    for dataset in ("digits", "digits_longtail"):
        for name in (f"tables/final_{dataset}.csv", f"tables/final_{dataset}.tex", f"figures/curves_{dataset}.svg"):
            assert (finished / "results" / name).stat().st_size > 500
        assert (finished / f"results/figures/curves_{dataset}.pdf").read_bytes().startswith(b"%PDF")
    summary = (finished / "results/tables/summary.txt").read_text()
    assert re.search(r"margin +\d\d\.\d\d ± \d", summary)


def test_tidy_table_holds_every_round_of_every_strategy(finished):
    with (finished / "results/tables/metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["dataset"] == "digits" and row["stage"] == "proxy"]
    accuracy = {
        (row["strategy"], row["trial"], row["round"])
        for row in rows
        if (row["split"], row["metric"]) == ("test", "accuracy")
    }
    assert accuracy == {(s, t, r) for s in ("random", "margin", "badge") for t in "01" for r in "123"}
    metrics = {(row["split"], row["metric"]) for row in rows}
    for split in ("test", "val"):
        assert {(split, m) for m in ("accuracy", "balanced_accuracy", "macro_f1", "loss")} <= metrics
    assert {("pool", "pool_accuracy"), ("pool", "pool_model_accuracy")} <= metrics
    costs = ("train_seconds", "select_seconds", "peak_memory_mb", "select_peak_memory_mb", "mask_rate")
    assert {("", name) for name in costs} <= metrics


def test_report_is_self_contained(html):
    text = html.read_text()
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=[\"']https?://", text)
    assert len(text) < 20e6
    for expected in ("curves_digits.svg", "final_digits_longtail.html", "Figures", "Tables", "learning curves"):
        assert expected in text


@pytest.mark.skipif(not shutil.which("chromium"), reason="chromium is not installed")
def test_report_opens_in_a_browser(html, tmp_path):
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    done = subprocess.run(
        [
            "chromium",
            *options,
            f"--user-data-dir={tmp_path}",
            "--virtual-time-budget=8000",
            "--dump-dom",
            html.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    # Rendered by the page's own script, not part of the file's markup.
    assert "Label-efficient learning on digits, digits_longtail" in done.stdout
    for entry in ("Figures", "Tables", "Statistics"):
        assert re.search(rf">\s*{entry}\s*<", done.stdout)
