import base64
import io
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import plotly.io
import pytest
import yaml
from conftest import run_sweep
from hydra.core.global_hydra import GlobalHydra
from numpy.typing import NDArray

import report as report_script
from neuronlab.cli import command_line
from neuronlab.report import contents, page
from neuronlab.report.contents import make_sections
from neuronlab.report.overview import counted, duration, headline, what_was_run
from neuronlab.report.page import Section, slug, table, write_page
from neuronlab.report.panel import Panel, blank
from neuronlab.report.ranking import ranking
from neuronlab.results import Results, read_results, run_folders

Ask = Callable[..., tuple[int, str, str]]
EMPTY = {"meta", "link", "br", "wbr", "hr", "img", "input"}  # elements that have no end tag
HOSTILE = "</script><script>alert(1)</script><b>"


class Parsed(HTMLParser):
    """A page as its elements, with the text of scripts; fails where tags are not in pairs."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.text = ""
        self.feed(path.read_text("utf-8"))
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in EMPTY:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            attributes, text = self.scripts[-1]
            self.scripts[-1] = attributes, text + data
        elif self.open and self.open[-1] != "style":
            self.text += data

    def embedded(self, name: str) -> list[str]:
        """The scripts of a class, which hold data."""
        return [text for attributes, text in self.scripts if attributes.get("class") == name]

    def attributes(self, name: str) -> list[str]:
        """The values of an attribute, wherever it stands."""
        return [str(given[name]) for _, given in self.elements if name in given]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep over rates, of which one diverges, and seeds."""
    place = tmp_path_factory.mktemp("sweeps")
    rates = "optimizer.lr=0.003,0.01,1e6"
    short = ("trainer=cpu", "trainer.max_epochs=3")
    given = ("experiment=linear_neuron", rates, "seed=range(0,3)")
    assert run_sweep(place, *given, name="outputs/sweeps/small", small=short) == 0
    return place / "outputs/sweeps/small"


@pytest.fixture(autouse=True)
def short_script(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages without plotly's 5 MB, which `test_report_browser` has."""
    monkeypatch.setattr(page, "get_plotlyjs", lambda: "const Plotly = {};")


@pytest.fixture
def copied(sweep: Path, tmp_path: Path) -> Path:
    """The sweep again, for tests that damage it."""
    return Path(shutil.copytree(sweep, tmp_path / "copied"))


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    """The command; without most of the figures, which take longer than everything else."""
    monkeypatch.setattr(contents, "FIGURES", contents.FIGURES[:1])

    def run(*overrides: str) -> tuple[int, str, str]:
        GlobalHydra.instance().clear()
        capsys.readouterr()
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["src/report.py", *overrides])
        status = command_line(report_script.main, "report")
        return (status, *capsys.readouterr())

    return run


def made_up(name: str, **data: Sequence[Any]) -> Panel:
    figure = blank(300)
    figure.add_scatter(x=np.arange(3.0), y=np.array([0.1, 2.0, np.nan]), name="a <b>")
    return Panel(name, f"What {name} shows", figure, pd.DataFrame(data), "How to read it")


def unpacked(array: Mapping[str, str]) -> NDArray[np.float64]:
    """An array as plotly packs it."""
    return np.frombuffer(base64.b64decode(array["bdata"]), dtype=array["dtype"])


def written(path: Path, sections: Sequence[Section]) -> Parsed:
    write_page(path, "Title & more", "Headline", sections)
    return Parsed(path)


def test_figures_and_their_numbers_survive(tmp_path: Path) -> None:
    panels = [
        made_up("numbers", x=[1, 2, 3], y=[1 / 3, np.nan, -1e-12]),
        made_up("texts", key=["a,b", 'quoted "c"', HOSTILE], value=[0.1, 1e300, 5.0]),
    ]
    parsed = written(tmp_path / "page.html", [Section("Figures", "One.\n\nTwo.", panels)])
    for panel, text in zip(panels, parsed.embedded("data"), strict=True):
        read = pd.read_csv(io.StringIO(json.loads(text)))
        pd.testing.assert_frame_equal(read, panel.data, rtol=1e-5)
    for panel, text in zip(panels, parsed.embedded("figure"), strict=True):
        read = plotly.io.from_json(text)
        np.testing.assert_array_equal(unpacked(read.data[0].y), panel.figure.data[0].y)
        assert read.data[0].name == "a <b>"
        assert read.layout.height == 300
    assert {"numbers.csv", "texts.csv"} == set(parsed.attributes("data-file"))
    assert "What numbers shows" in parsed.text
    assert sum(tag == "p" for tag, _ in parsed.elements) >= 4  # headline, two paragraphs, notes


