"""The batch page in a real browser: keys, undo, autosave, download, load, grid; no request leaves it."""

import csv
import io
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from playwright import sync_api

from labelbench.labelling import batch_page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium: apt-get install chromium")
HOSTILE = "</script><img src=x onerror=alert(1)>"
CLASSES = ["heron", HOSTILE, "owl"]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
HEADER = "batch,image,sha256,label,status,annotator,seconds,note"


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


def item(folder, n, audit=False, guess=None, confidence=None):
    """Image `n` of a batch, 300 pixels wide, with a name that is hostile to HTML and to CSV."""
    path = folder / f"{n}.png"
    Image.new("RGB", (300, 200), (25 * n % 255, 80, 120)).save(path)
    name = f"day1/<i>{n}</i>, “image”.png" if n else 'line\nbreak, "quoted".png'
    return {"image": name, "sha256": f"{n:064x}", "thumbnail": batch_page.thumbnail(Image.open(path)),
            "original": path.name, "audit": audit, "guess": guess, "confidence": confidence}  # fmt: skip


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A page of six images; 0 is an audit image, the others but 1 are guessed, and 2 least confidently."""
    folder = tmp_path_factory.mktemp("batch01")
    items = [item(folder, 0, audit=True), item(folder, 1)]
    items += [item(folder, n, guess="heron" if n == 5 else "owl", confidence=0.5 + n / 20) for n in (2, 3, 4, 5)]
    batch_page.write_page(folder / "label.html", campaign="birds", batch=1, batch_id="0badf00d", classes=CLASSES,
                          items=items, title="birds: batch <1> {{data}}")  # fmt: skip
    return folder / "label.html"


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A page of 3 images and 26 classes: above 20 they are searched."""
    folder = tmp_path_factory.mktemp("many")
    classes = [f"{a} {b}" for a in ("Grüner", "great", "lesser") for b in "abcdefgh"] + ["wren", "owl"]
    batch_page.write_page(folder / "label.html", campaign="many", batch=2, batch_id="0badf00d", classes=classes,
                          items=[item(folder, n) for n in range(3)], title="many")  # fmt: skip
    return folder / "label.html"


@pytest.fixture
def opened(browser):
    """A function that opens a page in a browser of its own; no error and no request may come of it."""
    contexts, faults, requests = [], [], []

    def open_page(path, **settings):
        context = browser.new_context(accept_downloads=True, **{"viewport": {"width": 1280, "height": 800}} | settings)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: requests.append(request.url))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda said: faults.append(said.text) if said.type in ("error", "warning") else None)
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert faults == []
    assert {url.partition(":")[0] for url in requests} <= {"file", "data", "blob"}


@pytest.fixture
def page(opened, path):
    return opened(path)


def press(page, *keys):
    for key in keys:
        page.keyboard.press(key)


def call(page, name):
    """Fill in the annotator's name."""
    page.fill("#annotator", name)
    page.locator("#annotator").blur()


def answered(page):
    return int(re.match(r"(\d+) of", page.inner_text("#pace"))[1])


def saved(page):
    """(file name, rows) of the file that the page saves."""
    with page.expect_download() as found:
        page.click("#download")
    with open(found.value.path(), "rb") as file:  # noqa: PTH123
        raw = file.read()
    assert raw.startswith(b"\xef\xbb\xbf")
    rows = list(csv.DictReader(io.StringIO(raw.decode("utf-8-sig"), newline="")))
    return found.value.suggested_filename, rows


def labels(page):
    return [row["label"] or row["status"] for row in saved(page)[1]]


def until(page, condition):
    """Wait until an expression of the page is true. Its own policy forbids Playwright's way, which evaluates texts."""
    for _ in range(300):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(100)
    raise AssertionError(condition)


def load(page, tmp_path, *lines, encoding="utf-8", name="loaded.csv"):
    (tmp_path / name).write_bytes("\r\n".join(lines).encode(encoding))
    page.set_input_files("#files", str(tmp_path / name))
    until(page, "document.getElementById('said').textContent.includes(' added')")


