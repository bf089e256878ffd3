"""What notebooks show of cuts, reports, banks and studies."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table with a title; numbers, and texts that begin as such, stand on the right."""
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join("<tr>" + "".join(_cell(cell) for cell in row) + "</tr>" for row in rows)
    caption = f"<caption style='text-align:left;font-weight:bold'>{escape(title)}</caption>" if title else ""
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(cell: Any) -> str:
    text = str(cell)
    side = "right" if text[:1].isdigit() or text[:1] in "-–" else "left"
    return f"<td style='text-align:{side}'>{escape(text)}</td>"


def paragraph(text: str) -> str:
    """A paragraph."""
    return f"<p>{escape(text)}</p>"


def points(share: float | None, deviation: float | None = None) -> str:
    """A share of one in points."""
    if share is None:
        return "–"
    return f"{100 * share:.1f}" if deviation is None else f"{100 * share:.1f} ± {100 * deviation:.1f}"


def size(bytes: int) -> str:
    """Bytes for people."""
    return f"{bytes / 1e6:,.1f} MB" if bytes >= 1e6 else f"{bytes / 1e3:,.1f} KB"
