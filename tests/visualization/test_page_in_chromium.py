"""The HTML page in a browser: open, fold, search, read a shape."""

from __future__ import annotations

import re
import shutil
import time
from contextlib import contextmanager

import pytest

import symbucket as sb
from symbucket.callback.run_record import Point, RunRecord
from symbucket.visualization.fold import fold
from symbucket.visualization.run_page import write_run_page
from symbucket.visualization.sources import networks_of
from tests.visualization.viz_networks import language_model

pytestmark = pytest.mark.usefixtures("needs_page")
SECONDS = 30  # to wait; a shared machine may be slow


@pytest.fixture(scope="module")
def browser():
    webdriver = pytest.importorskip("selenium.webdriver", reason="group viewtest is not installed")
    driver, chromium = shutil.which("chromedriver"), shutil.which("chromium")
    if driver is None or chromium is None:
        pytest.skip("chromium and chromedriver are not installed (Debian: chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.add_argument("--window-size=1400,900")
    # No name is looked up: whatever the page asked for would fail and be in the log.
    options.add_argument("--host-resolver-rules=MAP * ~NOTFOUND")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(driver)
    started = webdriver.Chrome(options=options, service=service)
    yield started
    started.quit()


@pytest.fixture(scope="module")
def network():
    symbol, shapes = language_model(12)
    return next(iter(networks_of(symbol, shapes, "training", unrolled=True).values()))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    symbols, shapes = {}, {}
    for key in (12, 5):
        symbols[key], shapes[key] = language_model(key)
    path = tmp_path_factory.mktemp("page") / "net.html"
    return sb.viz.draw(
        symbols, path, shape=shapes, graph="training", title="Two keys", unrolled=True
    )


@pytest.fixture
def page(browser, file):
    browser.get(file.as_uri())
    wait(browser)
    yield browser
    assert [m for m in browser.get_log("browser") if m["level"] == "SEVERE"] == []


def wait(browser, state="ready"):
    from selenium.webdriver.support.ui import WebDriverWait

    ready = f"return document.body.dataset.state === '{state}'"
    WebDriverWait(browser, SECONDS, 0.05).until(lambda b: b.execute_script(ready))


def css(browser, selector):
    return browser.find_elements("css selector", selector)


def shown(browser):
    return int(browser.execute_script("return document.body.dataset.shown"))


def texts(browser):
    found = "return [...document.querySelectorAll('#stage .node')].map(n => n.textContent)"
    return browser.execute_script(found)


def click_on(browser, selector, double=False):
    """A click at the middle of something in the drawing."""
    from selenium.webdriver import ActionChains

    (found,) = css(browser, selector)
    actions = ActionChains(browser)
    (actions.double_click if double else actions.click)(found).perform()


def test_the_page_opens_folded(page, network):
    tree = fold(network)
    assert page.title == "Two keys"
    assert shown(page) == tree.shown(tree.default_view()) == len(css(page, "#stage .node"))
    assert any("t0 \N{HORIZONTAL ELLIPSIS} t11" in t for t in texts(page))
    assert len(css(page, "#stage .cluster")) == len(tree.default_view())


def test_the_page_lays_out_what_the_picture_in_it_shows(page):
    """The first picture is drawn by Python; a reset draws the same boxes and lines here."""
    shown_ids = """
        const all = (kind, get) => [...document.querySelectorAll(`#stage ${kind}`)].map(get).sort();
        return [".node", ".edge", ".cluster"].map((kind) => all(kind, (e) => e.id))
          .concat([all("text", (t) => t.textContent.trim())]);"""
    if shutil.which("dot") is None:
        pytest.skip("Graphviz's dot is not installed, so there is no first picture")
    first = page.execute_script(shown_ids)
    assert all(first)
    page.execute_script("document.body.dataset.state = 'waiting'")
    css(page, "#start")[0].click()
    wait(page)
    assert page.execute_script(shown_ids) == first


def test_groups_open_and_fold(page):
    before = shown(page)
    steps = next(i for i, t in enumerate(texts(page)) if "t11" in t)
    group = page.execute_script(f"return document.querySelectorAll('#stage .node')[{steps}].id")
    click_on(page, f"#{group}", double=True)
    wait(page)
    assert shown(page) == before + 3  # t0, t1, a run, t11
    assert any("t2 \N{HORIZONTAL ELLIPSIS} t10" in t for t in texts(page))
    css(page, "#toggle")[0].click()  # the open group is chosen; its button folds it again
    wait(page)
    assert shown(page) == before


def test_a_step_in_the_middle_opens_and_its_run_folds(page):
    page.execute_script("""
        const steps = page.net.groups.findIndex((g) => g.kind === 'steps');
        window.run = page.net.groups[steps].groups[2];
        window.step = page.net.groups[page.net.groups[window.run].groups[0]].groups[2];
        reveal(`g${window.step}`);""")
    wait(page)
    opened = shown(page)
    (chosen,) = css(page, "#stage .chosen")
    assert chosen.text.startswith("t4")
    css(page, "#toggle")[0].click()
    wait(page)
    assert shown(page) > opened + 5
    page.execute_script("document.body.dataset.state = 'waiting'; toggle(`g${window.run}`)")
    wait(page)
    assert shown(page) < opened
    assert any("t2 \N{HORIZONTAL ELLIPSIS} t10" in t for t in texts(page))


def test_search_finds_opens_and_shows_a_shape(page):
    field = css(page, "#search")[0]
    field.send_keys("lstm_l1_t7_out")
    found = [e.text for e in css(page, "#hits li a")]
    assert found[0] == "lstm_l1_t7_out/Mul"
    assert any(name.startswith("grad/") for name in found)
    assert css(page, "#stage .found")  # the folded steps that hide it are marked
    css(page, "#hits li a")[0].click()
    wait(page)
    (node,) = css(page, "#stage .node.chosen")
    assert "lstm_l1_t7_out" in node.text
    details = css(page, "#details")[0].text
    assert "Mul, forward" in details
    assert "float32 3\N{MULTIPLICATION SIGN}4" in details
    frame, stage = node.rect, css(page, "#stage")[0].rect
    assert abs(frame["x"] + frame["width"] / 2 - stage["x"] - stage["width"] / 2) < 40
    assert abs(frame["y"] + frame["height"] / 2 - stage["y"] - stage["height"] / 2) < 40


def test_search_knows_operators_and_shapes(page):
    field = css(page, "#search")[0]
    field.send_keys("11x4")
    count = int(css(page, "#hits p")[0].text.split()[0])
    assert count >= 2  # embed_weight, pred_weight and their gradients among them
    field.clear()
    field.send_keys("nothing of that name")
    assert css(page, "#hits p")[0].text == "0 found"


def test_pointing_at_a_box_tells_its_whole_name(page):
    titles = [t.get_attribute("textContent") for t in css(page, "#stage .node title")]
    assert "reshape1/Reshape 36" in titles
    assert "data 3\N{MULTIPLICATION SIGN}12" in titles
    assert "embed" in titles  # a group
    edges = [t.get_attribute("textContent") for t in css(page, "#stage .edge title")]
    assert "3\N{MULTIPLICATION SIGN}12\N{MULTIPLICATION SIGN}4" in edges


def test_of_a_wide_picture_the_forward_part_shows_first(page):
    page.set_window_size(700, 900)
    try:
        page.refresh()
        wait(page)
        (data,) = [n for n in css(page, "#stage .node") if n.text.startswith("data")]
        stage = css(page, "#stage")[0].rect
        assert page.execute_script("return page.size.w * page.view.k") > stage["width"]
        assert 0 <= data.rect["x"] < data.rect["x"] + data.rect["width"] <= stage["width"]
    finally:
        page.set_window_size(1400, 900)


def test_sides_where_the_picture_goes_on_are_shaded(page):
    def sides():
        return {n for n in css(page, "#stage")[0].get_attribute("class").split() if "more-" in n}

    page.execute_script("fit()")
    assert sides() == set()
    page.execute_script("move(0, 0, 8)")
    assert sides() == {"more-right", "more-bottom"}
    page.execute_script("move(-100, -100, 8)")
    assert sides() == {"more-left", "more-top", "more-right", "more-bottom"}
    shadow = "return getComputedStyle(stage, '::after').boxShadow"
    assert "rgba(0, 0, 0, 0)" not in page.execute_script(shadow)


def test_a_large_group_opens_at_its_beginning(page):
    page.execute_script("""
        const steps = page.net.groups.findIndex((g) => g.kind === 'steps');
        window.opened = `g${page.net.groups[steps].groups[0]}`;
        reveal(window.opened);""")
    wait(page)
    page.execute_script("zoom(6); toggle(window.opened);")
    wait(page)
    place = "return document.getElementById(window.opened).getBoundingClientRect().toJSON()"
    group, stage = page.execute_script(place), css(page, "#stage")[0].rect
    assert group["height"] > stage["height"]
    assert group["top"] - stage["y"] == pytest.approx(16, abs=4)


def test_edges_tell_their_values(page):
    page.execute_script("""
        const lines = [...page.lines.values()];
        const line = lines.find((l) => / of /.test(l.text));
        choose(line.id);""")
    details = css(page, "#details")[0].text
    assert " values" in details
    assert "\N{MULTIPLICATION SIGN}" in details


def test_pan_and_zoom(page):
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.actions.wheel_input import ScrollOrigin

    def view():
        return page.execute_script("return [page.view.x, page.view.y, page.view.k]")

    css(page, "#fit")[0].click()
    start = view()
    stage = css(page, "#stage")[0]
    ActionChains(page).scroll_from_origin(ScrollOrigin.from_element(stage), 0, -300).perform()
    closer = view()
    assert closer[2] > start[2] * 1.2
    ActionChains(page).drag_and_drop_by_offset(stage, 60, 25).perform()
    x, y, k = view()
    assert (x - closer[0], y - closer[1], k) == pytest.approx((60, 25, closer[2]), abs=2)
    css(page, "#fit")[0].click()
    assert view() == pytest.approx(start)


def test_text_can_be_read_at_once_and_the_totals_stand_beside(page, network):
    size = "return Math.min(...[...document.querySelectorAll('#stage text')].map(arguments[0]))"
    measure = "Number(t.getAttribute('font-size')) * page.view.k"
    assert page.execute_script(size.replace("arguments[0]", f"(t) => {measure}")) >= 9
    details = css(page, "#details")[0].text
    operators = sum(1 for box in network.boxes if box.op)
    # 11 x 4 embedded words, 2 layers of 2 x 16 x 4 weights and 2 x 16 biases, 4 x 11 + 11 scores
    assert f"Operators {operators}" in details
    assert "Parameters 419 (1.7 kB)" in details
    assert "Operations" in details
    shares = [float(t.text.rstrip(" %")) for t in css(page, "#details .shares b")]
    assert 90 < sum(shares) <= 101
    css(page, "#details li a")[0].click()
    wait(page)
    assert "Network" not in css(page, "#details")[0].text


def test_a_choice_shows_the_way_through_it(page):
    page.execute_script("""
        const box = page.net.boxes.findIndex((b) => b.name === 'data');
        choose(`b${box}`);""")
    near, path = css(page, "#stage .edge.near"), css(page, "#stage .edge.path")
    assert len(near) == page.execute_script(
        "return [...page.lines.values()].filter((l) => itemId(l.source) === page.chosen).length"
    )
    assert path
    beside = css(page, "#stage .node:not(.path)")  # the label comes in from another side
    assert beside
    assert {node.value_of_css_property("opacity") for node in beside} == {"0.3"}
    (outline,) = css(page, "#stage .chosen ellipse")
    assert outline.value_of_css_property("stroke-width") == "3px"
    page.execute_script("choose(null)")
    assert not css(page, "#stage .edge.near, #stage .edge.path, #stage.focused")


@contextmanager
def preferring(browser, scheme):
    """Let the browser ask for pages that are ``light`` or ``dark``, within the block."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    try:
        yield
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_in_the_dark_the_page_is_dark(page):
    colour = "return getComputedStyle(document.getElementById('stage')).backgroundColor"
    assert page.execute_script(colour) == "rgb(255, 255, 255)"
    with preferring(page, "dark"):
        assert page.execute_script(colour) == "rgb(20, 24, 29)"


def test_another_key_in_the_same_colours(page):
    colour = """
        const at = page.net.boxes.findIndex((b) => b.name === 'embed_weight');
        return page.net.boxes[at].dot.match(/fillcolor="[^"]+"/)[0];"""
    first = page.execute_script(colour)
    boxes = page.execute_script("return page.net.boxes.length")
    page.execute_script("document.body.dataset.state = 'changing'")
    css(page, "#network option")[1].click()
    wait(page)
    assert page.execute_script("return page.net.boxes.length") < boxes
    assert page.execute_script(colour) == first


def test_too_much_at_once_is_refused(page):
    before = shown(page)
    page.execute_script("""
        page.net.large = 300;
        draw(new Set(page.net.groups.keys()));""")
    assert "300 are the most" in css(page, "#trouble")[0].text
    assert shown(page) == before


def test_thousands_of_nodes_open_within_seconds(browser, tmp_path):
    symbol, shapes = language_model(60)
    began = time.perf_counter()
    path = sb.viz.draw(symbol, tmp_path / "n.html", shape=shapes, graph="training", unrolled=True)
    made = time.perf_counter() - began
    began = time.perf_counter()
    browser.get(path.as_uri())
    wait(browser)
    opened = time.perf_counter() - began
    assert browser.execute_script("return page.net.boxes.length") > 3000
    assert shown(browser) < 60
    assert opened < 60, f"opened in {opened:.1f} s (made in {made:.1f} s)"


def test_the_report_of_a_run_shows_values_under_the_pointer(browser, tmp_path):
    from selenium.webdriver import ActionChains

    record = RunRecord("Module", epochs_planned=2)
    for epoch in range(2):
        record.windows.append(Point(10 * epoch + 10, epoch, 1.0, {"train-acc": 0.25 + 0.5 * epoch}))
        record.epochs.append(Point(10 * epoch + 10, epoch, 1.0, {"val-acc": 0.125}))
    write_run_page(record, tmp_path / "run.html")
    browser.get((tmp_path / "run.html").as_uri())
    chart, _ = css(browser, "svg.chart")
    (tip,) = css(browser, "#tip")
    assert not tip.is_displayed()
    right = chart.size["width"] // 2 - 20
    ActionChains(browser).move_to_element_with_offset(chart, right, 0).perform()
    assert tip.text.splitlines() == ["training 0.75 at 20", "validation 0.125 at 20"]
    assert len(css(browser, "svg.chart g circle")) == 2
    ActionChains(browser).move_by_offset(0, 400).perform()
    assert not tip.is_displayed()
    paper, colours = "return getComputedStyle(document.body).backgroundColor", []
    for scheme in ("light", "dark"):
        with preferring(browser, scheme):
            colour = browser.execute_script(paper)
        colours.append(sum(map(int, re.findall(r"\d+", colour)[:3])))
    assert colours[0] > 600 > 100 > colours[1]
    assert [m for m in browser.get_log("browser") if m["level"] == "SEVERE"] == []
