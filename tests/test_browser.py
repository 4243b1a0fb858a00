"""The built book in a browser without a network, in both colour themes, on a desk and a phone."""

import functools
import http.server
import re
import shutil
import threading
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect, sync_playwright

from lrnb.publish import build

ROOT = Path(__file__).parents[1]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
pytestmark = pytest.mark.slow
PAGES = [*re.findall(r"(?:root|file): (\S+)", (ROOT / "_toc.yml").read_text()), "search"]
CHAPTER = "notebooks/02_untargeted_attack"
DESK, PHONE = {"width": 1400, "height": 900}, {"width": 390, "height": 844}
# nothing but this machine is found, nor asked through a proxy
OFFLINE = ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--no-proxy-server"]

if CHROMIUM is None:
    reason = f"no browser: none of {', '.join(BROWSERS)} is on the PATH"
    pytest.skip(reason, allow_module_level=True)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def html(copied):
    """The book of the repository, built from a copy."""
    return build.build(copied).parent


@pytest.fixture(scope="module")
def site(html):
    """The address at which the book is served; search needs one."""
    handler = functools.partial(Quiet, directory=str(html))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as play:
        yield play.chromium.launch(executable_path=CHROMIUM, args=OFFLINE)


@pytest.fixture(scope="module")
def reader(browser, site):
    """One reader for all pages, so that what the pages share is loaded once."""
    return browser.new_context(base_url=site, viewport=DESK, reduced_motion="reduce")


@pytest.fixture(scope="module", params=PAGES)
def loaded(request, reader, site):
    """Each page of the book in turn, loaded once, and what went wrong meanwhile."""
    page = reader.new_page()
    wrong = listen(page, site)
    page.goto(f"/{request.param}.html")
    page.evaluate("window.MathJax?.startup?.promise")
    yield page, wrong
    page.close()


@pytest.fixture
def page(loaded):
    """Each page of the book in turn, on a desk, in light colours."""
    page, _ = loaded
    page.set_viewport_size(DESK)
    page.emulate_media(color_scheme="light")
    return page


@pytest.fixture
def tab(browser, site):
    """A tab of somebody who was never here before."""
    page = browser.new_page(base_url=site, viewport=DESK, reduced_motion="reduce")
    page.wrong = listen(page, site)
    yield page
    page.close()


def listen(page, site):
    """A list that takes up what the page gets wrong from now on."""
    wrong = []

    def asked(request):
        if not request.url.startswith((site, "data:", "blob:")):
            wrong.append(f"asks another host: {request.url}")

    def answered(response):
        if response.status >= 400:
            wrong.append(f"{response.status}: {response.url}")

    def printed(message):
        if message.type == "error":
            wrong.append(f"console: {message.text} ({message.location['url']})")

    page.on("request", asked)
    page.on("response", answered)
    page.on("console", printed)
    page.on("requestfailed", lambda request: wrong.append(f"failed: {request.url}"))
    page.on("pageerror", lambda error: wrong.append(f"script: {error}"))
    return wrong


def settle(page, seconds=0.0):
    """Let changes of colour run out, and the page's timers of so many seconds."""
    page.evaluate(
        """async (seconds) => {
            const frame = () => new Promise(requestAnimationFrame);
            await frame();
            await frame();
            await Promise.all(document.getAnimations().map((a) => a.finished));
            await new Promise((done) => setTimeout(done, 1000 * seconds));
        }""",
        seconds,
    )


def violations(page, part="html", **options):
    """What axe finds of serious or critical impact in a part of the page, a line an element."""
    # preload: axe would fetch the style sheets again
    options = {"resultTypes": ["violations"], "preload": False, **options}
    found = Axe().run(page, part, options).response
    return [
        f"{rule['id']} ({rule['impact']}): {node['target']} {node['html'][:200]}"
        for rule in found["violations"]
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]


def picture(scrubber):
    """What a scrubber shows beside its handle and its words."""
    scrubber.page.wait_for_timeout(200)
    words = ".lrnb-slider :is(input, output, label) { visibility: hidden !important; }"
    return scrubber.screenshot(style=words)


def test_every_image_has_alt_text(page):
    bare = page.evaluate("[...document.images].filter((i) => !i.alt.trim()).map((i) => i.src)")
    assert not bare, f"{page.url}: {bare}"


def test_every_formula_is_set(page):
    raw = page.evaluate("""[...document.querySelectorAll(".bd-article .math")]
        .filter((m) => !m.querySelector("mjx-container")).map((m) => m.textContent)""")
    assert not raw, f"{page.url}: {raw}"


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_axe_finds_nothing_serious(page, colours):
    page.emulate_media(color_scheme=colours)
    expect(page.locator("html")).to_have_attribute("data-theme", colours)
    settle(page)
    found = violations(page)
    assert not found, "\n".join([f"{page.url}, {colours}:", *found])


def test_figures_keep_their_colours_in_the_dark(page):
    page.emulate_media(color_scheme="dark")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    filters = page.evaluate("""[...document.querySelectorAll(".bd-article img")]
        .map((i) => `${i.src}: ${getComputedStyle(i).filter}`)""")
    changed = [f for f in filters if not f.endswith(": none")]
    assert not changed, f"{page.url}: {changed}"
    assert filters or "/notebooks/" not in page.url, f"{page.url}: a chapter without figures"


def test_nothing_is_wider_than_a_phone_and_what_scrolls_takes_keys(page):
    page.set_viewport_size(PHONE)
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    settle(page, 0.35)  # the theme looks 0.3 s later what scrolls now
    width, window = page.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert width <= window, f"{page.url}: {width} px wide in a window of {window} px"
    found = violations(page, runOnly=["scrollable-region-focusable"])
    assert not found, "\n".join([f"{page.url}, {window} px:", *found])