def test_a_batch_by_keys(page):
    call(page, "Zoë Li")
    press(page, "1", "2", "s", "n", "?", "+")
    page.keyboard.type(" kingfisher ")
    press(page, "Enter")
    assert answered(page) == 6
    assert page.locator("#done").is_visible()
    name, rows = saved(page)
    assert name == "birds-batch01-Zoë-Li.csv"
    assert ",".join(rows[0]) == HEADER
    assert [(r["status"], r["label"]) for r in rows] == [
        ("label", "heron"), ("label", HOSTILE), ("skip", ""), ("none", ""), ("unsure", ""), ("new", "kingfisher"),
    ]  # fmt: skip
    assert rows[0]["image"] == 'line\nbreak, "quoted".png'
    assert [r["sha256"] for r in rows] == [f"{n:064x}" for n in range(6)]
    assert {r["annotator"] for r in rows} == {"Zoë Li"}
    assert {r["batch"] for r in rows} == {"birds/01/0badf00d"}
    assert all(0 <= float(r["seconds"]) <= 120 for r in rows)


def test_one_key_too_many_changes_nothing(page):
    press(page, *"111111", "3", "s")
    assert labels(page) == ["heron"] * 6


def test_a_key_held_down_answers_once(page):
    for _ in range(5):  # what a keyboard sends while the key is down
        page.keyboard.down("1")
    page.keyboard.up("1")
    assert answered(page) == 1


def test_undo_and_going_back(page):
    press(page, "1", "1", "1", "u", "Backspace")
    assert answered(page) == 1
    press(page, "2", "ArrowLeft", "3")  # the answer to the second image is changed, then the third is next
    assert page.inner_text("#number") == "3 of 6"
    assert labels(page) == ["heron", "owl"]
    press(page, "u")
    assert labels(page) == ["heron", HOSTILE]
    press(page, "u", "u", "u")
    assert answered(page) == 0


def test_undo_of_the_last_answer_goes_back_to_its_image(page):
    press(page, *"111111", "u")
    assert answered(page) == 5
    assert page.inner_text("#number") == "6 of 6"


def test_a_new_class_gets_a_key_and_a_spelling_of_a_known_one_does_not(page):
    press(page, "+")
    page.keyboard.type("HERON")
    press(page, "Enter", "+")
    page.keyboard.type("tern")
    press(page, "Enter", "4")
    assert [(r["status"], r["label"]) for r in saved(page)[1]] == [("label", "heron"), ("new", "tern"), ("new", "tern")]


def test_closing_and_opening_goes_on(page):
    call(page, "Ann")
    press(page, "1", "3", "m")
    page.keyboard.type("half a thought")
    assert page.inner_text("#autosave") == "Autosave on"
    page.reload()
    assert answered(page) == 2
    assert page.input_value("#annotator") == "Ann"
    assert page.inner_text("#number") == "3 of 6"
    assert page.input_value("#note") == "half a thought"
    press(page, "s")
    assert saved(page)[1][2]["note"] == "half a thought"


def test_closing_with_answers_that_are_not_saved_is_asked_about(page):
    asked = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    press(page, "1")
    page.reload()
    assert asked == ["beforeunload"]
    saved(page)
    page.reload()
    assert asked == ["beforeunload"]


def test_what_differs_from_the_last_download_is_counted(page):
    def fresh():
        return page.inner_text("#download").removeprefix("Download answers").strip()

    press(page, "1", "2", "u", "u")
    assert fresh() == ""
    press(page, "1", "2")
    assert fresh() == "(2 new)"
    saved(page)
    assert fresh() == ""
    page.reload()
    press(page, "3", "ArrowLeft", "ArrowLeft", "s")  # one more, and one that is another one now
    assert fresh() == "(2 new)"
    press(page, "u", "u")
    assert fresh() == ""
    press(page, "ArrowLeft", "m")
    page.keyboard.type("a note")
    assert fresh() == "(1 new)"
    page.keyboard.press("Escape")
    call(page, "Ann")
    assert fresh() == "(2 new)"  # both carry the name now


def test_a_browser_that_keeps_nothing_says_so(browser, path):
    context = browser.new_context()
    context.add_init_script("Storage.prototype.setItem = () => { throw new DOMException('', 'SecurityError'); }")
    page = context.new_page()
    page.goto(path.as_uri())
    press(page, "1")
    assert page.inner_text("#autosave").startswith("Autosave off: download")
    assert answered(page) == 1
    context.close()


