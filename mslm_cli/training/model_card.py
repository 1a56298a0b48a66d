"""The README.md of a checkpoint: what it is, what it was made from, how to use it."""

from collections.abc import Sequence
from typing import Any

from mslm_cli.artifacts import Artifact
from mslm_cli.config import AdaptConfig, FinetuneConfig
from mslm_cli.training.supervised import Best

_PIECES = {
    "first": """\
Only the first piece of each word was labelled in training. Decode by words, as `mslm predict` does: a word has the tag
of its first piece. `transformers.pipeline("token-classification")` opens this checkpoint. Its mentions differ where it
looks at other pieces (give it `aggregation_strategy="first"`), where a word has punctuation inside ("IL-2R" is three
words to it, and the later ones were never labelled), where a tag I- follows nothing that it could continue (it begins
a mention there), and in sentences that are too long for the encoder (it cuts them). `--label-pieces all` labels the
later parts of words too.""",
    "all": """\
All pieces of each word were labelled in training: the first one with the word's tag, the others with I- of its type, or
O. `transformers.pipeline("token-classification", aggregation_strategy="first")` opens this checkpoint and finds the
mentions that `mslm predict` finds, except where a tag I- follows nothing that it could continue (the pipeline begins a
mention there), where the model labels the later pieces of a word against its first one (`mslm` goes by the first; with
`aggregation_strategy="simple"` that shows more often), and in sentences that are too long for the encoder (the pipeline
cuts them).""",
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
`{config.weights}`, {config.epochs} epochs, {summary["n_steps"]:,} steps, {summary["n_tokens"]:,} tokens,
peak learning rate {config.learning_rate:g}, seed {config.seed}.

`metrics.jsonl` has a line for each step; `manifest.json` has all options and the fingerprints of the inputs;
`seen/` has hashes of the sentences that were seen, to find test sentences among them.

```python
from transformers import AutoModelForMaskedLM, AutoTokenizer
model, tokenizer = AutoModelForMaskedLM.from_pretrained("."), AutoTokenizer.from_pretrained(".")
```
"""


def ner(config: FinetuneConfig, types: Sequence[str], best: Best) -> str:
    """The model card of a NER model."""
    scores = best.scores
    return f"""---
library_name: transformers
pipeline_tag: token-classification
tags: [mslm, named-entity-recognition]
---
# Named entity recognition, fine-tuned with mslm

Entity types: {", ".join(types)}. Fine-tuned on unmasked text for {config.epochs} epochs, peak learning rate
{config.learning_rate:g}, seed {config.seed}; the best epoch on the development data was epoch {best.epoch}:
strict exact match precision {scores["precision"]:.4f}, recall {scores["recall"]:.4f}, F1 {scores["f1"]:.4f}.

{_PIECES[config.label_pieces]}
"""
