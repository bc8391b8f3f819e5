"""The report in a real browser, from a file: it asks for nothing, complains of nothing, and does what it says.

`make test-browser` runs it; it needs Chromium and its driver. The screenshots go to the folder `JAXRNN_SCREENSHOTS`, to
be looked at; where none is named, all is skipped.
"""

import json
import os
import shutil
from pathlib import Path

import pytest

from jaxrnn.__main__ import main
from jaxrnn.running import study

webdriver = pytest.importorskip("selenium.webdriver", reason="the extra `browser` is not installed")
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
SCREENSHOTS = os.environ.get("JAXRNN_SCREENSHOTS")
pytestmark = [
    pytest.mark.skipif(not SCREENSHOTS, reason="JAXRNN_SCREENSHOTS names no folder: see make test-browser"),
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="Chromium and chromedriver are not installed"),
]

SETTINGS = {
    "model.num_layers": 2,
    "model.hidden_size": 24,
    "model.embedding_size": 8,
    "data.chunk_length": 16,
    "data.batch_size": 16,
    "training.length": "60 updates",
    "training.validate_every": 20,
    "training.validate_targets": 2000,
    "optimizer.warmup": 5,
    "sampling.length": 200,
}


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    """The report of a small model, trained for a moment on the source of this package's tests."""
    run = tmp_path_factory.mktemp("runs") / "tiny"
    corpus = run.with_name("a_folder_whose_name_no_telephone_could_show_on_a_single_line")
    corpus.symlink_to(Path(__file__).parents[1] / "gradients")
    words = [word for key, value in SETTINGS.items() for word in (f"--{key}", str(value))]
    assert main(["train", "--data.corpus", str(corpus), *words, "--run", str(run)]) == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "HORIZONS", (4, 16))  # each of them is compiled
        assert main(["analyze", str(run), "--length", "4000"]) == 0
    return run / "analysis" / "report.html"


@pytest.fixture(scope="module")
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "window-size=1200,900"):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def folder() -> Path:
    """Where the screenshots go."""
    folder = Path(str(SCREENSHOTS))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def page(browser, report):
    """The report, freshly opened; afterwards nothing was said on the console and nothing was asked for."""
    emulate(browser, dark=False, width=1200)
    browser.get_log("performance")
    browser.get(report.as_uri())
    yield browser
    assert browser.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [one["params"]["request"]["url"] for one in messages if one["method"] == "Network.requestWillBeSent"]
    assert {url for url in asked if not url.startswith("data:")} == {report.as_uri()}


def emulate(browser, *, dark: bool, width: int):
    features = {"prefers-color-scheme": "dark" if dark else "light", "prefers-reduced-motion": "reduce"}
    media = [{"name": name, "value": value} for name, value in features.items()]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def find(page, selector, number=0):
    """An element, in the middle of the window: what stays at its edges shall not cover it."""
    element = page.find_elements(By.CSS_SELECTOR, selector)[number]
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    return element


def said(page):
    return find(page, "#place").text


def tints(page):
    script = "return [...document.querySelectorAll('#passage span')].map(one => one.style.backgroundColor)"
    return page.execute_script(script)


def choose(page, selector, value):
    find(page, f"{selector} option[value='{value}']").click()


def photograph(page, folder, name, selector):
    page.execute_script("document.querySelector(arguments[0]).scrollIntoView()", selector)
    assert page.save_screenshot(str(folder / f"{name}.png"))


def test_the_layer_the_quantity_and_the_unit_are_chosen(page):
    choose(page, "#layer", 2)
    choose(page, "#quantity", "h")
    choose(page, "#quantity", "c")
    first = tints(page)
    unit = find(page, "#unit")
    assert unit.get_attribute("value") == "0"
    unit.clear()
    unit.send_keys("7", Keys.TAB)
    assert tints(page) != first
    find(page, "#next").click()
    assert unit.get_attribute("value") == "8"
    find(page, "#passage").click()
    assert "layer 2, c 8 = " in said(page)


def test_a_label_brings_its_best_unit_and_is_underlined_where_it_holds(page):
    data = json.loads(find(page, "#data").get_attribute("textContent"))
    number = [label["name"] for label in data["labels"]].index("inside a string literal")
    choose(page, "#label", number)
    layer, name, unit = data["findings"][number]["units"][0]["unit"]
    assert find(page, "#ranking button[aria-pressed='true'] span").text.startswith(f"layer {layer}, {name} {unit}")
    script = (
        "return [...document.querySelectorAll('#passage span')].map(one => one.classList.contains('holds') ? 1 : 0)"
    )
    assert page.execute_script(script) == data["labels"][number]["values"]
    find(page, "#ranking button", 1).click()
    layer, name, unit = data["findings"][number]["units"][1]["unit"]
    assert find(page, "#unit").get_attribute("value") == str(unit)
    find(page, ".findings .unit").click()
    assert find(page, "#label").get_attribute("value") == "0"