def test_a_page_asks_for_no_network_and_has_no_complaint(loaded):
    """Last of those on each page, so that what the others do to it counts as well."""
    page, wrong = loaded
    page.wait_for_load_state("networkidle")
    assert not wrong, f"{page.url}: {wrong}"


def test_no_page_shows_an_error(html):
    pages = sorted(p for p in html.rglob("*.html") if "_static" not in p.parts)
    assert len(pages) >= len(PAGES)
    for file in pages:
        text = file.read_text()
        assert "Traceback (most recent call last)" not in text, file.name
        classes = [set(c.split()) for c in re.findall(r'class="([^"]*)"', text)]
        shown = [c for c in classes if "output" in c and c & {"stderr", "traceback", "error"}]
        assert not shown, f"{file.name}: {shown}"


def test_the_search_page_finds_a_term(tab):
    tab.goto("/search.html?q=AADDC")
    results = tab.locator("#search-results ul.search li a")
    expect(results.first).to_be_visible()
    assert "02_untargeted_attack" in str([a.get_attribute("href") for a in results.all()])
    assert not tab.wrong, tab.wrong


def test_the_search_button_leads_to_a_page_with_the_term(tab):
    tab.goto(f"/{CHAPTER}.html")
    tab.get_by_role("button", name="Search").locator("visible=true").first.click()
    tab.locator("#pst-search-dialog input").fill("AADDC")
    tab.keyboard.press("Enter")
    tab.wait_for_url("**/search.html?q=AADDC")
    tab.wait_for_load_state("networkidle")
    tab.locator("#search-results ul.search li a").first.click()
    expect(tab.locator(".bd-article").get_by_text("AADDC").first).to_be_visible()
    assert not tab.wrong, tab.wrong


def test_the_button_turns_the_book_dark_and_it_stays_so(tab):
    tab.goto(f"/{CHAPTER}.html")
    expect(tab.locator("html")).to_have_attribute("data-theme", "light")
    tab.locator(".theme-switch-button").locator("visible=true").click()
    for address in (tab.url, "/notebooks/01_training.html"):
        tab.goto(address)
        expect(tab.locator("html")).to_have_attribute("data-theme", "dark")
        for image in tab.locator(".bd-article img").all():
            expect(image).to_have_css("filter", "none")


def test_numbers_from_notebooks_weigh_what_their_sentence_weighs(tab):
    tab.goto("/book/intro.html")
    heavier = tab.evaluate("""[...document.querySelectorAll(".pasted-text")].filter((n) =>
        getComputedStyle(n).fontWeight != getComputedStyle(n.parentElement).fontWeight).length""")
    assert tab.locator(".pasted-text").count() and heavier == 0


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_a_figure_opens_large_by_click_and_by_key(tab, colours):
    tab.emulate_media(color_scheme=colours)
    tab.goto(f"/{CHAPTER}.html", wait_until="networkidle")
    dialog = tab.get_by_role("dialog", name="Enlarged figure")
    button = tab.locator(".bd-article figure button").first
    small = button.locator("img")
    button.click()
    large = dialog.get_by_role("img", name=small.get_attribute("alt"))
    assert large.bounding_box()["width"] > 1.3 * small.bounding_box()["width"]
    assert large.get_attribute("src") == small.get_attribute("src")
    expect(large).to_have_class("dark-light")
    expect(large).to_have_css("filter", "none")
    settle(tab)
    assert not violations(tab, "dialog[open]")
    tab.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    # the keyboard is back where it was
    expect(button).to_be_focused()
    tab.keyboard.press("Enter")
    expect(large).to_be_visible()
    dialog.get_by_role("button", name="Close").click()
    expect(dialog).to_be_hidden()
    assert not tab.wrong, tab.wrong


def test_a_figure_opens_larger_than_a_phone_and_can_be_moved(tab):
    tab.set_viewport_size(PHONE)
    tab.goto(f"/{CHAPTER}.html", wait_until="networkidle")
    tab.locator(".bd-article figure button").last.click()  # (a wide one with any data sets)
    large = tab.get_by_role("dialog", name="Enlarged figure").get_by_role("img")
    before = large.bounding_box()
    assert before["width"] > 2 * PHONE["width"]
    tab.mouse.move(200, 400)
    tab.mouse.wheel(300, 0)
    tab.wait_for_function("document.querySelector('dialog[open]').scrollLeft > 100")


def test_a_scrubber_changes_its_picture_by_key(tab, html):
    slider = re.compile(r'class="[^"]*\blrnb-slider\b.*?type="range"', re.DOTALL)
    pages = [p for p in PAGES if slider.search((html / f"{p}.html").read_text())]
    if not pages:
        pytest.skip("no page has a scrubber")
    for name in pages:
        tab.goto(f"/{name}.html", wait_until="networkidle")
        for scrubber in tab.locator(".lrnb-slider").all():
            handle = scrubber.locator("input[type=range]")
            assert handle.get_attribute("aria-label"), f"{name}: a scrubber has no name"
            handle.evaluate("""(h) => {
                h.value = h.min;
                h.dispatchEvent(new Event("input", { bubbles: true }));
            }""")
            said, shown = scrubber.locator("output").inner_text(), picture(scrubber)
            handle.press("ArrowRight")
            expect(scrubber.locator("output")).not_to_have_text(said)
            moved = picture(scrubber) != shown
            assert moved, f"{name}: the picture stays the same"
    assert not tab.wrong, tab.wrong
