"""Many training runs side by side on one GPU: linocut's methods and their rivals, in plain PyTorch.

    python bench/gpu/prepare.py --base models/all-minilm-l6-v2 --out DATA      # where the base and the tasks are
    python bench/gpu/study.py --data DATA --plan plan.json --out runs.jsonl    # where the GPU is

A plan is a list of groups: one task, one arm, and runs that differ in numbers alone (seed, rates, dropout, ...). The
runs of a group are computed at once: every trained tensor has a first dimension R, one slice a run. Texts are packed
without padding, as linocut packs them; what each arm trains, where scores start, schedule, clipping, AdamW and the
one second moment a masked matrix are linocut's (crates/linocut/src/tune), so that a recipe found here can be used
there. Random numbers are PyTorch's: runs agree with linocut's in distribution, not in bits.

Products are in TF32 on a GPU. Each run is one line of JSON, appended when its group ends; groups whose runs are all in
the file are passed over. `--save` keeps the zeros of masks, so that linocut can store and score them.
"""

import argparse
import json
import math
import os
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

sys.modules["study"] = sys.modules[__name__]  # `slim` builds on this file's classes
import slim  # noqa: E402

MATRICES = ["q", "k", "v", "o", "i", "f"]  # query, key, value, attention output, intermediate, output
BUDGET = float(os.environ.get("GPU_BUDGET", 11e9))  # bytes of a group's state, about; runs beyond it form another batch
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


# ---- data ----


class Task:
    """Tokens of one task for one base, on the device. Texts lie back to back in `ids`."""

    def __init__(self, folder, base, name, limit, extra=None):
        about = json.loads((folder / "tasks" / f"{name}.json").read_text())
        data = np.load(folder / "tasks" / f"{name}.{base}.npz")
        self.name, self.about = name, about
        self.outputs = max(1, len(about["labels"]))
        self.regression = not about["labels"]
        used = np.unique(np.concatenate([data["train_ids"], data["dev_ids"]]))
        self.vocab = torch.from_numpy(used.astype(np.int64))
        place = np.zeros(65536, np.int64)
        place[used] = np.arange(len(used))
        self.sets = {}
        for part in ["train", "dev"]:
            lens = data[f"{part}_lens"].astype(np.int64)
            first = data[f"{part}_first"].astype(np.int64)
            labels = data[f"{part}_labels"]
            if part == "train" and limit:
                lens, first, labels = lens[:limit], first[:limit], labels[:limit]
            longest = int(lens.max())
            starts = np.concatenate([[0], np.cumsum(lens)])[:-1]
            ids = np.zeros((len(lens), longest), np.int64)
            for row, (start, length) in enumerate(zip(starts, lens)):
                ids[row, :length] = place[data[f"{part}_ids"][start : start + length]]
            self.sets[part] = {
                "ids": torch.from_numpy(ids).to(DEVICE),
                "lens": torch.from_numpy(lens).to(DEVICE),
                "first": torch.from_numpy(first).to(DEVICE),  # tokens of the first segment
                "labels": torch.from_numpy(labels).to(DEVICE),
                "host_lens": lens,
                "rows": len(lens),
            }
        if self.regression:
            labels = self.sets["train"]["labels"].double()
            mean, spread = labels.mean(), labels.std(unbiased=False)
            self.sets["train"]["labels"] = ((labels - mean) / spread).float()


