"""Writes testdata/<family>/: a tiny random model and, for every case, what training it must give.

    pip install -r reference/requirements.txt
    python reference/fixtures.py [family ...]    # from the repository root; all families by default

`base/` is a Hugging Face model folder (config.json, model.safetensors, canonical names) shared by
all cases. Each `<case>.safetensors` holds, with the metadata keys `config` and `case` (both JSON):

    input_ids, type_ids   I64 [tokens]       all sequences back to back
    offsets               I64 [sequences+1]  where each one begins
    targets               I64 [rows] (single), F32 [rows, labels] (multi), F32 [rows] (regression)
    class_weights         F32 [labels]       in `weighted` cases only
    head.weight, head.bias                   F32, initial values; logits = pooled * W^T + b
    logits, loss          F64                at the initial parameters
    grad/<name>           F32                of every trained tensor, before clipping
    losses                F64 [10]           of ten steps of AdamW; losses[0] == loss
    step10/<name>         F32                parameters after them (left out of some cases, to keep this small)
    mask/<name>           U8                 the mask of step 0, in `mask-stochastic` cases

Weights and targets are drawn as float32; everything is computed in float64, and gradients and
parameters are rounded to float32 once, at the end. For the mask method `<name>` is the masked
matrix, and `grad/` and `step10/` are those of its scores. For low-rank factors (`lora`) it is the
adapted matrix, and they are those of its factors, A transposed above B: `[in + out, rank]`.
Under `cls` the vector that the head reads is what the family's own ...ForSequenceClassification
gives its last layer.
"""

import json
import math
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from families import FAMILIES, LABELS

STEPS, WARMUP = 10, 1
LR, HEAD_LR, SCORE_LR = 1e-3, 1e-2, 5e-2
BETAS, EPS, SCORE_EPS, DECAY, CLIP = (0.9, 0.999), 1e-8, 1e-16, 0.01, 1.0
INIT_SCALE, INIT_SPARSITY, SEED = 0.5, 0.1, 7
RANK = 4
MASK_SAMPLING, LOW_RANK = 1, 5  # the generator's purpose numbers
U64 = (1 << 64) - 1

def is_norm(name):
    if name.split(".")[-2] in ("emb_ln", "norm1", "norm2"):
        return True
    return "LayerNorm" in name or "layer_norm" in name or name.endswith("norm.weight")


def is_table(name):
    return "embeddings." in name and not is_norm(name) or "relative_attention_bias" in name


def is_above(family, name):
    """Read under `cls` alone."""
    return name.split(".")[0] in ("pooler", "classifier", "pre_classifier", "head")


def is_matrix(name):
    return name.endswith(".weight") and not is_norm(name)


def splitmix64(z):
    z = (z + 0x9E3779B97F4A7C15) & U64
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & U64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & U64
    return z ^ (z >> 31)


def uniform(seed, purpose, step, tensor, count):
    """`count` numbers in [0, 1), each a function of its key and index alone."""
    key = splitmix64(splitmix64(seed ^ (purpose << 56)) ^ (step << 20) ^ tensor)
    low, high = np.uint32(key & 0xFFFFFFFF), np.uint32(key >> 32)
    x = np.arange(count, dtype=np.uint32) ^ low
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x7FEB352D)
    x ^= high
    x ^= x >> np.uint32(15)
    x *= np.uint32(0x846CA68B)
    x ^= x >> np.uint32(16)
    return (x >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)


class Masked(torch.autograd.Function):
    """W * m, passing ds = (dL/dW_eff * W) * sigmoid'(s) straight through the mask."""

    @staticmethod
    def forward(ctx, weight, scores, mask):
        ctx.save_for_backward(weight, scores)
        return weight * mask

    @staticmethod
    def backward(ctx, grad):
        weight, scores = ctx.saved_tensors
        p = torch.sigmoid(scores)
        return None, grad * weight * p * (1 - p), None


class ScoreAdam(torch.optim.Optimizer):
    """Adam whose second moment is one number a tensor: the moving mean of its mean squared gradient."""

    def __init__(self, params, lr):
        super().__init__(params, dict(lr=lr))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                if not state:
                    state.update(step=0, mean=torch.zeros_like(p), square=0.0)
                state["step"] += 1
                state["mean"] = BETAS[0] * state["mean"] + (1 - BETAS[0]) * p.grad
                state["square"] = BETAS[1] * state["square"] + (1 - BETAS[1]) * p.grad.square().mean()
                mean = state["mean"] / (1 - BETAS[0] ** state["step"])
                square = state["square"] / (1 - BETAS[1] ** state["step"])
                p -= group["lr"] * mean / (square.sqrt() + SCORE_EPS)


