"""Figures as text inside a page: SVG inline, pictures as data."""

from __future__ import annotations

import base64
import io
import re
from urllib.parse import quote

import matplotlib as mpl
import pandas as pd
from markupsafe import Markup, escape
from matplotlib.figure import Figure
from PIL import Image as Picture

from heteroreg.report.style import INK, RULE, styled

COLOURS = 256


def inline_svg(figure: Figure, name: str, title: str) -> Markup:
    """A figure as an inline SVG element that follows the colours and the font of the page.

    Args:
        figure: The figure.
        name: A word that is unique on the page: it starts every id inside the SVG.
        title: What the figure shows, for those who cannot see it.

    Returns:
        The element; the same figure gives the same text.
    """
    buffer = io.StringIO()
    with styled():
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"<[^>]*>", lambda tag: _adapt(tag.group(0), name), text)  # the texts between stay as they are
    head = re.search(r'viewBox="[^"]*"', text)
    assert head is not None
    body = re.sub(r"\s*\n\s*", "\n", text[text.index(">") + 1 :])
    return Markup(  # noqa: S704 - Matplotlib has escaped the texts within
        f'<svg {head.group(0)} role="img" aria-label="{escape(title)}">{body}'
    )


def _adapt(tag: str, name: str) -> str:
    """One tag of Matplotlib's SVG, with the page's colours and font and ids of its own."""
    tag = re.sub(r' xmlns(:\w+)?="[^"]*"', "", tag)
    tag = tag.replace("xlink:href", "href")
    tag = re.sub(r'\bid="', f'id="{name}-', tag)
    tag = re.sub(r"url\(#", f"url(#{name}-", tag)
    tag = re.sub(r'href="#', f'href="#{name}-', tag)
    tag = re.sub(r"font: (?:(bold|\d+) )?([\d.]+px) [^;\"]*", _font, tag)
    tag = re.sub(r"font-family: [^;\"]*;? ?", "", tag)
    tag = re.sub(r"(\d+\.\d{2})\d+", r"\1", tag)  # a hundredth of a point is enough
    for ours, theirs in ((INK, "currentColor"), (RULE, "var(--rule)")):
        tag = re.sub(re.escape(ours), theirs, tag, flags=re.IGNORECASE)
    return tag


def data_uri(figure: Figure) -> str:
    """A figure as a PNG in a `data:` address, with a palette of 256 colours to keep it small."""
    buffer = io.BytesIO()
    with mpl.rc_context({"savefig.dpi": "figure"}):
        figure.savefig(buffer, format="png", metadata={"Software": None})
    picture = Picture.open(buffer).convert("RGB")
    if picture.getcolors(COLOURS) is None:
        picture = picture.quantize(COLOURS, method=Picture.Quantize.FASTOCTREE, dither=Picture.Dither.NONE)
    else:
        picture = picture.convert("P", palette=Picture.Palette.ADAPTIVE, colors=COLOURS)
    small = io.BytesIO()
    picture.save(small, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(small.getvalue()).decode("ascii")


def csv_uri(table: pd.DataFrame) -> str:
    """A table as CSV in a `data:` address, six digits to a number."""
    return "data:text/csv;charset=utf-8," + quote(
        table.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    )


def _font(match: re.Match[str]) -> str:
    weight = f"font-weight: {match.group(1)}; " if match.group(1) else ""
    return f"{weight}font-size: {match.group(2)}"