class Batch:
    """Rows [R, B] of a part of a task, packed: M tokens a run, some of them room at the end."""

    def __init__(self, part, rows):
        runs, size = rows.shape
        # On the host, so that the device need not be waited for.
        host = part["host_lens"][rows.numpy()]
        self.rows = rows = rows.to(DEVICE)
        lens = part["lens"][rows]  # [R, B]
        longest, tokens = int(host.max()), int(host.sum(1).max())
        tokens = -(-tokens // 8) * 8
        at = torch.arange(longest, device=DEVICE)
        self.real = at < lens[:, :, None]  # [R, B, T]
        ends = lens.cumsum(1)
        # Where each place of [R, B, T] lies in [R, M] (0 where there is none), and back.
        unpack = (ends - lens)[:, :, None] + at
        self.unpack = torch.where(self.real, unpack, 0) + tokens * torch.arange(runs, device=DEVICE)[:, None, None]
        slot = torch.arange(tokens, device=DEVICE).expand(runs, tokens).contiguous()
        row = torch.searchsorted(ends, slot, right=True)  # [R, M]
        self.room = row >= size
        row = row.clamp(max=size - 1)
        place = (slot - (ends - lens).gather(1, row)).clamp(0, longest - 1)
        self.pack = (torch.arange(runs, device=DEVICE)[:, None] * size + row) * longest + place
        source = rows.gather(1, row)
        self.ids = part["ids"][source, place.clamp(max=part["ids"].shape[1] - 1)]  # [R, M]
        self.places = place
        self.types = (place >= part["first"][source]).long()
        self.lens, self.longest, self.tokens = lens, longest, tokens
        # Mean pooling as a product: [R, B, M].
        mine = (row[:, None, :] == torch.arange(size, device=DEVICE)[None, :, None]) & ~self.room[:, None, :]
        self.pool = mine.float() / lens[:, :, None]


class Take(torch.autograd.Function):
    """Rows of x by index, for an index of which every wanted row occurs once: the gradient is a take back."""

    @staticmethod
    def forward(ctx, x, index, back, keep):
        ctx.save_for_backward(back, keep)
        return x.index_select(0, index)

    @staticmethod
    def backward(ctx, grad):
        back, keep = ctx.saved_tensors
        return grad.index_select(0, back) * keep, None, None, None


class Draw(torch.autograd.Function):
    """1 with probability sigmoid(score), else 0; straight through with the derivative of sigmoid."""

    @staticmethod
    def forward(ctx, scores):
        p = torch.sigmoid(scores)
        ctx.save_for_backward(p)
        return (torch.rand_like(p) < p).to(scores.dtype)

    @staticmethod
    def backward(ctx, grad):
        (p,) = ctx.saved_tensors
        return grad * torch.addcmul(p, p, p, value=-1)


def drop(x, p):
    """Dropout with a probability a run; p is [R] or None."""
    if p is None:
        return x
    keep = (1 - p).reshape([-1] + [1] * (x.dim() - 1))
    return x * (torch.rand_like(x) < keep).to(x.dtype) / keep


# ---- model ----


class Base:
    """The pretrained tensors by name, and the encoder's forward pass over any values of them."""

    def __init__(self, folder, name):
        self.config = json.loads((folder / f"{name}.json").read_text())
        sizes = self.config["tensors"]
        parts = sorted(folder.glob(f"{name}.[0-9]*"))
        flat = np.concatenate([np.fromfile(part, np.uint8) for part in parts])
        if self.config["short"]:
            flat = np.pad(flat.reshape(3, -1).T, ((0, 0), (1, 0)))
        flat = np.ascontiguousarray(flat).reshape(-1).view(np.float32)
        assert len(flat) == sum(math.prod(s) for s in sizes.values()), "the base is not here in full"
        self.tensors, at = {}, 0
        for key, shape in sizes.items():
            self.tensors[key] = torch.from_numpy(flat[at : at + math.prod(shape)].reshape(shape).copy()).to(DEVICE)
            at += math.prod(shape)
        self.layers, self.heads = self.config["layers"], self.config["heads"]
        self.rows = torch.tensor(self.config["rows"])  # which rows of the word table are here

    def words(self, vocab):
        """The word table's rows of these ids."""
        return self.tensors["words"][torch.searchsorted(self.rows, vocab).to(DEVICE)]

    def forward(self, get, batch, dropout, lowest=0, extra=None, gates=None):
        """Pooled vectors [R, B, H]. `get(name)` is a tensor [...] of the base or [R, ...] of the runs. Layers below
        `lowest`, which are frozen, have no dropout. `gates`: factors of heads [R, layers, heads] and neurons [R, layers,
        neurons]."""
        eps = self.config["eps"]
        runs, tokens = batch.ids.shape

        def pick(table, index):
            if table.dim() == 2:
                return F.embedding(index, table)
            offset = torch.arange(runs, device=DEVICE).reshape([-1] + [1] * (index.dim() - 1)) * table.shape[1]
            return F.embedding(index + offset, table.reshape(-1, table.shape[2]))

        def norm(x, name):
            scale, shift = get(name + ".scale"), get(name + ".shift")
            if scale.dim() == shift.dim() == 1:
                return F.layer_norm(x, x.shape[-1:], scale, shift, eps)
            wide = lambda t: t if t.dim() == 1 else t[:, None]
            return F.layer_norm(x, x.shape[-1:], eps=eps) * wide(scale) + wide(shift)

        def linear(x, name):
            weight, bias = get(name + ".w"), get(name + ".b")
            if weight.dim() == 2:
                y = F.linear(x, weight)
            else:
                y = torch.bmm(x, weight.transpose(1, 2))
            y = y + (bias if bias.dim() == 1 else bias[:, None])
            return extra(x, y, name) if extra else y

        x = pick(get("words"), batch.ids) + pick(get("positions"), batch.places + self.config["first_position"])
        if "types" in self.tensors:
            x = x + pick(get("types"), batch.types)
        p = dropout if lowest == 0 else None
        x = drop(norm(x, "emb"), p)
        size, longest = batch.rows.shape[1], batch.longest
        mask = torch.zeros(batch.real.shape, device=DEVICE).masked_fill(~batch.real, -1e9)[:, :, None, None, :]
        if "relative" in self.tensors:
            rel = pick(get("relative"), self.buckets(longest).expand(runs, longest, longest))  # [R, T, T, heads]
            mask = mask + rel.permute(0, 3, 1, 2)[:, None]
        real, room = batch.real.reshape(-1, 1).to(x.dtype), (~batch.room).reshape(-1, 1).to(x.dtype)
        unpack, pack = batch.unpack.reshape(-1), batch.pack.reshape(-1)
        width = x.shape[-1] // self.heads
        for layer in range(self.layers):
            p = dropout if layer >= lowest else None
            name = f"{layer}."
            qkv = torch.cat([linear(x, name + m) for m in "qkv"], -1)
            qkv = Take.apply(qkv.reshape(runs * tokens, -1), unpack, pack, room)
            q, k, v = (
                t.reshape(runs, size, longest, self.heads, width).transpose(2, 3) for t in qkv.chunk(3, -1)
            )
            weight = drop(torch.softmax(q @ k.transpose(-1, -2) * width**-0.5 + mask, -1), p)
            context = (weight @ v).transpose(2, 3).reshape(runs * size * longest, -1)
            context = Take.apply(context, pack, unpack, real).reshape(runs, tokens, -1)
            if gates:
                context = context * gates[0][:, layer].repeat_interleave(width, 1)[:, None]
            x = norm(x + drop(linear(context, name + "o"), p), name + "norm1")
            inner = F.gelu(linear(x, name + "i"))
            if gates:
                inner = inner * gates[1][:, layer, None]
            x = norm(x + drop(linear(inner, name + "f"), p), name + "norm2")
        return torch.bmm(batch.pool, x)

    def buckets(self, n):
        """MPNet's relative positions, as T5's bidirectional buckets: 32, of distances up to 128."""
        at = torch.arange(n, device=DEVICE)
        distance = at[None, :] - at[:, None]
        half, exact = 16, 8
        bucket = (distance > 0).long() * half
        d = distance.abs()
        far = exact + (torch.log(d.clamp(min=1).float() / exact) / math.log(128 / exact) * (half - exact)).long()
        return bucket + torch.where(d < exact, d, far.clamp(max=half - 1))


# ---- what is trained ----


def by_pattern(base, arm):
    """Names of the tensors that an arm trains as they are."""
    what = arm.get("train", "none")
    layers = [str(i) for i in range(base.layers)]
    names = [n for n in base.tensors]
    inside = [n for n in names if n.split(".")[0] in layers]
    if what == "full":
        return names
    if what == "paper":  # all but the word table, the key projections and the two deepest layers
        deep = [str(base.layers - 1), str(base.layers - 2)]
        return [n for n in names if n != "words" and ".k." not in n and n.split(".")[0] not in deep]
    if what == "bias":
        return [n for n in names if n.endswith((".b", ".shift"))]
    if what == "layers":
        return [n for n in inside if int(n.split(".")[0]) in arm["layers"]]
    if what == "kinds":
        return [n for n in inside if n.split(".")[1] in arm["kinds"] or n.endswith((".b", ".shift", ".scale"))]
    return []


class Group:
    """Runs of one arm on one task, trained at once."""

    def __init__(self, base, task, arm, runs, epochs, batch):
        self.base, self.task, self.arm, self.runs = base, task, arm, runs
        self.epochs, self.size, self.R = epochs, batch, len(runs)
        value = lambda key, default: torch.tensor([float(run.get(key, default)) for run in runs], device=DEVICE)
        self.steps_an_epoch = -(-task.sets["train"]["rows"] // batch)
        self.steps = epochs * self.steps_an_epoch
        self.lr, self.mask_lr, self.head_lr = value("lr", 1e-4), value("mask_lr", 0.1), value("head_lr", 1e-3)
        self.dropout = value("dropout", 0.1)
        self.warmup = round(0.1 * self.steps)
        self.frozen = dict(base.tensors, words=base.words(task.vocab))
        self.gates = None  # what slim runs keep: heads [R, layers, heads] and neurons [R, layers, neurons] of 0 and 1
        self.taught = None  # a teacher's outputs for the training rows, [R, rows, outputs]
        generator = lambda salt: [torch.Generator().manual_seed(int(run.get("seed", 0)) * 1000 + salt) for run in runs]
        R, H = self.R, base.tensors["emb.scale"].shape[0]

        head = torch.stack([0.02 * torch.randn(task.outputs, H, generator=g) for g in generator(1)])
        self.head = head.to(DEVICE).requires_grad_()
        self.head_bias = torch.zeros(R, task.outputs, device=DEVICE, requires_grad=True)
        # Trained as they are: those that decay first.
        names = by_pattern(base, arm)
        decays = lambda n: n.endswith(".w") or n in ("words", "positions", "types", "relative")
        self.names = sorted(names, key=lambda n: not decays(n))
        self.decaying = sum(self.frozen[n].numel() for n in self.names if decays(n))
        self.flat = None
        if self.names:
            flat = torch.cat([self.frozen[n].reshape(-1) for n in self.names])
            self.flat = flat.expand(R, -1).clone().requires_grad_()
        kinds = arm.get("matrices", MATRICES)
        chosen = [f"{i}.{m}" for i in arm.get("in_layers", range(base.layers)) for m in kinds]
        # Masks.
        self.masked = [f"{m}.w" for m in chosen] if arm.get("mask") else []
        self.scores = None
        if self.masked:
            unit = arm["mask"]  # entry, row, column or block
            self.shapes = [self.unit_shape(self.frozen[n], unit) for n in self.masked]
            c = value("c", 6.0 if not arm.get("c_by_steps") else min(8.0, max(6.0, 6 * (self.steps / 1300) ** 0.5)))
            scores = c[:, None].expand(R, sum(math.prod(s) for s in self.shapes)).clone()
            at = 0
            for name, shape in zip(self.masked, self.shapes):
                n = math.prod(shape)
                if unit == "entry" and any("above" in run for run in runs):
                    size = self.frozen[name].abs().reshape(-1)
                    order = size.sort().values
                    for r, run in enumerate(runs):
                        share = run.get("above", 1.0)
                        if share < 1:
                            least = order[min(n - 1, int(n * (1 - share)))]
                            scores[r, at : at + n].masked_fill_(size < least, 30.0)
                at += n
            self.scores = scores.requires_grad_()
            self.sizes = torch.tensor([math.prod(s) for s in self.shapes], device=DEVICE)
        # Low-rank factors, as PEFT draws them; or VeRA: shared random factors, two trained vectors.
        self.low, self.vera, self.scale = [], [], []
        if rank := arm.get("rank"):
            for m in chosen:
                out, into = self.frozen[m + ".w"].shape
                a = [(torch.rand(rank, into, generator=g) * 2 - 1) / into**0.5 for g in generator(hash_of(m))]
                self.low += [torch.stack(a).to(DEVICE).requires_grad_()]
                self.low += [torch.zeros(R, out, rank, device=DEVICE, requires_grad=True)]
        if rank := arm.get("vera"):
            widest = max(max(self.frozen[m + ".w"].shape) for m in chosen)
            g = torch.Generator().manual_seed(17)
            self.vera_a = (torch.randn(rank, widest, generator=g) * (1 / rank) ** 0.5).to(DEVICE)
            self.vera_b = (torch.randn(widest, rank, generator=g) * (1 / rank) ** 0.5).to(DEVICE)
            for m in chosen:
                out, _ = self.frozen[m + ".w"].shape
                self.vera += [torch.full((R, rank), 0.1, device=DEVICE).requires_grad_()]
                self.vera += [torch.zeros(R, out, device=DEVICE, requires_grad=True)]
        if arm.get("scale"):
            self.scale = [torch.ones(R, self.frozen[m + ".w"].shape[0], device=DEVICE).requires_grad_() for m in chosen]
        self.place = {m: i for i, m in enumerate(chosen)}
        # Layers below the lowest trained one have no dropout, as in linocut; `drop_frozen` is for the question
        # whether that matters.
        used = [n for n in self.names + self.masked] + (
            [m + ".w" for m in chosen] if self.low or self.vera or self.scale else []
        )
        layers = [int(n.split(".")[0]) if n.split(".")[0].isdigit() else 0 for n in used]
        self.lowest = 0 if arm.get("drop_frozen") else min(layers, default=base.layers)

        self.small = self.low + self.vera + self.scale
        zero = torch.zeros_like
        self.moments = [(zero(t), zero(t)) for t in [self.head, self.head_bias] + self.small]
        if self.flat is not None:
            self.flat_moments = (zero(self.flat), zero(self.flat))
        if self.scores is not None:
            self.score_mean = zero(self.scores)
            self.score_square = torch.zeros(R, len(self.masked), device=DEVICE)

    @staticmethod
    def unit_shape(weight, unit):
        out, into = weight.shape
        return {"entry": (out, into), "row": (out, 1), "column": (1, into), "block": (out, into // 16)}[unit]

    def trained(self):
        """Numbers a run trains and stores in 16 bits beside zeros, without the head."""
        flat = 0 if self.flat is None else self.flat[0].numel()
        return flat + sum(t[0].numel() for t in self.small)

    def getter(self, masks):
        """The values of this step: `masks` is [R, entries] of 0 and 1, or None."""
        values = dict(self.frozen)
        if self.flat is not None:
            parts = self.flat.split([self.frozen[n].numel() for n in self.names], 1)
            values |= {n: p.reshape(self.R, *self.frozen[n].shape) for n, p in zip(self.names, parts)}
        if masks is not None:
            parts = masks.split([math.prod(s) for s in self.shapes], 1)
            for name, shape, part in zip(self.masked, self.shapes, parts):
                weight, part = self.frozen[name], part.reshape(self.R, *shape)
                if self.arm["mask"] == "block":
                    part = part.repeat_interleave(16, 2)
                values[name] = weight * part
        return values.__getitem__

    def extra(self, x, y, name):
        at = self.place.get(name)
        if at is None:
            return y
        if self.low:
            a, b = self.low[2 * at], self.low[2 * at + 1]
            y = y + torch.bmm(torch.bmm(x, a.transpose(1, 2)), b.transpose(1, 2))
        if self.vera:
            d, b = self.vera[2 * at], self.vera[2 * at + 1]
            out, into = y.shape[-1], x.shape[-1]
            narrow = F.linear(x, self.vera_a[:, :into]) * d[:, None]
            y = y + F.linear(narrow, self.vera_b[:out]) * b[:, None]
        if self.scale:
            y = y * self.scale[at][:, None]
        return y

    @torch.no_grad()
    def moved(self, r):
        """How far run `r` is from the base by layer: angles over pi, as `linocut measure` gives them."""
        ours, parts = self.getter(None), {}
        for name in self.names:
            if name == "words":
                continue
            layer = name.split(".")[0] if name.split(".")[0].isdigit() else "embeddings"
            parts.setdefault(layer, []).append((self.frozen[name].double().reshape(-1), ours(name)[r].double().reshape(-1)))
        angles = {}
        for layer, pairs in parts.items():
            u, v = (torch.cat(side) for side in zip(*pairs))
            half = (u / u.norm() - v / v.norm()).norm() / 2
            angles[layer] = round(float(2 * torch.asin(half) / math.pi), 6)
        return angles

    def logits(self, get, batch, dropout, lowest):
        extra = self.extra if self.small else None
        pooled = drop(self.base.forward(get, batch, dropout, lowest, extra, self.gates), dropout)
        return torch.bmm(pooled, self.head.transpose(1, 2)) + self.head_bias[:, None]

    def train(self, watch=None):
        """`watch.gates(step)` are gates to use in place of the runs', and `watch.see(step, grads)` hears their gradients."""
        part = self.task.sets["train"]
        orders = []
        for epoch in range(self.epochs):
            g = [torch.Generator().manual_seed(int(r.get("seed", 0)) * 1000 + 500 + epoch) for r in self.runs]
            orders.append(torch.stack([torch.randperm(part["rows"], generator=g) for g in g]))
        losses = torch.zeros(self.R, device=DEVICE)
        diverged = torch.zeros(self.R, dtype=torch.bool, device=DEVICE)
        for step in range(self.steps):
            epoch, at = divmod(step, self.steps_an_epoch)
            batch = Batch(part, orders[epoch][:, at * self.size : (at + 1) * self.size])
            masks = None if self.scores is None else Draw.apply(self.scores)
            if watch:
                self.gates = watch.gates(step)
            logits = self.logits(self.getter(masks), batch, self.dropout, self.lowest)
            labels = part["labels"][batch.rows]
            if self.task.regression:
                each = F.mse_loss(logits[..., 0], labels, reduction="none").mean(1)
            else:
                each = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
                each = each.reshape(self.R, -1).mean(1)
            if self.taught is not None:
                teacher = self.taught.gather(1, batch.rows[..., None].expand(-1, -1, self.task.outputs))
                each = (each + self.beside(logits, teacher)) / 2
            leaves = [self.head, self.head_bias] + self.small
            leaves += [t for t in (self.flat, self.scores) if t is not None]
            grads = torch.autograd.grad(each.sum(), leaves + (watch.leaves() if watch else []))
            if watch:
                watch.see(step, grads[len(leaves) :])
                grads = grads[: len(leaves)]
            with torch.no_grad():
                self.update(step, list(grads))
            if epoch == self.epochs - 1:
                losses += each.detach() / self.steps_an_epoch
            diverged |= ~each.detach().isfinite()
        return losses, diverged

    def beside(self, logits, teacher):
        """A run's mean loss beside a teacher, as linocut's (crates/linocut/src/kernels/loss.rs): T = 2."""
        if self.task.regression:
            return F.mse_loss(logits[..., 0], teacher[..., 0], reduction="none").mean(1)
        own, its = (F.log_softmax(z / 2, -1) for z in (logits, teacher))
        return 4 * (its.exp() * (its - own)).sum(-1).mean(1)

    def update(self, step, grads):
        factor = (step + 1) / self.warmup if step < self.warmup else (self.steps - step) / (self.steps - self.warmup)
        t, b1, b2 = step + 1, 0.9, 0.999
        run = lambda v, like: v.reshape([-1] + [1] * (like.dim() - 1))
        square = lambda g: g.reshape(self.R, -1).square().sum(1)
        score = grads.pop() if self.scores is not None else None
        norm = sum(square(g) for g in grads).sqrt()
        clip = (1 / (norm + 1e-6)).clamp(max=1)
        flat = grads.pop() if self.flat is not None else None
        tensors = [self.head, self.head_bias] + self.small
        decays = [True, False] + [bool(self.low or self.vera)] * len(self.small)
        for i, (p, g, (m, v)) in enumerate(zip(tensors, grads, self.moments)):
            lr = factor * (self.head_lr if i < 2 else self.lr)
            g = g * run(clip, g)
            m.lerp_(g, 1 - b1)
            v.lerp_(g * g, 1 - b2)
            if decays[i]:
                p.mul_(1 - 0.01 * run(lr, p))
            p.sub_(run(lr, p) / (1 - b1**t) * m / (v.sqrt() / (1 - b2**t) ** 0.5 + 1e-8))
        if flat is not None:
            self.update_flat(flat.mul_(clip[:, None]), factor, t)
        if score is not None:
            norms = torch.stack([square(g) for g in score.split([math.prod(s) for s in self.shapes], 1)], 1)
            clip = (1 / (norms.sum(1).sqrt() + 1e-6)).clamp(max=1)
            self.score_square.lerp_(norms * clip[:, None] ** 2 / self.sizes, 1 - b2)
            self.score_mean.lerp_(score.mul_(clip[:, None]), 1 - b1)
            root = self.score_square.sqrt() / (1 - b2**t) ** 0.5 + 1e-16
            rate = factor * self.mask_lr[:, None] / (1 - b1**t) / root  # [R, matrices]
            at = 0
            for i, shape in enumerate(self.shapes):
                n = math.prod(shape)
                self.scores[:, at : at + n].addcmul_(self.score_mean[:, at : at + n], rate[:, i : i + 1], value=-1)
                at += n

    def update_flat(self, grad, factor, t):
        """AdamW in one pass a run, PyTorch's fused kernel."""
        step = torch.tensor(float(t), device=DEVICE)
        m, v = self.flat_moments
        for r in range(self.R):
            lr = float(self.runs[r].get("lr", 1e-4)) * factor
            for part, decay in [(slice(0, self.decaying), 0.01), (slice(self.decaying, None), 0.0)]:
                p = self.flat.data[r, part]
                if p.numel():
                    torch._fused_adamw_(
                        [p], [grad[r, part]], [m[r, part]], [v[r, part]], [], [step], lr=lr, beta1=0.9,
                        beta2=0.999, weight_decay=decay, eps=1e-8, amsgrad=False, maximize=False,
                    )  # fmt: skip

    @torch.no_grad()
    def predict(self, masks, part="dev"):
        """Logits [R, rows, outputs] of the finished runs."""
        data, get = self.task.sets[part], self.getter(masks)
        order = torch.from_numpy(np.argsort(-data["host_lens"], kind="stable"))
        out = torch.zeros(self.R, data["rows"], self.task.outputs, device=DEVICE)
        for rows in order.split(64):
            logits = self.logits(get, Batch(data, rows.expand(self.R, -1)), None, self.base.layers)
            out[:, rows.to(DEVICE)] = logits
        return out.float().cpu().numpy()

    @torch.no_grad()
    def finished(self, share=1.0):
        """The finished masks: of the scores below 0 the lowest `share`."""
        if self.scores is None:
            return None
        least = torch.zeros(self.R, device=DEVICE)
        if share < 1:
            for r, scores in enumerate(self.scores):
                below = scores[scores < 0].sort().values
                if len(below):
                    least[r] = below[int(share * len(below))]
        return (self.scores >= least[:, None]).float()


def hash_of(text):
    return zlib.crc32(text.encode()) % 400


# ---- scores ----


def score(task, logits):
    """The task's own metric in points, as linocut's."""
    labels = task.sets["dev"]["labels"].cpu().numpy()
    metric, about = task.about["metric"], task.about
    if task.regression:
        x, y = logits[:, 0].astype(np.float64), labels.astype(np.float64)
        ranks = lambda a: average_ranks(a)
        corr = lambda a, b: float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 else 0.0
        return 50 * (corr(x, y) + corr(ranks(x), ranks(y)))
    found = logits.argmax(1)
    if metric == "accuracy":
        return 100 * float((found == labels).mean())
    if metric == "matthews":
        tp, tn = ((found == 1) & (labels == 1)).sum(), ((found == 0) & (labels == 0)).sum()
        fp, fn = ((found == 1) & (labels == 0)).sum(), ((found == 0) & (labels == 1)).sum()
        under = math.sqrt(float(tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
        return 100 * float(tp * tn - fp * fn) / under if under else 0.0

    def f1(label):
        tp = ((found == label) & (labels == label)).sum()
        rest = (found == label).sum() + (labels == label).sum()
        return float(2 * tp / rest) if rest else 0.0

    assert metric == "f1", metric
    if about.get("f1_average") == "binary":
        return 100 * f1(about["labels"].index(about["positive_label"]))
    return 100 * float(np.mean([f1(i) for i in range(len(about["labels"]))]))


def average_ranks(a):
    _, inverse, counts = np.unique(a, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return ((ends - counts + ends + 1) / 2)[inverse]


# ---- running ----


def bytes_a_run(base, task, arm):
    """What a run holds on the device, about."""
    n = sum(base.tensors[t].numel() for t in by_pattern(base, arm) if t != "words")
    if arm.get("train") == "full":
        n += len(task.vocab) * base.tensors["words"].shape[1]
    masked = sum(base.tensors[f"{i}.{m}.w"].numel() for i in range(base.layers) for m in MATRICES)
    if "teacher" in arm or "slim" in arm:
        n = max(n, sum(t.numel() for name, t in base.tensors.items() if name != "words"))
    tokens = 32 * float(task.sets["train"]["host_lens"].mean()) * 1.3
    attention = base.layers * base.heads * 32 * int(np.percentile(task.sets["train"]["host_lens"], 99.5)) ** 2
    width = base.tensors["emb.scale"].shape[0]
    return 4 * (6 * n + (7 * masked if arm.get("mask") else 0) + tokens * width * base.layers * 40 + 5 * attention)


def run_group(base, folder, group, save):
    task = Task(folder, base.config["name"], group["task"], group.get("limit", 5000))
    arm = group["arm"]
    most = max(1, int(BUDGET / bytes_a_run(base, task, arm)))
    for start in range(0, len(group["runs"]), most):
        runs = group["runs"][start : start + most]
        began = time.time()
        torch.manual_seed(1 + start)
        state = Group(base, task, arm, runs, group["epochs"], group.get("batch", 32))
        if "slim" in arm:
            state.gates = slim.choose(base, task, arm["slim"], runs, group)
        if "teacher" in arm:
            teacher = Group(base, task, {"train": "full"}, [dict(seed=run["seed"], **arm["teacher"]) for run in runs], group["epochs"], 32)
            teacher.train()
            state.taught = torch.from_numpy(teacher.predict(None, "train")).to(DEVICE)
            del teacher
        losses, diverged = state.train()
        masks = state.finished()
        scores = {"score": [score(task, logits) for logits in state.predict(masks)]}
        for share in group.get("shares", []):
            scores[f"share_{share}"] = [score(task, logits) for logits in state.predict(state.finished(share))]
        took = time.time() - began
        for r, run in enumerate(runs):
            line = {"base": base.config["name"], "task": group["task"], "arm": group["name"], **run}
            if group["epochs"] != 5:
                line["epochs"] = group["epochs"]
            line |= {key: round(values[r], 4) for key, values in scores.items()}
            line |= {"loss": round(float(losses[r]), 5), "diverged": bool(diverged[r]), "steps": state.steps}
            line |= {"rows": task.sets["train"]["rows"], "trained": state.trained()}
            line |= {"head": task.outputs * (state.head.shape[2] + 1), "seconds": round(took / len(runs), 3)}
            line |= {"at_once": len(runs)}
            if arm.get("train") == "full":
                line["moved"] = state.moved(r)
            if state.gates:
                line["takes"] = round(float(slim.compute(base, state.gates)[r]), 4)
                line["kept"] = [g[r].sum(1).int().tolist() for g in state.gates]
            if masks is not None:
                zeros = [int((part[r] == 0).sum()) for part in masks.split([math.prod(s) for s in state.shapes], 1)]
                line["zeros"] = zeros
                if save and group.get("save"):
                    where = save / f"{group['task']}.{group['name']}.{run.get('seed', 0)}.npz"
                    np.savez_compressed(
                        where,
                        gaps=np.diff(np.flatnonzero((masks[r] == 0).cpu().numpy()), prepend=-1).astype(np.uint32),
                        zeros=np.array(zeros, np.uint32),
                        head=state.head[r].detach().cpu().numpy(),
                        bias=state.head_bias[r].detach().cpu().numpy(),
                    )
            yield line
        del state


def is_of(line, group, run):
    """Whether this line of results is of this run."""
    wanted = {"base": group["base"], "task": group["task"], "arm": group["name"], "epochs": group["epochs"], **run}
    return all({"epochs": 5, **line}.get(key) == value for key, value in wanted.items())


def main():
    args = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    args.add_argument("--data", type=Path, required=True)
    args.add_argument("--plan", type=Path, required=True)
    args.add_argument("--out", type=Path, required=True)
    args.add_argument("--save", type=Path, help="a folder for the zeros of masks")
    args.add_argument("--seconds", type=float, default=1e9, help="start no group after so long")
    args = args.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = True
    began, bases = time.time(), {}
    if args.save:
        args.save.mkdir(parents=True, exist_ok=True)
    done = [json.loads(line) for line in args.out.read_text().splitlines()] if args.out.exists() else []
    for at, group in enumerate(json.loads(args.plan.read_text())):
        if time.time() - began > args.seconds:
            break
        group["runs"] = [run for run in group["runs"] if not any(is_of(line, group, run) for line in done)]
        if not group["runs"]:
            continue
        # Of several processes each takes the next group that nobody has taken.
        claim = args.out.with_suffix(f".{at}.taken")
        try:
            os.close(os.open(claim, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            continue
        base = bases.get(group["base"]) or Base(args.data, group["base"])
        bases[group["base"]] = base
        try:
            lines = [json.dumps(line) + "\n" for line in run_group(base, args.data, group, args.save)]
        except torch.cuda.OutOfMemoryError as error:
            print("out of memory:", group["task"], group["name"], error, flush=True)
            torch.cuda.empty_cache()
            claim.unlink()
            continue
        with args.out.open("a") as file:
            file.write("".join(lines))
        print(f"{time.time() - began:.0f}s", group["task"], group["name"], len(lines), flush=True)


if __name__ == "__main__":
    main()
