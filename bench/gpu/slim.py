"""Which heads and neurons runs can do without: linocut's way (crates/linocut/src/tune/slim.rs) and others beside it.

An arm's `slim` names the way, a run's `compute` the share of the encoder's multiply-adds that it may take.

- `group`: linocut's. The base is tuned for an epoch; the mean square of the gradient of each head's and each group of 16
  neurons' gate estimates what leaving it out costs; what costs least for its compute goes first.
- `neuron`: the same with every neuron for itself: what any order of the neurons could give at most.
- `size`: the gradient's mean magnitude in place of its square.
- `twice`: first down to halfway, then tuned and judged again with what is left.
- `layers`: whole layers by the same sums. `top`: whole layers from the top.
- `drawn`: one score a structure, drawn as a mask is while the base is tuned for two epochs, with a penalty on compute that
  reaches the share at half of them; those of the highest scores are kept.
"""

import torch
import study

GROUP = 16
TOKENS = 64
WARM = 0.2  # of the steps, before the first that counts


def costs_of(base):
    """What a head and a neuron take of the encoder's multiply-adds for a text of 64 tokens."""
    width = base.tensors["emb.scale"].shape[0]
    neurons = base.tensors["0.i.b"].shape[0]
    head, neuron = 4 * width * (width // base.heads) + 2 * TOKENS * (width // base.heads), 2 * width
    whole = base.layers * (base.heads * head + neurons * neuron)
    return head / whole, neuron / whole


def compute(base, gates):
    """The share of compute of every run."""
    head, neuron = costs_of(base)
    return gates[0].sum((1, 2)) * head + gates[1].sum((1, 2)) * neuron


class Squares:
    """Sums of the gates' gradients, squared (or their magnitudes)."""

    def __init__(self, gates, steps, group, power):
        self.ones = [g.clone().requires_grad_() for g in gates]
        self.sums = [torch.zeros_like(gates[0]), torch.zeros_like(gates[1][..., ::group])]
        self.first, self.group, self.power = int(WARM * steps), group, power

    def gates(self, step):
        return self.ones

    def leaves(self):
        return self.ones

    def see(self, step, grads):
        if step >= self.first:
            self.sums[0] += grads[0].abs() ** self.power
            self.sums[1] += grads[1].unflatten(2, (-1, self.group)).sum(3).abs() ** self.power


class Drawn:
    """Scores of structures, drawn each step, with a penalty on what they take beyond a falling share."""

    def __init__(self, base, whole, steps, share):
        self.base, self.steps, self.share = base, steps, share
        self.scores = [torch.full_like(whole[0], 3.0), torch.full_like(whole[1][..., ::GROUP], 3.0)]
        self.moments = [(torch.zeros_like(s), torch.zeros_like(s)) for s in self.scores]

    def gates(self, step):
        self.at = [s.detach().requires_grad_() for s in self.scores]
        heads, groups = (study.Draw.apply(s) for s in self.at)
        return [heads, groups.repeat_interleave(GROUP, 2)]

    def leaves(self):
        return self.at

    def see(self, step, grads):
        head, neuron = costs_of(self.base)
        chance = [torch.sigmoid(s) for s in self.scores]
        takes = chance[0].sum((1, 2)) * head + chance[1].sum((1, 2)) * neuron * GROUP
        wanted = 1 - (1 - self.share) * min(1.0, 2 * step / self.steps)
        over = (takes - wanted).clamp(min=0)[:, None, None]
        t = step + 1
        for s, p, g, cost, (m, v) in zip(self.scores, chance, grads, [head, neuron * GROUP], self.moments):
            g = g / (g.flatten(1).norm(dim=1)[:, None, None] + 1e-12) + 3e4 * over * cost * p * (1 - p)
            m.lerp_(g, 0.1)
            v.lerp_(g * g, 0.001)
            s.sub_(0.1 * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8))


