"""The families of `fixtures.py`: a tiny config of each, and its tensors in the order of linocut's layout."""

import re

import torch
import transformers

LABELS = 4

BERT_LAYER = """attention.self.query.weight attention.self.key.weight attention.self.value.weight
attention.self.query.bias attention.self.key.bias attention.self.value.bias
attention.output.dense.weight attention.output.dense.bias
attention.output.LayerNorm.weight attention.output.LayerNorm.bias
intermediate.dense.weight intermediate.dense.bias output.dense.weight output.dense.bias
output.LayerNorm.weight output.LayerNorm.bias""".split()
TABLES = [f"embeddings.{e}_embeddings.weight" for e in ("word", "position", "token_type")]
NORM = ["embeddings.LayerNorm.weight", "embeddings.LayerNorm.bias"]
SMALL = dict(
    hidden_size=30,
    num_attention_heads=3,
    intermediate_size=44,
    num_hidden_layers=2,
    vocab_size=61,
    hidden_act="gelu",
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
)


def layers(count, prefix, names):
    return [f"{prefix}.{i}.{n}" for i in range(count) for n in names]


def dense(module):
    return [f"{module}.weight", f"{module}.bias"]


class Family:
    """A family: its config, and its tensors in the order of linocut's layout."""

    def __init__(self, name, title, config, layout, last, lengths=(17, 1, 9, 2, 13, 5), attention="eager", parts=None):
        self.parts = parts or (lambda name: [name])
        self.name, self.title, self.config, self.layout, self.last = name, title, config, layout, last
        self.lengths, self.attention = list(lengths), attention

    def model(self):
        config = {k: v for k, v in self.config.items() if k not in ("architectures", "model_type")}
        config = getattr(transformers, self.title + "Config")(
            **config, num_labels=LABELS, attn_implementation=self.attention
        )
        model = getattr(transformers, self.title + "ForSequenceClassification")(config)
        return model.double().eval()

    def layer(self, name):
        """The layer that a tensor belongs to; None of embeddings and poolers."""
        found = re.search(r"layer(?:s|_groups)?\.(\d+)\.", name)
        return found and int(found[1])

    def short(self, name):
        """A parameter's name without the prefix."""
        return name.removeprefix(self.prefix() + ".")

    def tensors(self, model):
        """Values by the names that files have, where Transformers may join parameters and call them otherwise."""
        values = {self.short(n): p.detach() for n, p in model.named_parameters()}
        return {name: torch.cat([values[part] for part in self.parts(name)]) for name in self.layout}

    def parameters(self, model, tensors):
        """The model's parameters, by their full names, of tensors by the names of files."""
        full = {self.short(n): n for n, _ in model.named_parameters()}
        chunks = lambda name, value: zip(self.parts(name), value.chunk(len(self.parts(name))))
        return {full[part]: chunk for name, value in tensors.items() for part, chunk in chunks(name, value)}


    def prefix(self):
        return getattr(transformers, self.title + "ForSequenceClassification").base_model_prefix


def modernbert(name, biased, config):
    parameters = lambda module: dense(module) if biased else [f"{module}.weight"]
    of_layer = lambda i: sum(
        (
            parameters(f"layers.{i}.{module}")
            for module in ["attn_norm"] * (i > 0) + ["attn.Wqkv", "attn.Wo", "mlp_norm", "mlp.Wi", "mlp.Wo"]
        ),
        [],
    )
    small = {k: v for k, v in SMALL.items() if not k.endswith(("_act", "_prob"))}
    return Family(
        name,
        "ModernBert",
        dict(
            architectures=["ModernBertModel"],
            model_type="modernbert",
            **small | dict(num_hidden_layers=4),
            hidden_activation="gelu",
            max_position_embeddings=48,
            local_attention=8,
            norm_bias=biased,
            attention_bias=biased,
            mlp_bias=biased,
            classifier_bias=biased,
            pad_token_id=0,
            **config,
        ),
        ["embeddings.tok_embeddings.weight"]
        + parameters("embeddings.norm")
        + sum((of_layer(i) for i in range(4)), [])
        + parameters("final_norm")
        + parameters("head.dense")
        + parameters("head.norm"),
        "classifier",
        lengths=(17, 1, 9, 2, 45, 5),
        # In float64 throughout; the eager one rounds probabilities to float32.
        attention="sdpa",
    )


