"""Reads a packed cut by docs/cut-format.md alone and compares it with the model it was packed from.

    python reference/check_packed.py models/all-minilm-l6-v2 packed.cut tuned-folder

A cut packed without loss must give every encoder tensor bit for bit. Of one packed to a budget the
relative error left in every tensor, in float64, must be what the card says, to its four digits.
Shares no code with linocut. Needs numpy, safetensors and zstandard; f32 models only.
"""

import json
import sys
from pathlib import Path

import numpy as np
import zstandard
from safetensors import safe_open
from safetensors.numpy import load_file


def main(base, cut, tuned):
    base, tuned = load_file(Path(base) / "model.safetensors"), load_file(Path(tuned) / "model.safetensors")
    with safe_open(cut, "np") as file:
        card = json.loads(file.metadata()["linocut"])
        streams = {name: file.get_tensor(name) for name in file.keys() if "/" in name}
    left, checked, worst = card["training"].get("left"), 0, 0.0
    for name, before in base.items():
        after = tuned.get(name, tuned.get(f"bert.{name}"))
        if after is None or name.endswith("position_ids"):
            continue
        note = card["tensors"].get(name)
        found = before
        if note:
            found = EDITS[note["edit"]](before, streams[f"{note['edit']}/{name}"], note)
        if left is None:
            assert (bits(found) == bits(after)).all(), f"{name}: other bits"
        elif name in left:
            moved = np.linalg.norm((after.astype(np.float64) - before).ravel())
            share = np.linalg.norm((after.astype(np.float64) - found).ravel()) / moved
            worst = max(worst, abs(share - left[name]))
            assert abs(share - left[name]) <= 0.51e-4, f"{name}: {share} left, the card says {left[name]}"
        checked += 1
    how = "bit for bit" if left is None else f"errors left as the card says, within {worst:.1e}"
    print(f"{cut}: {checked} tensors {how}")


def bits(values):
    return np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)


def zeros(base, stream, note):
    values = base.copy().ravel()
    values[positions(stream.tobytes(), values.size)] = 0.0
    return values.reshape(base.shape)


def replace(base, stream, note):
    return stream if stream.dtype == np.float32 else bfloat16(stream.view(np.uint16))


def delta(base, stream, note):
    assert note["store"] == "f32"
    content = np.frombuffer(zstandard.decompress(stream.tobytes()), np.uint8)
    n, rows = base.size, base.size // base.shape[-1]
    near = base
    if content.size != 4 * n:
        factors = content[: 4 * rows].view(np.float32)
        near = base * factors.reshape(*base.shape[:-1], 1)
        content = content[4 * rows :]
    planes = content.reshape(4, n).astype(np.uint32)
    coded = planes[0] << 24 | planes[1] << 16 | planes[2] << 8 | planes[3]
    order = np.argsort(bits(base).ravel() >> 23 & 0xFF, kind="stable")
    step = np.empty(n, np.uint32)
    step[order] = coded >> 1 ^ (0 - (coded & 1)).astype(np.uint32)
    place = bits(near).ravel()
    place = np.where(place >> 31, ~place, place | np.uint32(1 << 31)) + step
    found = np.where(place >> 31, place & np.uint32(0x7FFFFFFF), ~place)
    return found.astype(np.uint32).view(np.float32).reshape(base.shape)


def sparse(base, stream, note):
    chosen, rest = prefixed(stream.tobytes(), base.size)
    amounts = bfloat16(np.frombuffer(rest, np.uint16)) if note["store"] == "bf16" else np.frombuffer(rest, np.float32)
    values = base.copy().ravel()
    values[chosen] += amounts
    return values.reshape(base.shape)


def sign(base, stream, note):
    columns = base.shape[-1]
    rows, rest = prefixed(stream.tobytes(), base.size // columns)
    amounts = bfloat16(np.frombuffer(rest[: 2 * len(rows)], np.uint16))
    down = np.unpackbits(np.frombuffer(rest[2 * len(rows) :], np.uint8), bitorder="little")
    down = down[: len(rows) * columns].reshape(-1, columns).astype(bool)
    values = base.reshape(-1, columns).copy()
    values[rows] += np.where(down, -amounts[:, None], amounts[:, None])
    return values.reshape(base.shape)


EDITS = {"zeros": zeros, "replace": replace, "delta": delta, "sparse": sparse, "sign": sign}


def bfloat16(halves):
    return (halves.astype(np.uint32) << 16).view(np.float32)


def leb128(stream, at):
    value = shift = 0
    while True:
        value |= (stream[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if stream[at - 1] < 0x80:
            return value, at


def prefixed(stream, n):
    size, at = leb128(stream, 0)
    return positions(stream[at : at + size], n), stream[at + size :]


def positions(stream, n):
    """Coded positions among n: a bitmap, or Golomb gaps."""
    if stream[0] == 0:
        return np.flatnonzero(np.unpackbits(np.frombuffer(stream[1:], np.uint8), bitorder="little")[:n])
    count, at = leb128(stream, 1)
    m, at = leb128(stream, at)
    given = np.unpackbits(np.frombuffer(stream[at:], np.uint8), bitorder="little").tolist()
    width = (m - 1).bit_length()
    short = (1 << width) - m
    found, at, position = [], 0, -1
    for _ in range(count):
        quotient = given.index(1, at) - at
        at += quotient + 1
        # Truncated binary: all bits but the lowest first, from their lowest up; then, in long words, that.
        high = sum(bit << i for i, bit in enumerate(given[at : at + max(width - 1, 0)]))
        at += max(width - 1, 0)
        if width > 0 and high >= short:
            high, at = (high << 1 | given[at]) - short, at + 1
        position += quotient * m + high + 1
        found.append(position)
    return np.array(found, dtype=np.int64)


if __name__ == "__main__":
    main(*sys.argv[1:])
