"""Writes train.tsv and dev.tsv beside this file from Debian's package index.

    apt-get update
    apt-cache dumpavail | python3 data/debian/make.py

Needs nothing but Python. README.md says what the rows are and how they were chosen; another
release of Debian, or the same one later, gives somewhat other rows.
"""

import hashlib
import sys
from collections import Counter
from pathlib import Path

COLUMNS = ["text", "section", "role", "implemented_in", "interface", "package"]
SMALLEST = 30  # source packages a section or role needs, or it is left out
LARGEST = 2000  # rows of one section at most
DEV_PARTS, PARTS = 1, 6  # share of the source packages that goes to dev.tsv


def stanzas(lines):
    """Fields of each package; continuation lines are kept for `Tag` alone."""
    fields, key = {}, None
    for line in lines:
        line = line.rstrip("\n")
        if not line:
            if fields:
                yield fields
            fields, key = {}, None
        elif line[0] in " \t":
            if key == "Tag":
                fields[key] += line
        else:
            key, _, value = line.partition(":")
            fields[key] = value.strip()
    if fields:
        yield fields


def tags(fields, facet):
    """Sorted values of one debtags facet, without the placeholder `TODO`."""
    values = (t.strip().partition("::") for t in fields.get("Tag", "").split(","))
    return sorted({v for f, _, v in values if f == facet and v != "TODO"})


def number(text):
    """A number that spreads evenly and never changes."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def row(fields):
    synopsis = fields.get("Description") or fields.get("Description-en") or ""
    role = tags(fields, "role")
    section = fields.get("Section", "").rpartition("/")[2]
    if not synopsis or not section or len(role) != 1 or synopsis.startswith('"'):
        return None
    return {
        "text": " ".join(synopsis.split()),
        "section": section,
        "role": role[0],
        "implemented_in": ",".join(tags(fields, "implemented-in")),
        "interface": ",".join(tags(fields, "interface")),
        "package": fields["Package"],
        "source": fields.get("Source", fields["Package"]).split()[0],
    }


def main():
    rows = [r for r in map(row, stanzas(sys.stdin)) if r]
    rows.sort(key=lambda r: number(r["package"]))
    rows = list({r["text"].lower(): r for r in reversed(rows)}.values())[::-1]
    for column in ("section", "role"):
        counts = Counter(label for label, _ in {(r[column], r["source"]) for r in rows})
        rows = [r for r in rows if counts[r[column]] >= SMALLEST]
    seen, kept = Counter(), []
    for r in rows:
        seen[r["section"]] += 1
        if seen[r["section"]] <= LARGEST:
            kept.append(r)
    dev = {r["source"] for r in kept if number("split " + r["source"]) % PARTS < DEV_PARTS}
    for name, part in (("train", False), ("dev", True)):
        chosen = [r for r in kept if (r["source"] in dev) == part]
        lines = ["\t".join(COLUMNS)] + ["\t".join(r[c] for c in COLUMNS) for r in chosen]
        path = Path(__file__).with_name(f"{name}.tsv")
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        print(f"{path.name}: {len(chosen)} rows, {path.stat().st_size} bytes")
        for column in COLUMNS[1:5]:
            counts = Counter(v for r in chosen for v in r[column].split(",") if v)
            print(f"  {column}: " + ", ".join(f"{v} {n}" for v, n in counts.most_common()))


if __name__ == "__main__":
    sys.stdin.reconfigure(encoding="utf-8")
    main()
