"""Labels every row of Parquet files with many tasks, on several workers with one bank each.

    pip install "ray[data]" aiohttp
    python examples/ray/score.py texts.parquet labelled --base models/all-minilm-l6-v2 --cuts quickstart --workers 2

Each worker loads the base once and bounds its threads by the cores that Ray gives it. A worker that dies is started again,
and its batch with it. Ray reads with a core of its own: with as many workers as cores it would wait for one for ever.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
import ray

import linocut


class Score:
    """A bank that answers batches: a label and a score of every task, beside the columns that were there."""

    def __init__(self, base: str, cuts: list[str], text: str, threads: int):
        linocut.set_threads(threads)
        self.bank = linocut.Bank(linocut.Base(base))
        for path in cuts:
            self.bank[Path(path).stem] = linocut.Cut(path)
        self.text = text

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        answers = self.bank.predict(batch[self.text])
        for task, found in answers.items():
            batch[f"{task}_label"] = np.array(found.labels)
            batch[f"{task}_score"] = found.scores.max(axis=1)
        return batch


def score(rows, base, cuts, *, text="text", workers=2, threads=1, batch=256, kind=Score):
    """The rows of a Ray data set with the answers of all tasks."""
    # A worker takes a block at a time: of a file that is one block, one worker would do all.
    blocks = rows.repartition(target_num_rows_per_block=4 * batch)
    return blocks.map_batches(
        kind,
        fn_constructor_kwargs={"base": str(base), "cuts": [str(cut) for cut in cuts], "text": text, "threads": threads},
        batch_size=batch,
        concurrency=workers,
        num_cpus=threads,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("rows", help="Parquet file or folder")
    parser.add_argument("out", help="folder for the labelled rows")
    parser.add_argument("--base", required=True)
    parser.add_argument("--cuts", required=True, help="folder of cuts")
    parser.add_argument("--text", default="text", help="column of the text")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="of each worker")
    args = parser.parse_args()
    if "RAY_ADDRESS" not in os.environ:
        ray.init(num_cpus=args.workers * args.threads + 1)
    # Workers do not stand in this folder.
    base, cuts = Path(args.base).resolve(), sorted(Path(args.cuts).resolve().glob("*.cut"))
    rows = ray.data.read_parquet(args.rows)
    begun = time.monotonic()
    labelled = score(rows, base, cuts, text=args.text, workers=args.workers, threads=args.threads)
    labelled.write_parquet(args.out)
    seconds, count = time.monotonic() - begun, rows.count()
    print(f"{count} rows, {len(cuts)} tasks, {args.workers} workers: {count / seconds:.0f} rows a second")


if __name__ == "__main__":
    main()
