"""Says which relative links of the repository's Markdown lead nowhere: `python docs/check_links.py`; 1 if any does."""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def text_of(path):
    """A file without its code, in which brackets are no links."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.S | re.M)
    return text, re.sub(r"`[^`\n]*`", "", text)


def anchors(path):
    """What its headings are called in addresses, as GitHub makes them."""
    found = {}
    for heading in re.findall(r"^#+ (.*)", text_of(path)[0], re.M):
        heading = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").replace("*", "").strip().lower()
        name = re.sub(r"[^\w\- ]", "", heading).replace(" ", "-")
        found[name] = found.get(name, -1) + 1
    return {name if n == 0 else f"{name}-{n}" for name, most in found.items() for n in range(most + 1)}


listed = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True)
links, bad = 0, 0
for page in map(ROOT.joinpath, listed.stdout.split()):
    for link in re.findall(r"\]\(([^)\s]+)\)", text_of(page)[1]):
        path, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        links += 1
        target = (page.parent / path).resolve() if path else page
        if not target.exists():
            why = "there is no such file"
        elif anchor and target.suffix == ".md" and anchor not in anchors(target):
            why = "there is no such heading"
        else:
            continue
        bad += 1
        print(f"{page.relative_to(ROOT)}: {link}: {why}")
print(f"{links} links, {bad} lead nowhere")
sys.exit(bad > 0)
