"""Model cards: the README.md of a checkpoint, with its contents, origin and usage."""

from collections.abc import Sequence
from typing import Any

from mslm_cli.artifacts import Artifact
from mslm_cli.config import AdaptConfig, FinetuneConfig
from mslm_cli.console import count
from mslm_cli.corpus.documents import LabelledCorpus
from mslm_cli.training.supervised import Trained

_PIECES = {
    "first": """\
Only the first piece of each word was labelled in training. Decode by words, as `mslm predict` does: a word has the tag
of its first piece. `transformers.pipeline("token-classification")` can load this checkpoint, but finds different
mentions where it uses other pieces (set `aggregation_strategy="first"`), where a word contains punctuation (it splits
"IL-2R" into three words, of which the later ones were never labelled), where an I- tag does not continue a mention (it
begins one there), and in sentences longer than the encoder's limit (it truncates them). `--label-pieces all` labels
the later pieces of words too.""",
    "all": """\
All pieces of each word were labelled in training: the first with the word's tag, the others with I- of its type, or O.
`transformers.pipeline("token-classification", aggregation_strategy="first")` can load this checkpoint and finds the
same mentions as `mslm predict`, except where an I- tag does not continue a mention (the pipeline begins one there),
where the model's labels for later pieces contradict that of the first (`mslm` uses the first; with
`aggregation_strategy="simple"` this shows more often), and in sentences longer than the encoder's limit (the pipeline
truncates them).""",
}


def encoder(config: AdaptConfig, shards: Artifact, summary: dict[str, Any]) -> str:
    """The model card of an adapted encoder."""
    options = shards.manifest.config
    return f"""---
library_name: transformers
pipeline_tag: fill-mask
tags: [mslm, masked-language-modeling, domain-adaptation]
---
# Encoder adapted with mslm

`{config.model_dump()["model"]}`, adapted by masked language modelling: strategy `{options["strategy"]}`, loss weights
`{config.weights}`, peak learning rate {config.learning_rate:g}, seed {config.seed}; {training(summary)}.

`metrics.jsonl` has one line per step; `manifest.json` has all options and the fingerprints of the inputs;
`seen/` has hashes of the training sentences, to detect test sentences among them.

```python
from transformers import AutoModelForMaskedLM, AutoTokenizer
model, tokenizer = AutoModelForMaskedLM.from_pretrained("."), AutoTokenizer.from_pretrained(".")
```
"""


def training(summary: dict[str, Any]) -> str:
    """How long an encoder was adapted, and its head before that."""

    def length(prefix: str) -> str:
        return f"{count(summary[f'{prefix}_steps'], 'step')}, {count(summary[f'{prefix}_tokens'], 'token')}"

    if not summary["n_steps"]:
        return f"the MLM head alone was trained: {length('n_head')}"
    n_head = summary["n_head_steps"]
    return f"adapted: {length('n')}" + f", after {count(n_head, 'step')} of the MLM head alone" * bool(n_head)


def ner(config: FinetuneConfig, types: Sequence[str], train: LabelledCorpus, trained: Trained) -> str:
    """The model card of an NER model."""
    kept, scores = trained.kept, trained.kept.scores
    n_mentions = sum(len(sentence.mentions) for sentence in train.sentences)
    size = f"{count(len(train.sentences), 'sentence')} with {count(n_mentions, 'mention')}"
    return f"""---
library_name: transformers
pipeline_tag: token-classification
tags: [mslm, named-entity-recognition]
---
# Named entity recognition, fine-tuned with mslm

Entity types: {", ".join(types)}. `{config.model_dump()["model"]}`, fine-tuned on {size}, unmasked, for
{count(trained.n_epochs, "epoch")} in steps of {count(trained.schedule.tokens_per_step, "token")}, peak learning rate
{config.learning_rate:g}, seed {config.seed}. On the development data, epoch {kept.epoch} was chosen: strict
exact match precision {scores["precision"]:.4f}, recall {scores["recall"]:.4f}, F1 {scores["f1"]:.4f}.

{_PIECES[config.label_pieces]}
"""
