"""An encoder with mean or first-token pooling and a linear head.

BertForSequenceClassification reads the first token through layers of its own. This model reads the
mean of all tokens, or the first token as it is; `linocut_pooling` in config.json says which, and
`linocut_unit` whether the head reads that vector over its length.
"""

from torch import nn
from transformers import BertConfig, BertModel, BertPreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput


class LinocutConfig(BertConfig):
    # Not "bert": loaded as that, its layers would be missing and silently drawn at random.
    model_type = "linocut_bert"

    def __init__(self, linocut_pooling="mean", linocut_unit=False, **kwargs):
        super().__init__(**kwargs)
        self.linocut_pooling = linocut_pooling
        self.linocut_unit = linocut_unit


def convert_names():
    # Where Transformers calls tensors otherwise than files do, it asks for what they become by model_type.
    try:
        from transformers.conversion_mapping import (
            get_checkpoint_conversion_mapping,
            register_checkpoint_conversion_mapping,
        )
    except ImportError:  # before version 5
        return
    mapping = get_checkpoint_conversion_mapping("bert")
    if mapping:
        register_checkpoint_conversion_mapping(LinocutConfig.model_type, mapping, overwrite=True)


convert_names()


class LinocutForSequenceClassification(BertPreTrainedModel):
    config_class = LinocutConfig

    def __init__(self, config):
        super().__init__(config)
        if config.linocut_pooling not in ("mean", "first"):
            raise ValueError(f"linocut_pooling is {config.linocut_pooling!r}, expected mean or first")
        self.num_labels = config.num_labels
        self.bert = BertModel(config, add_pooling_layer=False)
        names = (
            "classifier_dropout", "classifier_dropout_prob", "cls_dropout", "seq_classif_dropout", "hidden_dropout_prob",
        )
        given = [getattr(config, name) for name in names if getattr(config, name, None) is not None]
        self.dropout = nn.Dropout(given[0])
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def forward(
        self,
        input_ids=None,
        attention_mask=None,
        token_type_ids=None,
        position_ids=None,
        inputs_embeds=None,
        labels=None,
        **kwargs,
    ):
        given = dict(token_type_ids=token_type_ids, position_ids=position_ids, inputs_embeds=inputs_embeds)
        # Not every encoder knows all of them.
        given = {name: value for name, value in given.items() if value is not None}
        hidden = self.bert(input_ids=input_ids, attention_mask=attention_mask, **given).last_hidden_state
        if self.config.linocut_pooling == "first":
            pooled = hidden[:, 0]
        elif attention_mask is None:
            pooled = hidden.mean(dim=1)
        else:
            kept = attention_mask.unsqueeze(-1).to(hidden.dtype)
            pooled = (hidden * kept).sum(dim=1) / kept.sum(dim=1).clamp(min=1)
        if self.config.linocut_unit:
            pooled = nn.functional.normalize(pooled, dim=-1)
        logits = self.classifier(self.dropout(pooled))
        loss = None
        if labels is not None:
            if self.config.problem_type == "regression":
                loss = nn.functional.mse_loss(logits.squeeze(-1), labels.to(logits.dtype))
            elif self.config.problem_type == "multi_label_classification":
                loss = nn.functional.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))
            else:
                loss = nn.functional.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)