def draw_model(family):
    rng = np.random.default_rng(20200826)
    model = family.model()
    with torch.no_grad():
        params = dict(model.named_parameters())
        tensors = family.tensors(model)
        unread = set(params) - set(family.parameters(model, tensors))
        assert all(n.startswith(family.last) for n in unread), unread
        for name, p in tensors.items():
            std = 0.5 if is_table(name) or name.startswith("embeddings.") else 0.2
            value = rng.standard_normal(p.shape, dtype=np.float32) * np.float32(std)
            if is_norm(name) and name.endswith("weight"):
                value += np.float32(1)
            for part, value in family.parameters(model, {name: torch.from_numpy(value)}).items():
                params[part].copy_(value)
    return model


def draw_batch(family, padding):
    """With `padding`, the padding's token stands among the others, as a text may hold it. It is left
    out where tables are trained: PyTorch gives its row no gradient, linocut gives it one like any."""
    rng = np.random.default_rng(11)
    pad = family.config["pad_token_id"]
    ids = [rng.integers(pad + 1, family.config["vocab_size"], n) for n in family.lengths]
    if padding:
        ids[0][3], ids[4][0], ids[4][1] = pad, pad, pad
    two = family.config.get("type_vocab_size", 1) > 1
    cuts = [9, 1, 9, 1, 4, 0]
    types = [(np.arange(n) >= cut).astype(np.int64) * two for n, cut in zip(family.lengths, cuts)]
    return ids, types


def draw_task(family, problem):
    rng = np.random.default_rng(23)
    outputs = 1 if problem == "regression" else LABELS
    hidden = family.config.get("hidden_size") or family.config["dim"]
    head = [0.3 * rng.standard_normal(s, dtype=np.float32) for s in [(outputs, hidden), (outputs,)]]
    rows = len(family.lengths)
    if problem == "regression":
        targets = rng.standard_normal(rows, dtype=np.float32)
    elif problem == "multi":
        targets = (rng.random((rows, LABELS)) < 0.4).astype(np.float32)
    else:
        targets = np.array([0, 3, 1, 1, 2, 0])
    return [torch.from_numpy(h).double() for h in head], torch.from_numpy(targets)


def initial_scores(weight):
    """-c for the smallest-magnitude share of the entries, ties by index, else +c."""
    flat = weight.detach().abs().flatten().numpy()
    scores = np.full(flat.size, INIT_SCALE)
    scores[np.argsort(flat, kind="stable")[: math.floor(INIT_SPARSITY * flat.size)]] = -INIT_SCALE
    return torch.from_numpy(scores.reshape(weight.shape))


def initial_factors(family, name, weight):
    """A uniform in +-1/sqrt(in) and B zero, as peft draws them; A transposed above B."""
    rows, columns = weight.shape
    u = uniform(SEED, LOW_RANK, 0, family.layout.index(name), columns * RANK)
    a = (np.float32(2) * u - np.float32(1)) * (np.float32(1) / np.sqrt(np.float32(columns)))
    factors = np.concatenate([a, np.zeros(rows * RANK, np.float32)])
    return torch.from_numpy(factors.reshape(columns + rows, RANK)).double()


def low_rank(weight, factors):
    a_transposed, b = factors[: weight.shape[1]], factors[weight.shape[1] :]
    return weight + b @ a_transposed.T


def trained_names(family, method, pooling):
    names = [n for n in family.layout if pooling == "cls" or not is_above(family, n)]
    if method == "full":
        return names
    last = max(family.layer(n) or 0 for n in names)
    if method == "layers":
        some = "query. value. q_lin. v_lin. attn.q. attn.v. Wqkv. q_proj. v_proj. query_proj. value_proj.".split()
        chosen = lambda n: family.layer(n) == last or family.layer(n) == last - 1 and any(k in n for k in some)
        return [n for n in names if chosen(n)]
    if method == "lora":
        some = ("query.weight", "value.weight", "q_lin.weight", "v_lin.weight", "attn.q.weight", "attn.v.weight")
        return [n for n in names if n.endswith(some)]
    return [n for n in names if is_matrix(n) and (family.layer(n) is not None or is_above(family, n))]