def test_a_figure_brings_no_colors_of_a_template(tmp_path: Path) -> None:
    figure = go.Figure(go.Scatter(x=[1], y=[2]))  # with plotly's default template
    panel = Panel("plain", "Plain", figure, pd.DataFrame({"x": [1]}))
    parsed = written(tmp_path / "page.html", [Section("Figures", panels=[panel])])
    assert "template" not in json.loads(parsed.embedded("figure")[0])["layout"]


def test_names_are_unique_on_the_page(tmp_path: Path) -> None:
    sections = [
        Section("Task <1>"),
        Section("Curves", panels=[made_up("curves", x=[1])], level=3),
        Section("Task 2"),
        Section("Curves", panels=[made_up("curves", x=[2])], level=3),
    ]
    parsed = written(tmp_path / "page.html", sections)
    assert parsed.attributes("data-file") == ["task-1-curves.csv", "task-2-curves.csv"]
    names = parsed.attributes("id")
    assert len(names) == len(set(names))
    links = [address for address in parsed.attributes("href") if address.startswith("#")]
    assert [address[1:] in names for address in links] == [True] * 4


def test_nothing_is_fetched(tmp_path: Path) -> None:
    parsed = written(tmp_path / "page.html", [Section("Figures", panels=[made_up("one", x=[1])])])
    addresses = parsed.attributes("src") + parsed.attributes("href")
    assert [address for address in addresses if not address.startswith(("#", "data:"))] == []
    [policy] = [c for c in parsed.attributes("content") if "default-src" in c]
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy
    style = (
        (tmp_path / "page.html").read_text("utf-8").partition("<style>")[2].partition("</style>")
    )
    assert "url(" not in style[0]


def test_a_page_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "page.html"
    written(path, [])
    before = path.read_bytes()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        write_page(path, "Other", "", [])
    assert path.read_bytes() == before


def test_hostile_text_stays_text(tmp_path: Path, copied: Path) -> None:
    runs = list(run_folders(copied))
    status = json.loads((runs[0] / "status.json").read_text())
    failed = status | {"state": "failed", "error": f"ValueError: {HOSTILE}"}
    (runs[0] / "status.json").write_text(json.dumps(failed))
    for place, run in enumerate(runs):
        named = f"+note={HOSTILE}{place % 2}"
        overrides = [*yaml.safe_load((run / ".hydra/overrides.yaml").read_text()), named]
        (run / ".hydra/overrides.yaml").write_text(yaml.dump(overrides))
    results = read_results([copied])
    assert "note" in results.keys
    sections = make_sections(
        results, [Section(HOSTILE, HOSTILE, html=table([HOSTILE], [[HOSTILE]]))]
    )
    panel = made_up(slug(HOSTILE), **{HOSTILE: [HOSTILE]})
    parsed = written(tmp_path / "page.html", [*sections, Section("Last", panels=[panel])])
    kinds = [attributes.get("type") for attributes, _ in parsed.scripts]
    assert kinds.count(None) == 2  # the page's own and plotly's
    assert not any("alert(1)" in text for attributes, text in parsed.scripts if not attributes)
    assert "b" not in {tag for tag, _ in parsed.elements}
    assert f"ValueError: {HOSTILE}" in parsed.text