def test_two_windows_of_one_browser_keep_each_others_answers(opened, path):
    page = opened(path)
    other = page.context.new_page()
    other.goto(path.as_uri())
    press(page, "1")
    press(other, "ArrowRight", "3")
    assert answered(other) == 2
    other.close()
    page.reload()
    assert labels(page) == ["heron", "owl"]


def test_what_is_taken_back_does_not_come_back_from_another_window(opened, path):
    page = opened(path)
    press(page, "1", "2")
    other = page.context.new_page()
    other.goto(path.as_uri())
    press(other, "ArrowRight")
    press(page, "u")
    assert answered(page) == 1
    page.reload()
    assert answered(page) == 1
    press(page, "2")  # and may be given again
    assert answered(page) == 2
    other.close()


def test_a_file_is_loaded_elsewhere(opened, path, tmp_path):
    page, other = opened(path), opened(path)
    press(page, "1", "3", "s", "m")
    page.keyboard.type("a note")
    press(page, "Escape", "n")
    _, rows = saved(page)
    with page.expect_download() as found:
        press(page, "Control+s")
    other.set_input_files("#files", str(found.value.path()))
    until(other, "document.getElementById('said').textContent.startsWith('4 answers added')")
    assert other.inner_text("#number") == "5 of 6"
    assert saved(other)[1] == rows
    assert rows[3]["note"] == "a note"


def test_people_who_disagree_are_both_kept(page, tmp_path):
    call(page, "Ann")
    press(page, "1")
    row = "birds/01/0badf00d,x,{},{},label,{},3,"
    load(page, tmp_path, HEADER, row.format(f"{0:064x}", "owl", "Bob"), row.format(f"{1:064x}", "owl", "Bob"))
    press(page, "ArrowLeft", "1")  # Ann answers Bob's second image as well
    rows = saved(page)[1]
    assert [(r["label"], r["annotator"]) for r in rows] == [
        ("owl", "Bob"), ("heron", "Ann"), ("owl", "Bob"), ("heron", "Ann")
    ]  # fmt: skip
    press(page, "u")
    assert [r["annotator"] for r in saved(page)[1]] == ["Bob", "Ann", "Bob"]


def test_an_older_file_of_the_same_person_does_not_replace_what_is_here(page, tmp_path):
    call(page, "Ann")
    press(page, "1")
    load(page, tmp_path, HEADER, f"birds/01/0badf00d,x,{0:064x},owl,label,Ann,3,")
    assert "1 answer not as yours" in page.inner_text("#said")
    assert labels(page) == ["heron"]


@pytest.mark.parametrize(("separator", "encoding"), [(",", "utf-8-sig"), (";", "cp1252"), ("\t", "utf-16")])
def test_what_spreadsheets_make_of_a_file(page, tmp_path, separator, encoding):
    lines = [HEADER, f"b,x,{0:064x},owl,,Zoë,2.5,", f"b,x,{1:064x},,,,,", f"b,x,{9:064x},owl,label,Zoë,1,"]
    load(page, tmp_path, *(line.replace(",", separator) for line in lines), encoding=encoding)
    assert page.inner_text("#said") == "1 answer added, 1 row not of this batch."
    [row] = saved(page)[1]
    assert (row["label"], row["status"], row["annotator"], row["seconds"]) == ("owl", "label", "Zoë", "2.5")


def test_people_at_one_browser_keep_their_names(page):
    press(page, "1")  # before the name was there
    call(page, "Ann")
    press(page, "1")
    call(page, "Bob")
    press(page, "1")
    assert [r["annotator"] for r in saved(page)[1]] == ["Ann", "Ann", "Bob"]


def test_the_grid_accepts_all_but_the_wrong_ones(page):
    press(page, "g")
    shown = page.locator("#grid .tile")
    assert shown.count() == 3  # four guesses, less as many as there are audit images
    assert page.locator("#grid h2").all_inner_texts() == ["heron · 1", "owl · 2"]
    page.locator("#grid .group").nth(1).locator(".tile").first.click()  # the surer of the owls is none
    page.get_by_role("button", name="Accept 1 as owl").click()
    assert [(r["sha256"][-1], r["label"]) for r in saved(page)[1]] == [("3", "owl")]
    press(page, "u")
    assert answered(page) == 0
    page.locator('#grid .tile[aria-pressed="true"]').click()  # an owl after all
    page.get_by_role("button", name="Accept 2 as owl").click()
    page.get_by_role("button", name="Accept 1 as heron").click()
    press(page, "u")
    assert labels(page) == ["owl", "owl"]


