"""The page of a sweep, in a real browser without a network."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from browser import browsing, needs_chromium
from conftest import run_sweep

from neuronlab.report.build import report
from neuronlab.report.contents import make_sections
from neuronlab.report.overview import headline
from neuronlab.report.page import Section, write_page
from neuronlab.report.panel import SCALE, Panel, blank
from neuronlab.results import read_results

pytestmark = needs_chromium
WINDOWS = {
    "wide": {"width": 1280, "height": 800, "color_scheme": "light"},
    "phone": {
        **{"width": 390, "height": 800, "color_scheme": "dark"},
        **{"is_mobile": True, "has_touch": True},
    },
}
COLORS = "plot => getComputedStyle(plot.querySelector('.xtick text')).fill"
SHOWS = "theme => document.documentElement.dataset.theme === theme"
PAPER = "rgb(255, 255, 255)"


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a small sweep, and figures in space and with frames."""
    place = tmp_path_factory.mktemp("sweeps")
    given = ("data=circle", "trainer.max_epochs=10", "optimizer=adam", "trainer=cpu")
    swept = ("activation=relu,silu", "optimizer.lr=0.003,0.03", "seed=range(0,3)")
    assert run_sweep(place, *swept, small=given) == 0
    results = read_results([place / "sweep"])
    sections = [*make_sections(results), Section("More", panels=[in_space(), in_time()])]
    write_page(place / "page.html", "circle", headline(results), sections)
    return place / "page.html"


def in_space() -> Panel:
    figure = blank(400)
    figure.add_surface(z=np.arange(12.0).reshape(3, 4), colorscale=SCALE)
    return Panel("space", "A plane", figure, pd.DataFrame({"x": [1]}))


def in_time() -> Panel:
    figure = blank(400)
    figure.add_scatter(x=[0, 1], y=[0, 0])
    figure.frames = [{"name": str(i), "data": [{"y": [0, i]}]} for i in range(3)]
    steps = [{"label": str(i), "method": "animate", "args": [[str(i)]]} for i in range(3)]
    figure.update_layout(sliders=[{"steps": steps}])
    return Panel("time", "A line that rises", figure, pd.DataFrame({"x": [1]}))


