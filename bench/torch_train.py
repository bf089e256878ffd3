"""The peer: the same training in PyTorch and Transformers, written to be fast and plain.

    pip install -r reference/requirements.txt

    # speed: one JSON line with tokens/s (real tokens, padding not counted), median step, peak memory
    python bench/torch_train.py --task sst2 --method full --steps 60
    python bench/torch_train.py --random bert-base-4-layers --fixed 128 --batch 16 --steps 6
    python bench/torch_train.py --task mrpc --method layers --layers 4-5 --epochs 3

    # quality: train in full, then score the dev rows with the task's own metric
    python bench/torch_train.py --task trec6 --epochs 3 --eval --save trec6-tuned

`--task` is a folder, or the name of one in the folder named by LINOCUT_TASKS. `--steps N` times N
batches spread evenly over a length-grouped epoch, after `--warm` untimed ones; `--epochs` runs and
times them all. Fused AdamW, length-grouped dynamic padding, no attention mask where a batch has no
padding; frozen lower layers run without dropout and without autograd.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import sys
import time
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrize
from transformers import AutoConfig, AutoModel

# model_type and what its config says otherwise.
RANDOM = {
    "bert-base-4-layers": ("bert", dict(num_hidden_layers=4)),
    "minilm": ("bert", dict(hidden_size=384, num_hidden_layers=6, intermediate_size=1536)),
    "roberta-base": ("roberta", dict(vocab_size=50265, max_position_embeddings=514, type_vocab_size=1, pad_token_id=1)),
    "modernbert-base": ("modernbert", {}),
    "deberta-v3-base": (
        "deberta-v2",
        dict(
            hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072,
            relative_attention=True, position_buckets=256, position_biased_input=False, share_att_key=True,
            norm_rel_ebd="layer_norm", pos_att_type="p2c|c2p",
        ),
    ),
}
MEGA_BATCH = 50  # batches sorted by length together, as Transformers' LengthGroupedSampler


class StraightThrough(torch.autograd.Function):
    """weight * mask, whose scores get the gradient of weight * sigmoid(scores)."""

    @staticmethod
    def forward(ctx, weight, scores, p, mask):
        ctx.save_for_backward(weight, p)
        return weight * mask

    @staticmethod
    def backward(ctx, grad):
        weight, p = ctx.saved_tensors
        return None, grad * weight * p * (1 - p), None, None


class Supermask(nn.Module):
    """A parametrization: the weight with every entry kept with probability sigmoid(score)."""

    def __init__(self, weight, scale, sparsity):
        super().__init__()
        scores = torch.full(weight.shape, scale)
        smallest = weight.detach().abs().flatten().argsort(stable=True)
        scores.view(-1)[smallest[: int(sparsity * weight.numel())]] = -scale
        self.scores = nn.Parameter(scores)

    def forward(self, weight):
        p = torch.sigmoid(self.scores.detach())
        mask = torch.bernoulli(p) if self.training else (self.scores >= 0).to(p.dtype)
        return StraightThrough.apply(weight, self.scores, p, mask)


class Classifier(nn.Module):
    def __init__(self, bert, pooling, outputs):
        super().__init__()
        self.bert, self.pooling = bert, pooling
        self.dropout = nn.Dropout(getattr(bert.config, "hidden_dropout_prob", 0.0))
        self.typed = getattr(bert.config, "type_vocab_size", 0) > 1
        self.head = nn.Linear(bert.config.hidden_size, outputs)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def forward(self, ids, types, mask):
        typed = dict(token_type_ids=types) if self.typed else {}
        out = self.bert(input_ids=ids, attention_mask=mask, **typed)
        if self.pooling == "cls":
            pooled = out.pooler_output
        elif self.pooling == "first":
            pooled = out.last_hidden_state[:, 0]
        elif mask is None:
            pooled = out.last_hidden_state.mean(1)
        else:
            kept = mask.unsqueeze(2).to(out.last_hidden_state.dtype)
            pooled = (out.last_hidden_state * kept).sum(1) / kept.sum(1)
        return self.head(self.dropout(pooled))


def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model", default="models/all-minilm-l6-v2", help="model folder")
    p.add_argument("--random", choices=RANDOM, help="random weights of this shape instead")
    p.add_argument("--task", help="task folder or name")
    p.add_argument("--fixed", type=int, metavar="LENGTH", help="random tokens, every text this long")
    p.add_argument("--method", choices=["full", "layers", "mask"], default="full")
    p.add_argument("--layers", default="4-5", help="trained layers of --method layers: the last ones")
    p.add_argument("--pooling", choices=["mean", "cls", "first"], default="mean")
    p.add_argument("--batch", type=int, default=32)
    p.add_argument("--steps", type=int, help="time this many steps")
    p.add_argument("--warm", type=int, default=3, help="untimed steps before --steps")
    p.add_argument("--epochs", type=int, default=3)
    p.add_argument("--max-length", type=int, default=128)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--attn", choices=["eager", "sdpa"], default="sdpa")
    p.add_argument("--lr", type=float, default=5e-5)
    p.add_argument("--head-lr", type=float, default=1e-3)
    p.add_argument("--mask-lr", type=float, default=1e-1)
    p.add_argument("--init-scale", type=float, default=6.0)
    p.add_argument("--init-sparsity", type=float, default=0.0)
    p.add_argument("--warmup", type=float, default=0.1)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--limit", type=int, help="first rows of the training file only")
    p.add_argument("--eval", action="store_true", help="score the dev rows after training")
    p.add_argument("--save", type=Path, metavar="DIR", help="write the fine-tuned model, as users have them")
    args = p.parse_args()
    if (args.task is None) == (args.fixed is None):
        p.error("one of --task and --fixed is needed")
    if args.task and args.random:
        p.error("--random has no tokenizer: use it with --fixed")
    if args.eval and (args.steps or not args.task):
        p.error("--eval needs --task, and --epochs rather than --steps")
    if args.save and (args.method != "full" or not args.task):
        p.error("--save needs --method full and --task")
    if args.fixed and not args.steps:
        p.error("--fixed needs --steps")
    return args


def read_task(args):
    """The task's card and its rows: (ids, type ids, target)."""
    folder = Path(args.task)
    if not folder.is_dir():
        folder = Path(os.environ.get("LINOCUT_TASKS", ".")) / args.task
    card = json.loads((folder / "task.json").read_text())
    tokenizer = Tokenizer.from_file(str(Path(args.model) / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(args.max_length)
    index = {label: i for i, label in enumerate(card["labels"])}

    def rows(name, limit=None):
        lines = (folder / name).read_text(encoding="utf-8").rstrip("\n").split("\n")
        header = lines[0].split("\t")
        pair = "sentence2" in header
        cells = [dict(zip(header, line.split("\t"))) for line in lines[1:][:limit]]
        texts = [(c["sentence1"], c["sentence2"]) if pair else c["sentence1"] for c in cells]
        coded = tokenizer.encode_batch(texts)
        labels = [index[c["label"]] if index else float(c["label"]) for c in cells]
        return [(e.ids, e.type_ids, label) for e, label in zip(coded, labels)]

    return card, rows("train.tsv", args.limit), rows("dev.tsv") if args.eval else []


def length_grouped(rows, batch, generator):
    """Batches of one epoch: shuffled, then sorted by length within each mega-batch, longest first."""
    order = torch.randperm(len(rows), generator=generator).tolist()
    mega = MEGA_BATCH * batch
    chunks = [order[i : i + mega] for i in range(0, len(order), mega)]
    order = [i for c in chunks for i in sorted(c, key=lambda i: -len(rows[i][0]))]
    return [[rows[i] for i in order[j : j + batch]] for j in range(0, len(order), batch)]


def collate(batch):
    """Padded tensors; the mask is None where nothing is padded."""
    longest = max(len(ids) for ids, _, _ in batch)
    pad = lambda part: torch.tensor([r[part] + [0] * (longest - len(r[part])) for r in batch])
    lengths = torch.tensor([len(ids) for ids, _, _ in batch])
    mask = None if lengths.min() == longest else (torch.arange(longest) < lengths[:, None]).long()
    return pad(0), pad(1), mask, torch.tensor([t for _, _, t in batch]), int(lengths.sum())


def build(args, outputs):
    config = AutoConfig.from_pretrained(args.model) if not args.random else None
    if args.random:
        model_type, fields = RANDOM[args.random]
        config = AutoConfig.for_model(model_type, **fields)
    # DeBERTa has one way of attending, and not every model a pooler that it can do without.
    extra = {} if config.model_type == "deberta-v2" else dict(attn_implementation=args.attn)
    if config.model_type in ("bert", "roberta", "xlm-roberta", "mpnet", "albert"):
        extra["add_pooling_layer"] = args.pooling == "cls"
    if args.random:
        attn = extra.pop("attn_implementation", None)
        if attn:
            config._attn_implementation = attn
        bert = transformers.MODEL_MAPPING[type(config)](config, **extra)
    else:
        bert = AutoModel.from_pretrained(args.model, **extra).float()
    return Classifier(bert, args.pooling, outputs)


def prepare(args, model):
    """Freezes what is not trained; gives the optimizer and the groups to clip."""
    bert, head = model.bert, list(model.head.parameters())
    frozen, scores = [], []
    if args.method == "layers":
        first, _, last = args.layers.partition("-")
        layers = bert.encoder.layer
        if int(last or first) != len(layers) - 1:
            sys.exit(f"--layers must end at the last layer, {len(layers) - 1}")
        frozen = [bert.embeddings, *layers[: int(first)]]
    elif args.method == "mask":
        bert.requires_grad_(False)
        matrices = [m for m in bert.encoder.modules() if isinstance(m, nn.Linear)]
        matrices += [bert.pooler.dense] if args.pooling == "cls" else []
        for m in matrices:
            mask = Supermask(m.weight, args.init_scale, args.init_sparsity)
            parametrize.register_parametrization(m, "weight", mask)
            scores.append(mask.scores)
    for module in frozen:
        module.requires_grad_(False)
    model.train()
    for module in frozen:
        module.eval()

    weights = [] if args.method == "mask" else [p for p in bert.parameters() if p.requires_grad]
    group = lambda params, lr, decay, eps=1e-8: dict(params=params, lr=lr, weight_decay=decay, eps=eps)
    groups = [
        group([p for p in weights if p.ndim > 1], args.lr, 0.01),
        group([p for p in weights if p.ndim == 1], args.lr, 0.0),
        group(head[:1], args.head_lr, 0.01),
        group(head[1:], args.head_lr, 0.0),
        group(scores, args.mask_lr, 0.0, 1e-16),
    ]
    optimizer = torch.optim.AdamW([g for g in groups if g["params"]], fused=True)
    return optimizer, [g for g in (weights + head, scores) if g]


def train(args, model, batches, loss_of):
    """One pass over `batches`; gives (seconds, real tokens, padded tokens, loss) of every step."""
    optimizer, clip_groups = prepare(args, model)
    total = len(batches)
    warmup = max(1, round(args.warmup * total))
    factor = lambda t: (t + 1) / warmup if t < warmup else (total - t) / max(1, total - warmup)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    steps = []
    for number, batch in enumerate(batches):
        start = time.perf_counter()
        ids, types, mask, targets, tokens = collate(batch)
        loss = loss_of(model(ids, types, mask), targets)
        loss.backward()
        for parameters in clip_groups:
            nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        loss = loss.item()
        steps.append((time.perf_counter() - start, tokens, ids.numel(), loss))
        if sys.stderr.isatty():
            print(f"\rstep {number + 1}/{total} loss {loss:.4f} {tokens / steps[-1][0]:.0f} tokens/s ", end="", file=sys.stderr)
    return steps


def predict(model, rows, batch=64):
    model.eval()
    order = sorted(range(len(rows)), key=lambda i: len(rows[i][0]))
    logits = [None] * len(rows)
    with torch.inference_mode(), parametrize.cached():
        for i in range(0, len(order), batch):
            ids, types, mask, _, _ = collate([rows[j] for j in order[i : i + batch]])
            for j, row in zip(order[i : i + batch], model(ids, types, mask)):
                logits[j] = row
    return torch.stack(logits)


def save(args, model, card, outputs):
    """A folder as `save_pretrained` writes it: a BertForSequenceClassification, or with another
    pooling what `linocut export` has in its place."""
    args.save.mkdir(parents=True)
    tensors = {f"bert.{name}": value for name, value in model.bert.state_dict().items()}
    tensors |= {f"classifier.{name}": value for name, value in model.head.state_dict().items()}
    save_file({name: value.contiguous() for name, value in tensors.items()}, args.save / "model.safetensors", {"format": "pt"})
    config = model.bert.config.to_dict()
    if args.pooling == "cls":
        config["architectures"] = ["BertForSequenceClassification"]
    else:
        config |= {"model_type": "linocut_bert", "linocut_pooling": args.pooling}
    regression = card["type"] == "regression"
    labels = card["labels"] or [f"LABEL_{i}" for i in range(outputs)]
    config["id2label"] = {str(i): label for i, label in enumerate(labels)}
    config["label2id"] = {label: i for i, label in enumerate(labels)}
    config["problem_type"] = "regression" if regression else "single_label_classification"
    (args.save / "config.json").write_text(json.dumps(config, indent=2))
    for name in ["tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"]:
        if (Path(args.model) / name).exists():
            shutil.copy(Path(args.model) / name, args.save)


def score(card, truth, logits):
    """(name, value) by the task's metric."""
    from scipy import stats
    from sklearn import metrics

    name = card["metric"]
    if name == "pearson_spearman":
        x = logits[:, 0].double().numpy()
        return name, (stats.pearsonr(truth, x).statistic + stats.spearmanr(truth, x).statistic) / 2
    predicted = logits.argmax(1).tolist()
    if name == "accuracy":
        return name, metrics.accuracy_score(truth, predicted)
    if name == "matthews":
        return name, metrics.matthews_corrcoef(truth, predicted)
    average = card["f1_average"]
    positive = card["labels"].index(card["positive_label"]) if average == "binary" else 1
    value = metrics.f1_score(truth, predicted, average=average, pos_label=positive, zero_division=0)
    return f"f1_{average}", value


def main():
    args = options()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    generator = torch.Generator().manual_seed(args.seed)
    card, dev, regression = {}, [], False
    if args.fixed:
        outputs = 2
        draw = lambda: torch.randint(1000, 30000, (args.fixed,), generator=generator).tolist()
        wanted = (args.warm + args.steps) * args.batch
        rows = [(draw(), [0] * args.fixed, i % 2) for i in range(wanted)]
        batches = [rows[i : i + args.batch] for i in range(0, wanted, args.batch)]
    else:
        card, rows, dev = read_task(args)
        regression = card["type"] == "regression"
        outputs = 1 if regression else len(card["labels"])
        if args.steps:
            epoch = length_grouped(rows, args.batch, generator)
            spread = torch.linspace(0, len(epoch) - 1, args.steps).round().long()
            spread = spread[torch.randperm(args.steps, generator=generator)].tolist()
            batches = epoch[: args.warm] + [epoch[i] for i in spread]  # the longest warm it up
        else:
            batches = [b for _ in range(args.epochs) for b in length_grouped(rows, args.batch, generator)]
    model = build(args, outputs)
    if regression:
        loss_of = lambda logits, targets: F.mse_loss(logits[:, 0], targets.float())
    else:
        loss_of = F.cross_entropy
    steps = train(args, model, batches, loss_of)
    timed = steps[args.warm :] if args.steps else steps
    seconds, tokens, padded = (sum(s[i] for s in timed) for i in range(3))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    result = dict(
        torch=torch.__version__,
        transformers=transformers.__version__,
        model=args.random or Path(args.model).name,
        data=f"fixed {args.fixed}" if args.fixed else card["name"],
        method=args.method + (f" {args.layers}" if args.method == "layers" else ""),
        pooling=args.pooling,
        attn=args.attn,
        threads=args.threads,
        batch=args.batch,
        seed=args.seed,
        steps=len(timed),
        seconds=round(seconds, 3),
        tokens_per_s=round(tokens / seconds, 1),
        steps_per_s=round(len(timed) / seconds, 4),
        median_step_ms=round(1e3 * statistics.median(s[0] for s in timed), 2),
        padding=round(1 - tokens / padded, 4),
        peak_rss_mb=round(peak / 1e6, 1),
        last_loss=round(statistics.fmean(s[3] for s in timed[-20:]), 5),
    )
    if args.eval:
        name, value = score(card, [t for _, _, t in dev], predict(model, dev))
        lr = dict(full=args.lr, layers=args.lr, mask=args.mask_lr)[args.method]
        result |= dict(epochs=args.epochs, lr=lr, head_lr=args.head_lr, metric=name, score=round(float(value), 5))
        if args.method == "mask":
            scores = [p for n, p in model.named_parameters() if n.endswith(".scores")]
            zeros = sum(int((s < 0).sum()) for s in scores)
            result["sparsity"] = round(zeros / sum(s.numel() for s in scores), 5)
    if args.save:
        save(args, model, card, outputs)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
