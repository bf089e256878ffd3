"""Writes testdata/closeness: a small base, models tuned from it, and their distances in exact arithmetic.

    pip install -r reference/requirements.txt
    python reference/closeness.py

Sums are of fractions, so without any rounding; square roots and arcs are taken with 60 digits (mpmath).
"""

import json
from fractions import Fraction
from pathlib import Path

import mpmath
import numpy as np
import torch
from safetensors.torch import save_file

FOLDER = Path(__file__).parent.parent / "testdata" / "closeness"
mpmath.mp.dps = 60


def exact(tensor):
    return [Fraction(x) for x in tensor.to(torch.float64).flatten().tolist()]


def root(x):
    return mpmath.sqrt(mpmath.mpf(x.numerator) / x.denominator)


def angle(a, b, dot):
    """Over π, from Σu², Σv² and Σuv: with 60 digits nothing is lost to cancellation."""
    if a == 0 or b == 0:
        return None
    cosine = mpmath.mpf(dot.numerator) / dot.denominator / (root(a) * root(b))
    return float(mpmath.acos(max(-1, min(1, cosine))) / mpmath.pi)


def figures(pairs):
    """The figures of one vector made of the tensors in `pairs`."""
    u = [x for before, _ in pairs for x in exact(before)]
    v = [x for _, after in pairs for x in exact(after)]
    delta = [y - x for x, y in zip(u, v)]
    a, b, d = (sum(x * x for x in xs) for xs in (u, v, delta))
    dot = sum(x * y for x, y in zip(u, v))
    angular = angle(a, b, dot)
    return {
        "entries": len(u),
        "changed": sum(x != 0 for x in delta) / len(u),
        "l1": float(sum(abs(x) for x in delta)),
        "mean_abs": float(sum(abs(x) for x in delta) / len(u)),
        "l2": float(root(d)),
        "relative_l2": None if a == 0 else float(root(d) / root(a)),
        "angular": angular,
        "cosine": None if angular is None else float(mpmath.cos(mpmath.pi * mpmath.mpf(angular))),
        "max_abs": float(max(abs(x) for x in delta)),
    }


def main():
    rng = np.random.default_rng(0)
    draw = lambda shape, scale: torch.tensor(rng.standard_normal(shape) * scale, dtype=torch.float32)
    base = {
        "embeddings.word_embeddings.weight": draw((40, 24), 0.02),
        "embeddings.LayerNorm.weight": torch.ones(24),
        "embeddings.LayerNorm.bias": torch.zeros(24),
    }
    for layer in range(2):
        for part in ["attention.self.query", "attention.output.dense"]:
            base[f"encoder.layer.{layer}.{part}.weight"] = draw((24, 24), 0.02)
            base[f"encoder.layer.{layer}.{part}.bias"] = torch.zeros(24)
    base["pooler.dense.weight"] = draw((24, 24), 0.02)

    near = {name: w + draw(w.shape, 1e-4) for name, w in base.items()}
    # Angles of about 1e-4 down to 1e-7 radians, and one entry moved by its last bit.
    query = base["encoder.layer.0.attention.self.query.weight"]
    for i, size in enumerate([1e-4, 1e-5, 1e-6, 1e-7]):
        name = list(base)[3 + 2 * i]
        near[name] = (base[name].double() + draw((24, 24), 0.02).double() * size).float()
    last = near["pooler.dense.weight"] = base["pooler.dense.weight"].clone()
    last[3, 5] = torch.nextafter(last[3, 5], torch.tensor(1.0))
    near["embeddings.LayerNorm.weight"] = base["embeddings.LayerNorm.weight"].clone()
    near["embeddings.LayerNorm.bias"] = torch.zeros(24)  # zero on both sides: no angle
    assert query.shape == (24, 24)

    far = {name: draw(w.shape, 0.02) for name, w in base.items()}
    mixed = {
        name: (w + draw(w.shape, 1e-3)).to([torch.float16, torch.bfloat16, torch.float32][i % 3])
        for i, (name, w) in enumerate(base.items())
    }
    half = {name: w.to(torch.bfloat16 if i % 2 else torch.float16) for i, (name, w) in enumerate(base.items())}

    FOLDER.mkdir(parents=True, exist_ok=True)
    models = {"near": near, "far": far, "mixed": mixed}
    for name, tensors in {"base": base, "half": half, **models}.items():
        prefix, more = ("", {}) if name in ["base", "half"] else ("bert.", {"classifier.weight": draw((3, 24), 0.02)})
        save_file({**{prefix + n: w for n, w in tensors.items()}, **more}, FOLDER / f"{name}.safetensors", metadata={"format": "pt"})

    want = {}
    for base_name, before in {"base": base, "half": half}.items():
        for name, after in models.items():
            tensors = {n: figures([(before[n], after[n])]) for n in base}
            groups = {
                "all": figures([(before[n], after[n]) for n in base]),
                "layer 1": figures([(before[n], after[n]) for n in base if n.startswith("encoder.layer.1.")]),
                "kind query": figures([(before[n], after[n]) for n in base if n.endswith("query.weight")]),
            }
            want[f"{base_name} {name}"] = {"tensors": tensors, **groups}
    # Task vectors: what near and mixed add to base.
    first, second = (
        [x for n in base for x in (q - p for p, q in zip(exact(base[n]), exact(m[n])))] for m in (near, mixed)
    )
    dots = [sum(x * y for x, y in zip(p, q)) for p, q in [(first, first), (second, second), (first, second)]]
    want["task vectors near mixed"] = angle(*dots)
    (FOLDER / "distances.json").write_text(json.dumps(want, indent=1) + "\n")
    print({n: f["angular"] for n, f in want["base near"]["tensors"].items()})


main()
