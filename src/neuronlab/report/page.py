"""A page: sections of text, tables and figures, written as one file that needs no network."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import plotly.io
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from neuronlab.report.panel import Panel

HERE = Path(__file__).parent
HEIGHT = 420  # pixels of a figure that names none


@dataclass(frozen=True)
class Section:
    """A heading with what stands below it.

    Attributes:
        title: The heading.
        text: Plain text; an empty line begins a new paragraph.
        panels: Figures, after the text and `html`.
        html: Tables and the like, from `part`.
        level: 2 for a section, 3 for one inside the last section of level 2.
    """

    title: str
    text: str = ""
    panels: Sequence[Panel] = ()
    html: Markup = field(default_factory=Markup)
    level: int = 2


def part(name: str, *arguments: Any) -> Markup:
    """A piece of HTML from `parts.html`; whatever text it is given stays text.

    Args:
        name: The macro's name.
        arguments: What the macro takes.
    """
    made: Markup = getattr(_templates().get_template("parts.html").module, name)(*arguments)
    return made


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], words: int = 1) -> Markup:
    """A table.

    Args:
        columns: The heads of its columns.
        rows: The cells, as text, numbers as one reads them, or Markup.
        words: How many columns hold words, from the left; the others hold numbers.
    """
    return part("table", columns, rows, words)


def write_page(path: Path, title: str, headline: str, sections: Sequence[Section]) -> None:
    """Writes a page, whole or not at all.

    Args:
        path: The file; folders above it are made.
        title: The page's name.
        headline: What the page is about, in a sentence or two.
        sections: What is on it, in order.

    Raises:
        OSError: If it cannot be written.
    """
    scripts = {"page": (HERE / "page.js").read_text("utf-8"), "plotly": get_plotlyjs()}
    drawn = any(section.panels for section in sections)
    text = (
        _templates()
        .get_template("template.html")
        .render(
            title=title,
            headline=headline,
            blocks=list(_blocks(sections)),
            style=Markup((HERE / "style.css").read_text("utf-8")),
            page_script=Markup(scripts["page"]),
            plotly_script=Markup(scripts["plotly"]) if drawn else None,
            script_hashes=Markup(" ".join(_hash(script) for script in scripts.values())),
        )
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".tmp")
    try:
        draft.write_bytes(text.encode(errors="replace"))  # names of files need not be valid Unicode
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


@cache
def _templates() -> Environment:
    return Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )


def _hash(script: str) -> str:
    """What a browser compares a script with before it runs it: no other script runs on the page."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _blocks(sections: Sequence[Section]) -> Iterator[dict[str, Any]]:
    """What the template needs of each section; names are unique on the page."""
    often = Counter(panel.name for section in sections for panel in section.panels)
    taken: set[str] = set()
    above = ""
    for section in sections:
        if section.level == 2:
            above = slug(section.title)
        yield {
            "section": section,
            "id": _free(slug(section.title), taken),
            "paragraphs": [text for text in section.text.split("\n\n") if text.strip()],
            "figures": [
                {
                    "panel": panel,
                    # a name that comes again, as in several tasks, gets its task's before it
                    "id": _free(f"{above}-{panel.name}" if repeats else panel.name, taken),
                    "height": panel.figure.layout.height or HEIGHT,
                    "figure": embedded(figure_json(panel)),
                    "csv": embedded(json.dumps(csv_text(panel), ensure_ascii=False)),
                }
                for panel in section.panels
                for repeats in [often[panel.name] > 1]
            ],
        }


def figure_json(panel: Panel) -> str:
    """A figure as plotly's JSON, arrays packed, without a template: its colors are the page's."""
    figure = panel.figure.to_plotly_json()
    figure["layout"].pop("template", None)
    text: str = plotly.io.to_json(figure, validate=False)
    return text


def csv_text(panel: Panel) -> str:
    """A panel's numbers as CSV, six significant digits."""
    text: str = panel.data.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    return text


def embedded(text: str) -> Markup:
    """JSON that can stand inside a script element: a `<` in a string is written as its number."""
    return Markup(text.replace("<", "\\u003c"))


def slug(text: str) -> str:
    """A text as a name for links and files: `mse of line, standardized` → `mse-of-line-…`."""
    letters = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub("[^a-z0-9]+", "-", letters).strip("-") or "section"


def _free(name: str, taken: set[str]) -> str:
    """The name, or with the first number that makes it unique."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}-{number}"
    taken.add(free)
    return free
