"""How faithful `linocut predict --explain` is, beside masking words in place of leaving them out.

    linocut train --task TASK --limit 400 --out task.cut
    python bench/explain.py task.cut TASK/dev.tsv

Words are ranked three ways: by what the predicted label's probability loses when a word is left out (as --explain does), when [MASK]
stands in its place, and by chance. Then the first k words of each order are taken from the text together, once by leaving them out and once
by masks: the more the label's probability falls, the better the order says what the decision rests on.
LINOCUT_BASE names the base, whose tokenizer must know [MASK].
"""

import argparse
import json
import random
import subprocess

WAYS = ["left out", "masked"]


def predict(linocut, cut, texts, *more):
    command = [linocut, "predict", cut, "--json", "--quiet", *more]
    lines = subprocess.run(command, input="".join(f"{text}\n" for text in texts), capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in lines.splitlines()]


def without(text, words, way):
    """The text without some of its words."""
    data = text.encode()
    for word in sorted(words, key=lambda word: -word["start"]):
        before, after = data[: word["start"]].rstrip(), data[word["end"] :].lstrip()
        data = before + (b" " if way == "left out" else b" [MASK] ") + after
    return data.decode()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cut")
    parser.add_argument("rows", help="TSV whose first column is the text")
    parser.add_argument("--texts", type=int, default=200)
    parser.add_argument("--linocut", default="target/release/linocut")
    args = parser.parse_args()
    lines = open(args.rows, encoding="utf-8").read().splitlines()[1:]
    texts = [line.split("\t")[0] for line in lines]

    explained = predict(args.linocut, args.cut, texts, "--explain")
    chosen = [(text, said) for text, said in zip(texts, explained) if len(said["explanation"]) >= 5][: args.texts]
    ask = lambda texts: predict(args.linocut, args.cut, texts)
    masked = iter(ask([without(text, [word], "masked") for text, said in chosen for word in said["explanation"]]))
    orders = {"left out": [], "masked": [], "chance": []}
    for text, said in chosen:
        words, label = said["explanation"], said["explained"]
        orders["left out"].append(sorted(words, key=lambda word: -word["change"]))
        falls = [said["scores"][label] - next(masked)["scores"][label] for _ in words]
        orders["masked"].append([words[i] for i in sorted(range(len(words)), key=lambda i: -falls[i])])
        orders["chance"].append(random.Random(text).sample(words, len(words)))

    print(f"{len(chosen)} texts of 5 words or more; the label's probability is {mean(said['scores'][said['explained']] for _, said in chosen):.3f}\n")
    print("| words by | " + " | ".join(f"{k} {way}" for way in WAYS for k in (1, 2, 3)) + " |\n|---|" + "--:|" * 6)
    for name, order in orders.items():
        cells = []
        for way in WAYS:
            for k in (1, 2, 3):
                found = ask([without(text, words[:k], way) for (text, _), words in zip(chosen, order)])
                falls = [said["scores"][said["explained"]] - less["scores"][said["explained"]] for (_, said), less in zip(chosen, found)]
                cells.append(f"{100 * mean(falls):.1f}")
        print(f"| {name} | " + " | ".join(cells) + " |")


def mean(values):
    values = list(values)
    return sum(values) / len(values)


if __name__ == "__main__":
    main()
