"""The batch page in a real browser: keys, undo, autosave, download, load; no request leaves it."""

import csv
import io
import shutil

import pytest
from PIL import Image
from playwright import sync_api

from labelbench.labelling import batch_page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium: apt-get install chromium")
CLASSES = ["heron", "</script><b>tit</b>", "owl"]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("batch01")
    items = []
    for n in range(6):
        Image.new("RGB", (300, 200), (40 * n, 80, 120)).save(folder / f"{n}.png")
        guess = {"guess": "owl", "confidence": 0.9} if n in (3, 4, 5) else {"guess": None, "confidence": None}
        name = f"day1/<i>{n}</i>, \u201cimage\u201d.png" if n else 'line\nbreak, "quoted".png'
        thumbnail = batch_page.thumbnail(Image.open(folder / f"{n}.png"))
        items.append({"image": name, "sha256": f"{n:064x}", "thumbnail": thumbnail, "original": f"{n}.png",
                      "audit": n == 0, **guess})  # fmt: skip
    batch_page.write_page(folder / "label.html", campaign="birds", batch=1, batch_id="0badf00d", classes=CLASSES,
                          items=items, title="birds: batch <1>")  # fmt: skip
    return folder / "label.html"


@pytest.fixture
def page(browser, path, tmp_path):
    context = browser.new_context(accept_downloads=True, viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.requests, page.errors = [], []
    page.on("request", lambda request: page.requests.append(request.url))
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.on("console", lambda said: page.errors.append(said.text) if said.type == "error" else None)
    page.goto(path.as_uri())
    yield page
    assert page.errors == []
    assert {url.partition(":")[0] for url in page.requests} <= {"file", "data", "blob"}
    context.close()


def press(page, *keys):
    for key in keys:
        page.keyboard.press(key)


def saved(page, tmp_path):
    """The rows of the file that the page saves."""
    with page.expect_download() as found:
        page.click("#download")
    data = (tmp_path / found.value.suggested_filename, found.value.save_as(tmp_path / found.value.suggested_filename))[
        0
    ]
    raw = data.read_bytes()
    assert raw.startswith(b"\xef\xbb\xbf")
    return data, list(csv.DictReader(io.StringIO(raw.decode("utf-8-sig"), newline="")))


def test_a_batch_by_keys(page, tmp_path):
    page.fill("#annotator", "Zoë")
    page.locator("#annotator").blur()
    press(page, "1", "2", "s", "n", "?")
    page.fill("#fresh", "kingfisher")
    page.press("#fresh", "Enter")
    assert page.inner_text("#count") == "6 of 6 answered"
    path, rows = saved(page, tmp_path)
    assert path.name == "birds-batch01-Zoë.csv"
    assert [(r["status"], r["label"]) for r in rows] == [
        ("label", "heron"), ("label", "</script><b>tit</b>"), ("skip", ""), ("none", ""), ("unsure", ""),
        ("new", "kingfisher"),
    ]  # fmt: skip
    assert rows[0]["image"] == 'line\nbreak, "quoted".png'
    assert {r["annotator"] for r in rows} == {"Zoë"}
    assert {r["batch"] for r in rows} == {"birds/01/0badf00d"}
    assert all(0 <= float(r["seconds"]) <= 120 for r in rows)


def test_undo_and_going_back(page, tmp_path):
    press(page, "1", "1", "1", "u", "Backspace")
    assert page.inner_text("#count") == "1 of 6 answered"
    press(page, "2", "ArrowLeft", "3")
    _, rows = saved(page, tmp_path)
    assert [r["label"] for r in rows] == ["heron", "owl"]


def test_closing_and_opening_goes_on(page, path):
    press(page, "1", "3")
    page.reload()
    assert page.inner_text("#count") == "2 of 6 answered"
    assert "3." in page.inner_text("#name")


def test_a_file_is_loaded_elsewhere(page, browser, path, tmp_path):
    press(page, "1", "3", "s")
    file, rows = saved(page, tmp_path)
    other = browser.new_context().new_page()
    other.goto(path.as_uri())
    assert other.inner_text("#count") == "0 of 6 answered"
    other.set_input_files("#file", str(file))
    other.wait_for_function("document.getElementById('count').textContent.startsWith('3 of 6')")
    assert saved(other, tmp_path)[1] == rows


def test_the_grid_takes_over_guesses_but_the_wrong_ones(page, tmp_path):
    page.click("#mode")
    shown = page.locator("#grid button")
    assert shown.count() == 2  # three guesses, less as many as there are audit images
    shown.first.click()
    page.click("#accept")
    _, rows = saved(page, tmp_path)
    assert [r["label"] for r in rows] == ["owl"]


def test_typing_does_not_label(page):
    page.click("#note")
    page.keyboard.type("1 2 3 skip")
    assert page.inner_text("#count") == "0 of 6 answered"


def test_the_original_is_seen_larger(page):
    press(page, "z")
    page.wait_for_function("document.getElementById('large').naturalWidth === 300")
    press(page, "Escape")
    assert not page.locator("#zoom").is_visible()


def test_names_are_text_and_nothing_else(page):
    assert page.locator("#classes b").count() == 0
    assert page.locator("h1").inner_text() == "birds: batch <1>"
    assert "line" in page.inner_text("#name")


def test_a_phone_shows_it_without_scrolling_sideways(page):
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_five_hundred_photos_fit_into_a_mail(tmp_path):
    import numpy as np

    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (600, 800, 3), np.uint8))
    item = {"image": "a.jpg", "sha256": "0" * 64, "thumbnail": batch_page.thumbnail(noise), "original": "a.jpg",
            "audit": False, "guess": None, "confidence": None}  # fmt: skip
    batch_page.write_page(tmp_path / "p.html", campaign="c", batch=1, batch_id="0" * 8, classes=CLASSES,
                          items=[item] * 500, title="t")  # fmt: skip
    assert (tmp_path / "p.html").stat().st_size <= 12_000_000