def nomic_parts(name):
    """What Transformers makes of a tensor of a file."""
    for theirs, ours in [
        ("encoder.layers", "layers"),
        ("emb_ln", "embeddings.LayerNorm"),
        ("attn.out_proj", "self_attn.o_proj"),
        ("fc11", "up_proj"),
        ("fc12", "gate_proj"),
        ("fc2", "down_proj"),
        ("norm1", "post_attention_layernorm"),
        ("norm2", "post_mlp_layernorm"),
    ]:
        name = name.replace(theirs, ours)
    return [name.replace("attn.Wqkv", f"self_attn.{part}_proj") for part in "qkv"] if "Wqkv" in name else [name]


def deberta(name, config):
    own = [] if config["share_att_key"] else ["attention.self.pos_key_proj", "attention.self.pos_query_proj"]
    of_layer = lambda i: sum(
        (
            dense(f"encoder.layer.{i}.{module}")
            for module in [f"attention.self.{part}_proj" for part in ("query", "key", "value")]
            + own
            + ["attention.output.dense", "attention.output.LayerNorm", "intermediate.dense", "output.dense", "output.LayerNorm"]
        ),
        [],
    )
    convolution = dense("encoder.conv.conv") + dense("encoder.conv.LayerNorm") if "conv_kernel_size" in config else []
    return Family(
        name,
        "DebertaV2",
        dict(
            architectures=["DebertaV2Model"],
            model_type="deberta-v2",
            **SMALL,
            max_position_embeddings=40,
            relative_attention=True,
            layer_norm_eps=1e-7,
            pad_token_id=0,
            **config,
        ),
        TABLES[:1]
        + TABLES[1:2] * config["position_biased_input"]
        + TABLES[2:] * (config["type_vocab_size"] > 0)
        + ["embeddings.embed_proj.weight"] * ("embedding_size" in config)
        + NORM
        + ["encoder.rel_embeddings.weight"]
        + dense("encoder.LayerNorm") * ("norm_rel_ebd" in config)
        + of_layer(0)
        + convolution
        + of_layer(1)
        + dense("pooler.dense"),
        "classifier",
        lengths=(17, 1, 9, 2, 35, 5),
    )