def test_guesses_are_seen_in_the_grid_only(page, path):
    text = path.read_text()
    assert "audit" not in text
    assert text.count('"guess": null') == 3  # audit, not guessed, least confident: they look alike
    for _ in range(6):
        assert not re.search("heron|owl", page.inner_text("#stage"))
        press(page, "ArrowRight")
    page.click("#tab-overview")
    assert not re.search("heron|owl", page.inner_text("#overview"))


def test_classes_are_found_by_typing(opened, many):
    page = opened(many)
    assert page.evaluate("document.activeElement.id") == "search"
    press(page, "Enter")  # an empty search answers nothing
    assert answered(page) == 0
    page.keyboard.type("gruner c")
    press(page, "Enter")
    page.keyboard.type("les")
    press(page, "2")
    page.keyboard.type("pelican")
    press(page, "Enter")  # no class: offered as a new one, not made one
    assert answered(page) == 2
    press(page, "Enter")
    assert labels(page) == ["Grüner c", "lesser b", "pelican"]


def test_typing_does_not_label(page):
    press(page, "m")
    page.keyboard.type("1 2 3 s n u?")
    assert answered(page) == 0
    press(page, "Escape", "1")
    assert saved(page)[1][0]["note"] == "1 2 3 s n u?"


def test_the_original_is_seen_larger(page):
    until(page, "document.querySelector('#picture img').naturalWidth === 300")
    press(page, "z")
    until(page, "document.querySelector('#zoom img').naturalWidth === 300")
    press(page, "3")  # keys answer here as well
    assert page.inner_text("#number") == "2 of 6"
    press(page, "Escape")
    assert not page.locator("#zoom").is_visible()


def test_without_the_folder_of_images_thumbnails_do(browser, path, tmp_path):
    shutil.copy(path, tmp_path / "mailed.html")
    page = browser.new_page()
    page.goto((tmp_path / "mailed.html").as_uri())
    page.wait_for_timeout(200)
    assert page.evaluate("document.querySelector('#picture img').naturalWidth") == 256
    page.close()


def test_hidden_pages_and_coffee_do_not_count(opened, path):
    page = opened(path)
    page.evaluate("real = performance.now.bind(performance); ahead = 0; performance.now = () => real() + ahead")
    page.evaluate("ahead += 7000")
    press(page, "1")
    page.evaluate("ahead += 1000e3")
    press(page, "1")
    hide = "Object.defineProperty(document, 'hidden', {configurable: true, value: %s});"
    changed = "document.dispatchEvent(new Event('visibilitychange'));"
    page.evaluate(hide % "true" + changed + "ahead += 50e3;" + hide % "false" + changed)
    press(page, "1")
    first, second, third = (float(r["seconds"]) for r in saved(page)[1])
    assert 7 <= first < 17
    assert second == 120
    assert third < 10
    assert re.search(r"s an image · .* left", page.inner_text("#pace"))


def test_names_are_text_and_nothing_else(page):
    assert page.locator("#classes img").count() == 0
    assert page.locator("h1").inner_text() == "birds: batch <1> {{data}}"
    assert HOSTILE in page.inner_text("#classes")
    press(page, "ArrowRight")
    assert "<i>1</i>" in page.inner_text("#name")


def test_the_policy_lets_nothing_out(browser, path):
    """What the page's own script is kept from doing, a hostile one would be, too."""
    tried = """() => new Promise((done) => {
      document.addEventListener("securitypolicyviolation", (event) => done(event.effectiveDirective), { once: true });
      setTimeout(() => done("nothing refused"), 5000);
      act();
    })"""
    page = browser.new_page()
    page.goto(path.as_uri())
    for directive, act in {
        "connect-src": "fetch('https://example.org').catch(() => {})",
        "img-src": "new Image().src = 'https://example.org/a.png'",
        "script-src-elem": "document.body.append(Object.assign(document.createElement('script'), {textContent: '1'}))",
        "script-src-attr": "document.body.insertAdjacentHTML('beforeend', '<b onclick=alert(1)>x</b>'); "
        "document.body.lastChild.click()",
        "style-src-elem": "document.body.append(document.createElement('style')); "
        "document.body.lastChild.textContent = 'b {color: red}'",
    }.items():
        assert page.evaluate(tried.replace("act()", act)) == directive
    page.close()