def run(family, pooling, problem, method, weighted=False, keep_step10=True):
    model = draw_model(family)
    ids, types = draw_batch(family, padding=method == "mask-threshold" and family.name != "bert")
    (head_w, head_b), targets = draw_task(family, problem)
    head = {"head.weight": head_w.requires_grad_(), "head.bias": head_b.requires_grad_()}
    class_weights = torch.tensor([0.5, 1.25, 2.0, 0.75]) if weighted else None
    masked = method.startswith("mask")
    trained = trained_names(family, method, pooling)
    base = family.tensors(model)
    model.requires_grad_(False)
    # What the family's own last layer reads: it is taken away from the model.
    read = {}
    last = model.get_submodule(family.last)
    last.register_forward_pre_hook(lambda _, inputs: read.update(row=inputs[0]))
    encoder = getattr(model, family.prefix())
    encoder.register_forward_hook(lambda _, inputs, outputs: read.update(hidden=outputs[0][0]))
    if masked:
        params = {n: initial_scores(base[n]).requires_grad_() for n in trained}
    elif method == "lora":
        params = {n: initial_factors(family, n, base[n]).requires_grad_() for n in trained}
    else:
        params = {n: base[n].requires_grad_() for n in trained}
    masks, margin = {}, 1.0

    def effective(step):
        nonlocal margin
        if method == "lora":
            return {n: low_rank(base[n], params[n]) for n in trained}
        if not masked:
            return params
        for n in trained:
            s = params[n].detach().numpy()
            if method == "mask-threshold":
                masks[n] = s >= 0
                margin = min(margin, np.abs(s).min())
            else:
                p = np.float32(1) / (np.float32(1) + np.exp(-s.astype(np.float32)))
                u = uniform(SEED, MASK_SAMPLING, step, family.layout.index(n), s.size).reshape(s.shape)
                masks[n] = u < p
                margin = min(margin, np.abs(u - p).min())
        return {n: Masked.apply(base[n], params[n], torch.from_numpy(masks[n])) for n in trained}

    def forward(step):
        weights = family.parameters(model, {**base, **effective(step)})
        pooled = []
        for i, t in zip(ids, types):
            inputs = dict(input_ids=torch.from_numpy(i)[None], attention_mask=torch.ones(1, len(i)))
            if family.config.get("type_vocab_size", 0) > 0:
                inputs["token_type_ids"] = torch.from_numpy(t)[None]
            torch.func.functional_call(model, weights, (), inputs)
            hidden = read["hidden"]
            pooled.append({"cls": read["row"][0], "first": hidden[0], "mean": hidden.mean(0)}[pooling])
        pooled = torch.stack(pooled)
        assert pooled.dtype == torch.float64
        logits = F.linear(pooled, head["head.weight"], head["head.bias"])
        if problem == "single":
            w = None if class_weights is None else class_weights.double()
            return logits, F.cross_entropy(logits, targets, weight=w)
        if problem == "multi":
            return logits, F.binary_cross_entropy_with_logits(logits, targets.double())
        return logits, F.mse_loss(logits[:, 0], targets.double())

    groups = [
        dict(params=[head["head.weight"]], lr=HEAD_LR, weight_decay=DECAY),
        dict(params=[head["head.bias"]], lr=HEAD_LR, weight_decay=0.0),
    ]
    if masked:
        clip_groups = [list(head.values()), list(params.values())]
    else:
        for decays in (True, False):
            of = [params[n] for n in trained if is_matrix(n) == decays]
            groups.append(dict(params=of, lr=LR, weight_decay=DECAY if decays else 0.0))
        clip_groups = [list(head.values()) + list(params.values())]
    optimizers = [torch.optim.AdamW(groups, lr=LR, betas=BETAS, eps=EPS)]
    if masked:
        optimizers.append(ScoreAdam(list(params.values()), SCORE_LR))
    factor = lambda t: (t + 1) / WARMUP if t < WARMUP else (STEPS - t) / (STEPS - WARMUP)
    schedules = [torch.optim.lr_scheduler.LambdaLR(o, factor) for o in optimizers]

    tensors = {
        "input_ids": torch.from_numpy(np.concatenate(ids)),
        "type_ids": torch.from_numpy(np.concatenate(types)),
        "offsets": torch.from_numpy(np.cumsum([0] + family.lengths)),
        "targets": targets,
        "head.weight": head_w.detach().float().clone(),
        "head.bias": head_b.detach().float().clone(),
    }
    if weighted:
        tensors["class_weights"] = class_weights
    losses, norms = [], []
    everything = {**params, **head}
    for step in range(STEPS):
        for optimizer in optimizers:
            optimizer.zero_grad()
        logits, loss = forward(step)
        loss.backward()
        losses.append(loss.item())
        if step == 0:
            tensors["logits"], tensors["loss"] = logits.detach().clone(), loss.detach().reshape(1)
            tensors |= {f"grad/{n}": p.grad.float().clone() for n, p in everything.items()}
            if method == "mask-stochastic":
                tensors |= {f"mask/{n}": torch.from_numpy(m.astype(np.uint8)) for n, m in masks.items()}
        norms.append([float(torch.nn.utils.clip_grad_norm_(g, CLIP)) for g in clip_groups])
        for optimizer, schedule in zip(optimizers, schedules):
            optimizer.step()
            schedule.step()
    tensors["losses"] = torch.tensor(losses, dtype=torch.float64)
    if keep_step10:
        tensors |= {f"step10/{n}": p.detach().float().clone() for n, p in everything.items()}

    case = dict(
        pooling=pooling,
        problem=problem,
        method=method,
        class_weights=weighted,
        trained=trained,
        steps=STEPS,
        warmup=WARMUP,
        lr=LR,
        head_lr=HEAD_LR,
        betas=BETAS,
        eps=EPS,
        weight_decay=DECAY,
        clip=CLIP,
        clip_norms_step0=norms[0],
    )
    if method == "lora":
        case |= dict(rank=RANK, seed=SEED)
    if masked:
        case |= dict(
            score_lr=SCORE_LR, score_eps=SCORE_EPS, init_scale=INIT_SCALE,
            init_sparsity=INIT_SPARSITY, seed=SEED, closest_call=float(margin),
        )
    name = "-".join([pooling, problem] + ["weighted"] * weighted + [method])
    metadata = dict(config=json.dumps(family.config), case=json.dumps(case))
    out = Path("testdata") / family.name / f"{name}.safetensors"
    save_file({k: v.contiguous() for k, v in tensors.items()}, out, metadata)
    size = out.stat().st_size
    print(f"{family.name + ' ' + name:40} {size:8} bytes  loss {losses[0]:.6f} -> {losses[-1]:.6f}  norm {norms[0]}  margin {margin:.1e}")


