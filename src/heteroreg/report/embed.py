"""Embed figures and tables in the page as text."""

from __future__ import annotations

import base64
import io
import re
from urllib.parse import quote

import matplotlib as mpl
import pandas as pd
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from heteroreg.registration.plot.style import INK_COLOUR, RULE_COLOUR, styled
from heteroreg.system.text import csv_text

WEBP_QUALITY = 90


def inline_svg(figure: Figure, name: str, title: str) -> Markup:
    """Return a figure as an inline SVG element in the colours and the font of the page.

    Args:
        figure: The figure.
        name: Prefix of every id in the SVG, unique on the page.
        title: Text alternative for the figure.

    Returns:
        The element. The same figure gives the same text.
    """
    buffer = io.StringIO()
    with styled():
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"<[^>]*>", lambda tag: _adapt(tag.group(0), name), text)  # texts between the tags stay unchanged
    head = re.search(r'viewBox="[^"]*"', text)
    assert head is not None
    body = re.sub(r"\s*\n\s*", "\n", text[text.index(">") + 1 :])
    return Markup(  # noqa: S704 - Matplotlib has escaped the texts within
        f'<svg {head.group(0)} role="img" aria-label="{escape(title)}">{body}'
    )


def _adapt(tag: str, name: str) -> str:
    """Adapt one tag of Matplotlib's SVG to the colours, font and ids of the page."""
    tag = re.sub(r' xmlns(:\w+)?="[^"]*"', "", tag)
    tag = tag.replace("xlink:href", "href")
    tag = re.sub(r'\bid="', f'id="{name}-', tag)
    tag = re.sub(r"url\(#", f"url(#{name}-", tag)
    tag = re.sub(r'href="#', f'href="#{name}-', tag)
    tag = re.sub(r"font: (?:(bold|\d+) )?([\d.]+px) [^;\"]*", _font, tag)
    tag = re.sub(r"font-family: [^;\"]*;? ?", "", tag)
    tag = re.sub(r"(\d+\.\d{2})\d+", r"\1", tag)  # a hundredth of a point is enough
    for ours, theirs in ((INK_COLOUR, "currentColor"), (RULE_COLOUR, "var(--rule)")):
        tag = re.sub(re.escape(ours), theirs, tag, flags=re.IGNORECASE)
    return tag


def data_uri(figure: Figure) -> str:
    """Return a figure as a WebP picture in a `data:` address."""
    buffer = io.BytesIO()
    with styled(), mpl.rc_context({"savefig.dpi": "figure"}):
        figure.savefig(buffer, format="webp", pil_kwargs={"quality": WEBP_QUALITY})
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def csv_uri(table: pd.DataFrame) -> str:
    """Return a table as CSV in a `data:` address, with six digits per number."""
    return "data:text/csv;charset=utf-8," + quote(csv_text(table, float_format="%.6g"))


def _font(match: re.Match[str]) -> str:
    weight = f"font-weight: {match.group(1)}; " if match.group(1) else ""
    return f"{weight}font-size: {match.group(2)}"
