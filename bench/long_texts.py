"""Long texts: which part of them is read, on Debian packages' long descriptions and their sections.

    sudo apt-get -o Acquire::Languages=en update          # the descriptions
    python3 bench/long_texts.py --base models/all-minilm-l6-v2 > bench/results/long-<date>.md

Rows are packages of the archive whose description has 100 words or more, one of equal descriptions and one of a source
package, the synopsis left out; labels are the sections with 40 such rows or more. Every fifth row by the hash of its text
is a dev row. Each part is read at 64 tokens a time; the seconds of `linocut eval` are
one thread's.
"""

import argparse
import hashlib
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

LENGTH = 64


def paragraphs(text):
    """The stanzas of a Debian control file, as dicts."""
    for stanza in text.split("\n\n"):
        fields, last = {}, None
        for line in stanza.split("\n"):
            if line[:1] in " \t":
                if last:
                    fields[last] += "\n" + line
            elif ":" in line:
                last, value = line.split(":", 1)
                fields[last] = value.strip()
        if fields:
            yield fields


def descriptions():
    """What each description's hash stands for: the lines after the synopsis, as one text."""
    found = {}
    for path in sorted(Path("/var/lib/apt/lists").glob("*_Translation-en*")):
        text = subprocess.run(["/usr/lib/apt/apt-helper", "cat-file", str(path)], capture_output=True, text=True, check=True)
        for fields in paragraphs(text.stdout):
            lines = fields.get("Description-en", "").split("\n")[1:]
            words = " ".join("" if line.strip() == "." else line.strip() for line in lines)
            found[fields.get("Description-md5")] = re.sub(r"\s+", " ", words).strip()
    return found


def make(folder):
    texts = descriptions()
    if not texts:
        sys.exit("no descriptions: run `apt-get -o Acquire::Languages=en update` first")
    available = subprocess.run(["apt-cache", "dumpavail"], capture_output=True, text=True, check=True).stdout
    rows, sources, seen = [], set(), set()
    for fields in sorted(paragraphs(available), key=lambda fields: fields["Package"]):
        text = texts.get(fields.get("Description-md5"), "")
        source = fields.get("Source", fields["Package"]).split(" ")[0]
        if len(text.split()) < 100 or source in sources or text in seen:
            continue
        sources.add(source)
        seen.add(text)
        rows.append((text, fields["Section"]))
    counts = Counter(section for _, section in rows)
    rows = [row for row in rows if counts[row[1]] >= 40]
    parts = {"train": [], "dev": []}
    for text, section in rows:
        held = int(hashlib.sha256(text.encode()).hexdigest(), 16) % 5 == 0
        parts["dev" if held else "train"].append(json.dumps({"sentence1": text, "label": section}))
    for name, lines in parts.items():
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "task.json").write_text(json.dumps({"name": "debian-long", "metric": "f1", "f1_average": "macro"}))
    words = sorted(len(text.split()) for text, _ in rows)
    return len(parts["train"]), len(parts["dev"]), len({section for _, section in rows}), words[len(words) // 2]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", required=True)
    parser.add_argument("--linocut", default="target/release/linocut")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--method", default="mask")
    parser.add_argument("--threads", default="2")
    parser.add_argument("--make", help="only write the task into this folder")
    args = parser.parse_args()
    if args.make:
        folder = Path(args.make)
        folder.mkdir(parents=True, exist_ok=True)
        return print(make(folder))
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        train, dev, labels, words = make(folder)
        print(f"# Long texts: which part is read\n\nDebian packages' long descriptions → section: {train} training rows, {dev} "
              f"dev rows, {labels} labels, {words} words in the middle; {LENGTH} tokens at a time; `--method {args.method}`, {args.epochs} "
              f"epochs; macro F1, mean of {args.seeds} seeds.\n")
        print("| part | macro F1 | training, s | `eval` of the dev rows, s |\n|---|--:|--:|--:|")
        for part in ["head", "tail", "head+tail", "windows", f"head, {4 * LENGTH} tokens"]:
            long, length = (part, LENGTH) if "," not in part else ("head", 4 * LENGTH)
            scores, seconds = [], []
            cut = folder / "long.cut"
            for seed in range(args.seeds):
                result = json.loads(subprocess.run([
                    args.linocut, "train", "--base", args.base, "--task", folder, "--long", long, "--max-length", str(length),
                    "--epochs", str(args.epochs), "--method", args.method, "--seed", str(seed), "--out", cut, "--force", "-q", "--json",
                    "--threads", args.threads,
                ], capture_output=True, text=True, check=True).stdout)
                scores.append(100 * result["evaluation"]["primary"]["value"])
                seconds.append(result["seconds"])
            start = time.perf_counter()
            subprocess.run([args.linocut, "eval", cut, "--base", args.base, "--task", folder, "--threads", "1",
                            "-q", "--json"], capture_output=True, check=True)
            took = time.perf_counter() - start
            spread = f" ± {statistics.stdev(scores):.1f}" if args.seeds > 1 else ""
            mean, trained = statistics.mean(scores), statistics.median(seconds)
            print(f"| {part} | {mean:.1f}{spread} | {trained:.0f} | {took:.1f} |", flush=True)


if __name__ == "__main__":
    main()