def main():
    torch.set_num_threads(1)
    for family in [f for f in FAMILIES if f.name in (sys.argv[1:] or [f.name for f in FAMILIES])]:
        out = Path("testdata") / family.name
        (out / "base").mkdir(parents=True, exist_ok=True)
        # What a base does not have is new in a fine-tuned model; here it is there, to be trained.
        weights = {n: value.float().contiguous() for n, value in family.tensors(draw_model(family)).items()}
        save_file(weights, out / "base/model.safetensors", {"format": "pt"})
        (out / "base/config.json").write_text(json.dumps(family.config, indent=2) + "\n")
        if family.name == "bert":
            with_step10 = {("mean", "single"), ("cls", "multi"), ("first", "regression")}
            for pooling in ("cls", "first", "mean"):
                for problem in ("single", "multi", "regression"):
                    run(family, pooling, problem, "full", keep_step10=(pooling, problem) in with_step10)
            run(family, "cls", "single", "full", weighted=True, keep_step10=False)
            run(family, "mean", "single", "layers")
            run(family, "mean", "single", "lora")
            for pooling in ("cls", "mean"):
                for method in ("mask-threshold", "mask-stochastic"):
                    run(family, pooling, "single", method, keep_step10=(pooling, method) != ("cls", "mask-threshold"))
            continue
        run(family, "cls", "single", "full")
        run(family, "mean", "multi", "full", keep_step10=False)
        run(family, "first", "regression", "full", keep_step10=False)
        run(family, "mean", "single", "layers")
        run(family, "cls", "single", "mask-stochastic")
        run(family, "mean", "single", "mask-threshold", keep_step10=False)


if __name__ == "__main__":
    main()