def test_originals_are_never_those_of_a_host(tmp_path):
    one = item(tmp_path, 1) | {"original": "//example.org/a.png"}
    batch_page.write_page(tmp_path / "p.html", campaign="c", batch=1, batch_id="0" * 8, classes=CLASSES, items=[one],
                          title="t")  # fmt: skip
    assert '"original": ".///example.org/a.png"' in (tmp_path / "p.html").read_text()


# Contrast of each text that is seen with what is behind it, as WCAG 2 computes it.
CONTRAST = """() => {
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (c) => c.slice(0, 3).map((v) => v / 255)
    .map((v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, n) => sum + v * [.2126, .7152, .0722][n], 0);
  const behind = (e) => { for (; e; e = e.parentElement) {
    const c = rgb(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] === 1) return c; }
    return [255, 255, 255]; };
  const found = [];
  for (const e of document.body.querySelectorAll("*")) {
    const text = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) || e.placeholder;
    if (!text || !e.checkVisibility() || e.disabled || e.closest(":disabled")) continue;
    const color = getComputedStyle(e, e.placeholder ? "::placeholder" : null).color;
    const [a, b] = [light(rgb(color)), light(behind(e))].sort((x, y) => y - x);
    found.push([e.outerHTML.slice(0, 80), (a + .05) / (b + .05)]);
  }
  return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out(opened, path, scheme):
    page = opened(path, color_scheme=scheme)
    seen = []
    press(page, "1")
    for tab in ("#tab-one", "#tab-grid", "#tab-overview"):
        page.click(tab)
        seen += page.evaluate(CONTRAST)
    assert len(seen) > 30
    assert [found for found in seen if found[1] < 4.5] == []


def test_everything_that_can_be_pressed_has_a_name(page):
    nameless = """() => [...document.querySelectorAll("button, input, textarea, [role=group]")].filter((e) =>
      !(e.ariaLabel || e.textContent.trim() || e.labels?.length)).map((e) => e.outerHTML)"""
    for tab in ("#tab-one", "#tab-grid", "#tab-overview"):
        page.click(tab)
        assert page.evaluate(nameless) == []


def test_a_phone_shows_it_without_scrolling_sideways(opened, path):
    page = opened(path, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    for tab in ("#tab-one", "#tab-grid", "#tab-overview"):
        page.tap(tab)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.tap("#tab-one")
    for name in ("#picture", "#download", "#classes button:nth-child(3)"):  # image, answers and download at one glance
        box = page.locator(name).bounding_box()
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= 844
    small = "[...document.querySelectorAll('button')].filter((b) => b.checkVisibility() && b.offsetHeight < 44)"
    assert page.evaluate(f"{small}.length") == 0  # thumbs are large
    page.tap("#classes button:nth-child(3)")
    assert labels(page) == ["owl"]


def test_it_prints_as_a_contact_sheet(opened, path):
    page = opened(path)
    press(page, "1")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.locator("#overview .tile").count() == 6
    assert page.locator("#overview").is_visible()
    assert not page.locator("#one").is_visible()
    assert "1. heron" in page.inner_text("#overview")


def test_thumbnails():
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 255, (600, 800, 3), np.uint8))
    tiny = Image.fromarray(np.random.default_rng(0).integers(0, 255, (8, 8), np.uint8))
    assert max(Image.open(io.BytesIO(batch_page.thumbnail(photo))).size) <= 256
    again = Image.open(io.BytesIO(batch_page.thumbnail(tiny)))
    assert again.size == (8, 8)
    assert np.abs(np.asarray(again, float) - np.asarray(tiny)).mean() < 4


def test_five_hundred_photos_fit_into_a_mail(tmp_path):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (600, 800, 3), np.uint8))
    one = item(tmp_path, 1) | {"thumbnail": batch_page.thumbnail(noise)}
    batch_page.write_page(tmp_path / "p.html", campaign="c", batch=1, batch_id="0" * 8, classes=CLASSES,
                          items=[one] * 500, title="t")  # fmt: skip
    assert (tmp_path / "p.html").stat().st_size <= 12_000_000