def test_a_bar_covers_no_part_of_a_letter(page):
    """No bar is thicker than the room that a letter has below and above itself."""
    script = """
        const bar = (letter) => Number(/ (-?\\d+)px 0px 0px inset/.exec(getComputedStyle(letter).boxShadow)?.[1] ?? 0);
        return [...document.querySelectorAll("#passage [data-at]")].map((letter) => {
          const style = getComputedStyle(letter);
          return [Math.abs(bar(letter)), Math.min(parseFloat(style.paddingTop), parseFloat(style.paddingBottom))];
        });"""
    bars = page.execute_script(script)
    assert max(thick for thick, _ in bars) > 0 and all(thick < room for thick, room in bars)


def test_the_exact_value_is_said_where_the_mouse_is(page):
    view = json.loads(find(page, "#data").get_attribute("textContent"))["view"]
    place = next(at for at, piece in enumerate(view["pieces"]) if piece.isalpha())
    letter = find(page, f"#passage span[data-at='{place}']")
    webdriver.ActionChains(page).move_to_element(letter).perform()
    assert said(page).startswith(f"“{view['pieces'][place]}”") and "surprise" in said(page)


@pytest.mark.parametrize(("piece", "sign"), [("constructor", "“constructor”"), ("\n", "end of line"), ("\t", "tab")])
def test_every_symbol_is_named_also_one_that_javascript_knows_as_something_else(page, report, piece, sign):
    """As a model of words may have it."""
    text = report.read_text("utf-8")
    held = find(page, "#data").get_attribute("textContent")
    data = json.loads(held)
    data["view"]["pieces"][0] = piece
    try:
        report.write_text(text.replace(held, json.dumps(data).replace("<", "\\u003c")), "utf-8")
        page.get(report.as_uri())
        find(page, "#passage").send_keys(Keys.HOME)
        assert said(page).startswith(f"{sign} · ")
    finally:
        report.write_text(text, "utf-8")


def test_keys_move_through_text_and_units(page):
    find(page, "#passage").send_keys(Keys.HOME)
    places = []
    for key in (Keys.ARROW_RIGHT, Keys.ARROW_DOWN, Keys.ARROW_UP, Keys.END, Keys.ARROW_LEFT):
        find(page, "#passage").send_keys(key)
        places.append(int(find(page, "#passage .here").get_attribute("data-at")))
    count = len(page.find_elements(By.CSS_SELECTOR, "#passage span"))
    assert places[0] == 1 and places[1] > 1 and places[2] < places[1] and places[3:] == [count - 1, count - 2]
    choose(page, "#quantity", "h")
    find(page, "#passage").send_keys("nnp")
    assert find(page, "#unit").get_attribute("value") == "1"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1200, 360])
def test_it_is_readable_in_light_and_dark_wide_and_narrow(page, folder, dark, width):
    emulate(page, dark=dark, width=width)
    ink, paper = (
        sum(map(int, page.execute_script(f"return getComputedStyle(document.body).{name}").strip("rgb()").split(",")))
        for name in ("color", "backgroundColor")
    )
    assert (ink > paper) == dark and abs(ink - paper) > 400
    page.execute_script("for (const one of document.querySelectorAll('details')) one.open = true")
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    for number, selector in enumerate(("header", "#units", "#text", "#flow", "#gates", "#health")):
        name = f"{'dark' if dark else 'light'}-{width}-{number}-{selector.strip('#')}"
        photograph(page, folder, name, selector)


def test_the_button_turns_the_colours(page):
    before = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    find(page, "#theme").click()
    assert page.execute_script("return getComputedStyle(document.body).backgroundColor") != before
    assert find(page, "#theme").text == "Light"


def test_everything_has_a_name_for_those_who_do_not_see_it(page):
    script = """
        const named = (one) => one.ariaLabel || one.labels?.length || one.textContent.trim();
        const nameless = [...document.querySelectorAll('button, select, input, a')].filter((one) => !named(one));
        const ids = [...document.querySelectorAll('[id]')].map((one) => one.id);
        const referred = [...document.querySelectorAll('[aria-labelledby], [aria-describedby]')].flatMap(
          (one) => [one.getAttribute('aria-labelledby'), one.getAttribute('aria-describedby')].filter(Boolean));
        return [nameless.length, ids.length - new Set(ids).size, referred.filter((id) => !ids.includes(id))];
    """
    assert page.execute_script(script) == [0, 0, []]