FAMILIES = [
    Family(
        "bert",
        "Bert",
        dict(
            architectures=["BertModel"],
            model_type="bert",
            hidden_size=36,
            num_attention_heads=3,
            intermediate_size=50,
            num_hidden_layers=3,
            vocab_size=99,
            max_position_embeddings=40,
            type_vocab_size=2,
            hidden_act="gelu",
            layer_norm_eps=1e-12,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            pad_token_id=0,
        ),
        TABLES + NORM + layers(3, "encoder.layer", BERT_LAYER) + dense("pooler.dense"),
        "classifier",
    ),
    Family(
        "roberta",
        "Roberta",
        dict(
            architectures=["RobertaModel"],
            model_type="roberta",
            **SMALL,
            max_position_embeddings=42,
            type_vocab_size=1,
            layer_norm_eps=1e-5,
            pad_token_id=1,
            bos_token_id=0,
            eos_token_id=2,
        ),
        TABLES + NORM + layers(2, "encoder.layer", BERT_LAYER) + dense("classifier.dense"),
        "classifier.out_proj",
    ),
    Family(
        "distilbert",
        "DistilBert",
        dict(
            architectures=["DistilBertModel"],
            model_type="distilbert",
            dim=30,
            n_heads=3,
            hidden_dim=44,
            n_layers=2,
            vocab_size=61,
            max_position_embeddings=40,
            activation="gelu",
            dropout=0.0,
            attention_dropout=0.0,
            seq_classif_dropout=0.0,
            pad_token_id=0,
        ),
        TABLES[:2]
        + NORM
        + layers(
            2,
            "transformer.layer",
            """attention.q_lin.weight attention.k_lin.weight attention.v_lin.weight
            attention.q_lin.bias attention.k_lin.bias attention.v_lin.bias
            attention.out_lin.weight attention.out_lin.bias sa_layer_norm.weight sa_layer_norm.bias
            ffn.lin1.weight ffn.lin1.bias ffn.lin2.weight ffn.lin2.bias
            output_layer_norm.weight output_layer_norm.bias""".split(),
        )
        + dense("pre_classifier"),
        "classifier",
    ),
    Family(
        "electra",
        "Electra",
        dict(
            architectures=["ElectraModel"],
            model_type="electra",
            **SMALL,
            embedding_size=22,
            max_position_embeddings=40,
            type_vocab_size=2,
            layer_norm_eps=1e-12,
            pad_token_id=0,
        ),
        TABLES
        + NORM
        + dense("embeddings_project")
        + layers(2, "encoder.layer", BERT_LAYER)
        + dense("classifier.dense"),
        "classifier.out_proj",
    ),
    Family(
        "mpnet",
        "MPNet",
        dict(
            architectures=["MPNetModel"],
            model_type="mpnet",
            **SMALL,
            max_position_embeddings=162,
            relative_attention_num_buckets=32,
            layer_norm_eps=1e-5,
            pad_token_id=1,
            bos_token_id=0,
            eos_token_id=2,
        ),
        TABLES[:2]
        + NORM
        + ["encoder.relative_attention_bias.weight"]
        + layers(
            2,
            "encoder.layer",
            """attention.attn.q.weight attention.attn.k.weight attention.attn.v.weight
            attention.attn.q.bias attention.attn.k.bias attention.attn.v.bias
            attention.attn.o.weight attention.attn.o.bias
            attention.LayerNorm.weight attention.LayerNorm.bias
            intermediate.dense.weight intermediate.dense.bias output.dense.weight output.dense.bias
            output.LayerNorm.weight output.LayerNorm.bias""".split(),
        )
        + dense("classifier.dense"),
        "classifier.out_proj",
        lengths=(17, 1, 9, 2, 150, 5),
    ),
    Family(
        "albert",
        "Albert",
        dict(
            architectures=["AlbertModel"],
            model_type="albert",
            **SMALL | dict(hidden_act="gelu_new", num_hidden_layers=4),
            num_hidden_groups=2,
            embedding_size=22,
            max_position_embeddings=40,
            type_vocab_size=2,
            classifier_dropout_prob=0.0,
            pad_token_id=0,
        ),
        TABLES
        + NORM
        + dense("encoder.embedding_hidden_mapping_in")
        + layers(
            2,
            "encoder.albert_layer_groups",
            [
                f"albert_layers.0.{name}"
                for name in """attention.query.weight attention.key.weight attention.value.weight
                attention.query.bias attention.key.bias attention.value.bias
                attention.dense.weight attention.dense.bias
                attention.LayerNorm.weight attention.LayerNorm.bias
                ffn.weight ffn.bias ffn_output.weight ffn_output.bias
                full_layer_layer_norm.weight full_layer_layer_norm.bias""".split()
            ],
        )
        + dense("pooler"),
        "classifier",
    ),
    modernbert("modernbert", False, dict(global_attn_every_n_layers=2, global_rope_theta=1000.0, local_rope_theta=100.0)),
    # As later versions write the config down.
    modernbert(
        "modernbert-biased",
        True,
        dict(
            layer_types=["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
            rope_parameters=dict(
                full_attention=dict(rope_type="default", rope_theta=1000.0),
                sliding_attention=dict(rope_type="default", rope_theta=100.0),
            ),
            classifier_pooling="mean",
        ),
    ),
    deberta(
        "deberta-v3",
        dict(
            position_buckets=8,
            position_biased_input=False,
            share_att_key=True,
            norm_rel_ebd="layer_norm",
            pos_att_type="p2c|c2p",
            type_vocab_size=0,
        ),
    ),
    deberta(
        "deberta-v2",
        dict(
            max_relative_positions=12,
            position_biased_input=True,
            share_att_key=False,
            pos_att_type=["c2p", "p2c"],
            type_vocab_size=2,
            embedding_size=22,
            conv_kernel_size=3,
            conv_act="gelu",
        ),
    ),
    Family(
        "nomic",
        "NomicBert",
        dict(
            architectures=["NomicBertModel"],
            model_type="nomic_bert",
            **SMALL | dict(hidden_act="silu"),
            max_position_embeddings=40,
            type_vocab_size=2,
            rope_parameters=dict(rope_type="default", rope_theta=100.0),
            pad_token_id=0,
        ),
        ["embeddings.word_embeddings.weight", "embeddings.token_type_embeddings.weight", "emb_ln.weight", "emb_ln.bias"]
        + layers(
            2,
            "encoder.layers",
            """attn.Wqkv.weight attn.out_proj.weight norm1.weight norm1.bias
            mlp.fc12.weight mlp.fc11.weight mlp.fc2.weight norm2.weight norm2.bias""".split(),
        )
        + dense("pooler.dense"),
        "classifier",
        parts=nomic_parts,
    ),
]