def test_what_was_run(sweep: Path, tmp_path: Path) -> None:
    results = read_results([sweep])
    assert headline(results).startswith(
        "9 runs: 3 settings of optimizer.lr, 3 seeds each. 6 completed, 3 diverged; "
    )
    parsed = written(tmp_path / "page.html", [what_was_run(results)])
    assert re.search(r"optimizer\.lr\s+0\.003, 0\.01, 1000000\s+3", parsed.text)
    assert re.search(r"seed\s+0, 1, 2\s+3", parsed.text)
    html = (tmp_path / "page.html").read_text("utf-8")
    shown = html.partition('<pre class="config">')[2].partition("</pre>")[0]
    marked = [line.strip() for line in re.findall("<mark>(.*?)</mark>", shown)]
    assert marked[0] == "seed: 0"
    assert "lr: 0.003" in marked
    assert not any(line.startswith(("rows", "max_epochs")) for line in marked)
    read = yaml.safe_load(re.sub("</?mark>", "", shown))
    config = results.config(results.runs.index[0])
    assert read == {key: config[key] for key in config if key not in ("claims", "report")}


def test_damaged_and_failed_runs_are_listed(tmp_path: Path, copied: Path) -> None:
    gone, broken = list(run_folders(copied))[:2]
    (gone / "status.json").unlink()
    (broken / "metrics.csv").write_text("epoch,step\n0,many\n")
    results = read_results([copied])
    assert len(results.damaged) == 2
    parsed = written(tmp_path / "page.html", make_sections(results))
    for run, what in results.damaged.items():
        assert run in parsed.text
        assert what in parsed.text
    assert "2 runs that could not be read whole" in parsed.text


def test_a_sweep_without_any_completed_run(tmp_path: Path, sweep: Path) -> None:
    results = read_results([sweep])
    diverged = results.select(results.runs["state"] == "diverged")
    parsed = written(tmp_path / "page.html", make_sections(diverged))
    assert "All diverged" in headline(diverged)
    assert "mse of line" in parsed.text
    runs = diverged.runs.assign(state="failed", error="RuntimeError: no")
    failed = replace(diverged, runs=runs)
    parsed = written(tmp_path / "page.html", make_sections(failed))
    assert "3 failed runs" in parsed.text


def test_one_run_alone(ask: Ask, copied: Path) -> None:
    folder = next(run for run in run_folders(copied) if "optimizer.lr=0.01" in run.name)
    status, output, _ = ask(f"sweep='copied/{folder.name}'")
    assert status == 0
    assert "1: 1 completed" in output
    assert "1 run. 1 completed" in Parsed(folder / "report/index.html").text


def test_settings_come_best_first(tmp_path: Path, sweep: Path) -> None:
    results = read_results([sweep])
    runs = results.runs
    means = {lr: np.mean(group["val/loss"]) for lr, group in runs.groupby("optimizer.lr")}
    best = min((0.003, 0.01), key=lambda lr: means[lr])
    section = ranking(results)
    assert section is not None
    [panel] = section.panels
    assert panel.data["optimizer.lr"].tolist() == [best, ({0.003, 0.01} - {best}).pop(), 1e6]
    assert panel.title.startswith(f"optimizer.lr={best} has the lowest mean val/loss")
    drawn = panel.figure.data[0]
    np.testing.assert_allclose(drawn.x, panel.data["val/loss mean"][:2])
    np.testing.assert_allclose(drawn.x + drawn.error_x.array, panel.data["val/loss high"][:2])
    low = panel.data["val/loss low"][:2]
    if panel.figure.layout.xaxis.type == "log":  # which cannot show what is not positive
        low = low.clip(lower=drawn.x.min() / 3)
    np.testing.assert_allclose(drawn.x - drawn.error_x.arrayminus, low)
    assert re.search(r"<td>3</td>\s*<td>1000000</td>", section.html)


def test_tasks_are_kept_apart(tmp_path: Path, sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = read_results([sweep])
    runs = results.runs.assign(task=np.where(results.runs["optimizer.lr"] < 0.005, "a", "b"))
    seen: list[Results] = []
    drawn = ("Drawn", lambda one: seen.append(one) or [made_up("drawn", x=[1])])
    monkeypatch.setattr(contents, "FIGURES", (drawn,))
    sections = make_sections(replace(results, runs=runs))
    assert [set(one.keys) for one in seen] == [{"seed"}, {"optimizer.lr", "seed"}]
    titles = [(section.title, section.level) for section in sections]
    assert titles.index(("a", 2)) < titles.index(("Drawn", 3)) < titles.index(("b", 2))
    assert titles[-1] == ("Words", 2)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (59.7, "1 min 0 s"), (33.2, "33 s"), (245, "4 min 5 s"),
     (7380, "2 h 3 min"), (3599.9, "1 h 0 min")],
)  # fmt: skip
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said


