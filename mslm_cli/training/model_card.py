"""The README.md of a checkpoint: what it is, what it was made from, how to use it."""

from typing import Any

from mslm_cli.artifacts import Artifact
from mslm_cli.config import AdaptConfig, FinetuneConfig


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
`{config.weights}`, {config.epochs} epochs, {summary["n_updates"]:,} updates, {summary["n_tokens"]:,} tokens,
peak learning rate {config.learning_rate:g}, seed {config.seed}.

`metrics.jsonl` has a line for each update; `manifest.json` has all options and the fingerprints of the inputs;
`seen/` has hashes of the sentences that were seen, to find test sentences among them.

```python
from transformers import AutoModelForMaskedLM, AutoTokenizer
model, tokenizer = AutoModelForMaskedLM.from_pretrained("."), AutoTokenizer.from_pretrained(".")
```
"""


def ner(config: FinetuneConfig, labels: list[str], best: dict[str, Any]) -> str:
    """The model card of a NER model."""
    types = ", ".join(sorted({label[2:] for label in labels if label != "O"}))
    return f"""---
library_name: transformers
pipeline_tag: token-classification
tags: [mslm, named-entity-recognition]
---
# Named entity recognition, fine-tuned with mslm

Entity types: {types}. Fine-tuned on unmasked text for {config.epochs} epochs, peak learning rate
{config.learning_rate:g}, seed {config.seed}; the best epoch on the development data was epoch {best["epoch"]}:
strict exact match precision {best["precision"]:.4f}, recall {best["recall"]:.4f}, F1 {best["f1"]:.4f}.

Only the first piece of each word was labelled in training. Decode by words: a word has the tag of its first
piece. `transformers.pipeline("token-classification")` opens this checkpoint, but looks at the other pieces too
unless it is given `aggregation_strategy="first"`, and groups words by its own rules.
"""
