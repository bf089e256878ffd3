"""Scores, as data and for people."""

from __future__ import annotations

from typing import Any

from . import _html


class Report(dict[str, Any]):
    """Scores of a cut on rows: a dict of ``rows``, ``primary``, ``metrics``, ``classes`` (each with ``label``,
    ``precision``, ``recall``, ``f1`` and ``support``) and ``confusion``, a list of rows by true class of counts by
    predicted class, both in the order of ``classes``.

    Printed, it is a table for people; notebooks show it as one.

    >>> report = base.evaluate(cut, texts, labels)
    >>> report["rows"], report["primary"]["name"], [one["label"] for one in report["classes"]]
    (20, 'accuracy', ['parcel', 'refund'])
    """

    def __str__(self) -> str:
        return str(self["text"]).rstrip()

    def _repr_html_(self) -> str:
        primary = self["primary"]
        rows = "" if self.get("rows") is None else f" on {self['rows']:,} rows"
        title = f"{_spaced(primary['name'])} {_html.points(primary['value'])}{rows}"
        scores = [[_spaced(name), _score(name, value)] for name, value in self["metrics"].items()]
        parts = [_html.table(title, ["score", "value"], scores)]
        classes = self.get("classes") or []
        if classes:
            header = ["label", "precision", "recall", "F1", "rows"]
            cells = [
                [one["label"], *(f"{100 * one[name]:.1f}" for name in ("precision", "recall", "f1")), one["support"]]
                for one in classes
            ]
            parts.append(_html.table("", header, cells))
        confusion = self.get("confusion")
        if confusion and len(classes) <= 30:
            names = [one["label"] for one in classes]
            cells = [[name, *counts] for name, counts in zip(names, confusion)]
            parts.append(_html.table("true class by predicted class", ["", *names], cells))
        return "".join(parts)


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _score(name: str, value: float | None) -> str:
    return f"{value:.4f}" if name == "mse" and value is not None else _html.points(value)


def of_card(card: dict[str, Any]) -> Report:
    """The scores that a card keeps: no classes, and no rows."""
    name, metrics = card["metric_key"], card["metrics"]
    lines = [f"{_spaced(key)}  {_score(key, value)}" for key, value in metrics.items()]
    lines.append("classes and confusions are not kept in the file: base.evaluate(cut, texts, labels) finds them")
    found = Report(rows=None, primary={"name": name, "value": metrics.get(name)}, metrics=metrics)
    found.update(classes=[], confusion=None, text="\n".join(lines))
    return found