@pytest.mark.parametrize(
    ("text", "name"),
    [("mse of line, standardized", "mse-of-line-standardized"), ("Élan", "elan"), ("<b>", "b"),
     ("…", "section")],
)  # fmt: skip
def test_slugs(text: str, name: str) -> None:
    assert slug(text) == name


def test_counts() -> None:
    assert [counted(n, "run") for n in (0, 1, 1200)] == ["0 runs", "1 run", "1,200 runs"]


def test_the_newest_sweep_by_default(ask: Ask, sweep: Path) -> None:
    status, output, errors = ask(f"outputs={sweep.parents[1]}")
    assert (status, errors) == (0, "")
    assert "9: 6 completed, 3 diverged" in output
    assert re.search(r"page\s+\S+report/index\.html · \d+ kB · \d", output)
    assert "9 runs: 3 settings" in Parsed(sweep / "report/index.html").text
    shutil.rmtree(sweep / "report")


def test_sweeps_of_one_experiment_are_one_page(ask: Ask, copied: Path, tmp_path: Path) -> None:
    again = Path(shutil.copytree(copied, tmp_path / "again"))
    later = time.time() + 10
    os.utime(copied / "multirun.yaml", (later, later))
    status, output, _ = ask("sweep=[copied,again]")
    assert status == 0
    assert output.count("page ") == 1
    assert "18 runs" in Parsed(copied / "report/index.html").text
    assert not (again / "report").exists()


def test_several_experiments_get_a_front_page(ask: Ask, copied: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(copied, tmp_path / "other, 100%"))
    (other / "multirun.yaml").unlink()
    status, output, _ = ask("sweep=[copied,'other, 100%']")
    assert status == 0
    assert output.count("page ") == 3
    front = Parsed(tmp_path / "report/index.html")
    assert "2 experiments, 18 runs" in front.text
    links = [unquote(a) for a in front.attributes("href") if a.endswith(".html")]
    assert links == ["../copied/report/index.html", "../other, 100%/report/index.html"]
    assert all((tmp_path / "report" / link).exists() for link in links)
    status, output, _ = ask("sweep=[copied,'other, 100%']", "output=front.html")
    assert "../copied" not in (tmp_path / "front.html").read_text("utf-8")
    assert "copied/report/index.html" in Parsed(tmp_path / "front.html").attributes("href")


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["sweep=copie"], ["sweep=copie", "no such folder", "did you mean copied?"]),
        (["sweep=empty"], ["sweep=empty", "has no runs"]),
        (["sweep='nothing*'"], ["sweep=nothing*", "no such folder"]),
        (["sweep=[]"], ["sweep=[]", "must name a folder"]),
        (["sweep=5"], ["sweep=5", "must be a folder"]),
        ([], ["sweep=null", "no sweep below outputs"]),
        (["sweep=copied", "output=page.txt"], ["output=page.txt", "ends in .html"]),
        (["sweep=copied", "output=5"], ["output=5", "ends in .html"]),
        (["sweep=copied", "output=copied/multirun.yaml/x.html"], ["cannot be used"]),
        (["sweep=copied", "output=folder.html"], ["folder.html", "cannot be used"]),
        (["sweep=copied", "outputs=null"], ["outputs=null", "must be a folder"]),
        (["+sweeps=copied"], ["sweeps: no such key; did you mean sweep?"]),
        (["outptu=x"], ["outptu: no such key; did you mean output?"]),
    ],
)
def test_bad_commands_get_one_line(
    ask: Ask, copied: Path, tmp_path: Path, overrides: list[str], said: list[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "folder.html").mkdir()
    status, _, errors = ask(*overrides)
    assert status == 2
    assert len(errors.splitlines()) == 1, errors
    assert [part for part in said if part not in errors] == [], errors
    assert not list(tmp_path.rglob("*.tmp"))