def fill(base, sums, share, group):
    """Gates of one run, of sums [layers, heads] and [layers, neurons / group]: greedily by cost for compute."""
    head, neuron = costs_of(base)
    per = torch.cat([(sums[0] / head).flatten(), (sums[1] / (neuron * group)).flatten()])
    heads = sums[0].numel()
    keep, left = torch.zeros(len(per)), share
    for i in per.argsort(descending=True).tolist():
        takes = head if i < heads else neuron * group
        if takes <= left + 1e-12:
            keep[i], left = 1, left - takes
    gates = [keep[:heads].reshape(sums[0].shape), keep[heads:].reshape(sums[1].shape)]
    return [gates[0], gates[1].repeat_interleave(group, 1)]


def layers(base, sums, share):
    """Gates of one run with the layers of the greatest sums."""
    kept = set(sums.argsort(descending=True)[: int(share * base.layers + 0.1)].tolist())
    neurons = base.tensors["0.i.b"].shape[0]
    row = torch.tensor([float(i in kept) for i in range(base.layers)])[:, None]
    return [row.expand(-1, base.heads).clone(), row.expand(-1, neurons).clone()]


def tuned(base, task, seeds, group, watch, epochs=1):
    runs = [{"seed": seed, "lr": 1e-4, "dropout": 0} for seed in seeds]
    arm = {"train": "layers", "layers": list(range(base.layers))}
    state = study.Group(base, task, arm, runs, epochs, group.get("batch", 32))
    watch = watch(state.steps)
    state.train(watch)
    return watch


def choose(base, task, way, runs, group):
    """What each run keeps."""
    neurons = base.tensors["0.i.b"].shape[0]
    runs = [(run["seed"], run["compute"]) for run in runs]
    whole = lambda n: [torch.ones(n, base.layers, base.heads, device=study.DEVICE), torch.ones(n, base.layers, neurons, device=study.DEVICE)]
    found = []
    if way == "top":
        found = [layers(base, -torch.arange(base.layers).float(), share) for _, share in runs]
    elif way in ("drawn", "twice"):
        seeds, shares = [seed for seed, _ in runs], torch.tensor([share for _, share in runs], device=study.DEVICE)
        if way == "drawn":
            watch = tuned(base, task, seeds, group, lambda steps: Drawn(base, whole(len(runs)), steps, shares), 2)
            sums = [torch.sigmoid(s) for s in watch.scores]
            # By score alone, not for its compute: a score has had its price.
            head, neuron = costs_of(base)
            sums = [sums[0] * head, sums[1] * neuron * GROUP]
        else:
            first = tuned(base, task, seeds, group, lambda steps: Squares(whole(len(runs)), steps, GROUP, 2))
            gates = [fill(base, [s[r].cpu() for s in first.sums], (1 + share) / 2, GROUP) for r, (_, share) in enumerate(runs)]
            gates = [torch.stack(g).to(study.DEVICE) for g in zip(*gates)]
            sums = tuned(base, task, seeds, group, lambda steps: Squares(gates, steps, GROUP, 2)).sums
            sums = [s * g + (g - 1) for s, g in zip(sums, [gates[0], gates[1][..., ::GROUP]])]
        found = [fill(base, [s[r].cpu() for s in sums], share, GROUP) for r, (_, share) in enumerate(runs)]
    else:
        seeds = sorted({seed for seed, _ in runs})
        size, power = (1 if way == "neuron" else GROUP), (1 if way == "size" else 2)
        watch = tuned(base, task, seeds, group, lambda steps: Squares(whole(len(seeds)), steps, size, power))
        for seed, share in runs:
            sums = [s[seeds.index(seed)].cpu() for s in watch.sums]
            if way == "layers":
                found.append(layers(base, sums[0].sum(1) + sums[1].sum(1), share))
            else:
                found.append(fill(base, sums, share, size))
    return [torch.stack(g).to(study.DEVICE) for g in zip(*found)]