@pytest.fixture
def lesson(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page of a lesson's sweep, with its claim, and with the bowl of a neuron's loss."""
    rates = "optimizer.lr=" + ",".join(f"{10 ** (k / 4 - 4):.4g}" for k in range(13))
    given = ("experiment=learning_rate", rates, "seed=range(0,10)")
    assert run_sweep(tmp_path, *given, name="learning_rate", small=("trainer=cpu",)) == 0
    monkeypatch.chdir(tmp_path)
    report({"sweep": "learning_rate", "output": None, "outputs": "outputs"})
    return tmp_path / "learning_rate/report/index.html"


@pytest.fixture(scope="module", params=["wide", "phone"])
def page(request: pytest.FixtureRequest, page_file: Path) -> Iterator[Any]:
    with browsing(**WINDOWS[request.param], offline=True) as opened:
        opened.goto(page_file.as_uri())
        yield opened  # errors that it reports while the tests last are found at its end


def test_figures_are_drawn_when_they_come_near(page: Any) -> None:
    last = page.locator("#time .plot")
    assert last.locator("svg").count() == 0
    last.scroll_into_view_if_needed()
    last.locator(".slider-container").wait_for()


def test_every_figure_is_drawn_and_fits(page: Any) -> None:
    page.evaluate("renderAll()")
    plots = page.locator(".plot").all()
    assert len(plots) >= 5
    for plot in plots:
        drawn = plot.locator(".overplot path, .overplot image, .gl-container canvas").count()
        assert drawn > 0, plot.get_attribute("aria-labelledby")
        box, inside = plot.bounding_box(), plot.locator(".main-svg").first.bounding_box()
        assert inside["width"] == pytest.approx(box["width"], abs=2)
    width = page.viewport_size["width"]
    assert page.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize("page", ["phone"], indirect=True)
def test_a_finger_on_a_figure_scrolls_the_page(page: Any) -> None:
    plot = page.locator(".plot").first
    plot.evaluate("plot => plot.scrollIntoView({block: 'center', behavior: 'instant'})")
    plot.locator(".nsewdrag").first.wait_for(state="attached")
    before = page.evaluate("scrollY")
    session = page.context.new_cdp_session(page)
    for y in range(450, 250, -25):
        kind = "touchStart" if y == 450 else "touchMove"
        event = {"type": kind, "touchPoints": [{"x": 200, "y": y}]}
        session.send("Input.dispatchTouchEvent", event)
        page.wait_for_timeout(20)
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.wait_for_timeout(200)
    assert page.evaluate("scrollY") > before + 100


def test_numbers_download(page: Any) -> None:
    for figure in page.locator("figure").all()[:2]:
        with page.expect_download() as download:
            figure.locator("button.csv").click()
        expected = json.loads(figure.locator("script.data").text_content())
        assert download.value.path().read_text() == expected
        assert len(pd.read_csv(io.StringIO(expected))) > 0
        assert download.value.suggested_filename == f"{figure.get_attribute('id')}.csv"


def test_colors_follow_the_system_and_the_button(page: Any) -> None:
    plot = page.locator(".plot").first
    plot.scroll_into_view_if_needed()
    plot.locator(".xtick text").first.wait_for()
    background = "getComputedStyle(document.body).backgroundColor"

    def look(theme: str) -> tuple[str, str]:
        page.wait_for_function(SHOWS, arg=theme)
        return page.evaluate(background), plot.evaluate(COLORS)

    seen = {}
    for theme in ("light", "dark", "light"):
        page.emulate_media(color_scheme=theme)
        seen[theme] = look(theme)
    assert seen["light"][0] == PAPER
    assert seen["dark"][0] != seen["light"][0]
    assert seen["dark"][1] != seen["light"][1]
    page.get_by_role("button", name="dark").click()
    assert look("dark") == seen["dark"]
    page.reload()  # remembered
    plot.scroll_into_view_if_needed()
    plot.locator(".xtick text").first.wait_for()
    assert look("dark") == seen["dark"]
    page.get_by_role("button", name="light").click()
    assert look("light") == seen["light"]


def test_paper_is_light_and_holds_all_figures(page: Any) -> None:
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(SHOWS, arg="dark")
    page.evaluate("""
        window.printed = {};
        addEventListener("beforeprint", () => {
            printed.theme = document.documentElement.dataset.theme;
            printed.drawn = document.querySelectorAll(".plot .main-svg").length > 0 &&
                [...document.querySelectorAll(".plot")].every(
                    (plot) => plot.querySelector(".main-svg"));
        });
    """)
    assert page.pdf(format="A4").startswith(b"%PDF")
    assert page.evaluate("printed") == {"theme": "light", "drawn": True}
    page.wait_for_function(SHOWS, arg="dark")
    width = page.viewport_size["width"]
    assert page.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize("page", ["wide"], indirect=True)
def test_a_lesson_s_page_and_the_readme_s_picture(
    page: Any, page_file: Path, lesson: Path, pictures: Path
) -> None:
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 1280, "height": 1350})
    page.goto(lesson.as_uri())
    page.evaluate("renderAll()")
    page.screenshot(path=pictures / "report.png")
    assert (pictures / "report.png").read_bytes().startswith(b"\x89PNG")
    for plot in page.locator(".plot").all():
        drawn = plot.locator(".overplot path, .overplot image, .gl-container canvas").count()
        assert drawn > 0, plot.get_attribute("aria-labelledby")
    bowl = page.locator("#bowl")
    bowl.screenshot(path=pictures / "bowl.png")
    for button in ("play", "pause"):  # pause interrupts, which is no error
        bowl.locator(".updatemenu-button", has_text=button).click()
        page.wait_for_timeout(300)
    assert page.locator("#bowl_3d .gl-container canvas").count() > 0
    page.goto(page_file.as_uri())  # back, for other tests
    page.set_viewport_size({"width": WINDOWS["wide"]["width"], "height": 800})
