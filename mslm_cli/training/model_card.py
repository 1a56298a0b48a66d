"""Model cards: the README.md of a checkpoint, with its contents, origin and usage."""

from collections.abc import Sequence
from typing import Any

from mslm_cli.artifacts import Artifact
from mslm_cli.config import AdaptConfig, FinetuneConfig
from mslm_cli.console import count
from mslm_cli.corpus.documents import LabelledCorpus
from mslm_cli.training.kinds import TITLES
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
    rate = summary.get("adapt_learning_rate") or summary["head_learning_rate"]
    return f"""---
library_name: transformers
pipeline_tag: fill-mask
tags: [mslm, masked-language-modeling, domain-adaptation]
---
# Encoder adapted with mslm

`{config.model_dump()["model"]}`, adapted by masked language modelling: strategy `{options["strategy"]}`, loss weights
`{config.weights}`, peak learning rate {rate:g}, seed {config.seed}; {training(summary)}.
{_held_out(summary)}
`metrics.jsonl` has one line per step; `manifest.json` has all options and the fingerprints of the inputs;
{_detection(summary)}`seen/` has hashes of the training sentences, to detect test sentences among them.

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


def measured_on(held_out: dict[str, Any]) -> str:
    """What the held-out loss was measured on, and which step was kept."""
    text = "training text (too short to hold out some)" if held_out["is_training_text"] else "held-out text"
    n, kept, last = (held_out["kept"]["n_sequences"], held_out["kept_step"], held_out["last_step"])
    which = "the last step" if kept == last else f"step {kept:,} of {last:,}"
    return f"loss on {count(n, 'sequence')} of {text}; kept: {which if kept else 'the start, as no step was better'}"


def held_out_rows(held_out: dict[str, Any]) -> list[list[str]]:
    """By mask kind: its name, the loss at the start, of the kept and of the last step, the kept one's top-1."""
    kept = held_out["kept"]
    measured = [held_out["start"], kept, held_out["last"]]
    rows = [
        [title, *(f"{scores[key]['loss']:.3f}" for scores in measured), f"{100 * kept[key]['top1']:.1f} %"]
        for key, title in TITLES.items()
        if key in kept
    ]
    weighted = ["both, weighted", *(f"{scores['loss']:.3f}" for scores in measured), ""]
    return [*rows, weighted] if len(rows) > 1 else rows


def _held_out(summary: dict[str, Any]) -> str:
    """The paragraph of an encoder's card on its held-out loss; empty if it was not measured."""
    if "held_out" not in summary:
        return ""
    found = summary["held_out"]
    head = ["| masked | loss at the start | kept | last step | top-1 |", "|---|--:|--:|--:|--:|"]
    rows = [f"| {' | '.join(row)} |" for row in held_out_rows(found)]
    sentence = measured_on(found)
    return "\n".join(["", f"{sentence[0].upper()}{sentence[1:]}.", "", *head, *rows, ""])


def _detection(summary: dict[str, Any]) -> str:
    """The sentence of an encoder's card on its detection head; empty if it has none."""
    if "detected_types" not in summary:
        return ""
    types = ", ".join(summary["detected_types"])
    return f"`detection_head.safetensors` detects DS-terms by type ({types}); `mslm finetune` starts from it.\n"


def relations(config: FinetuneConfig, types: Sequence[str], between: Sequence[str], size: str, trained: Trained) -> str:
    """The model card of a relation model.

    Args:
        between: the types of entities that are related, as text.
        size: of the training data.
    """
    kept, scores = trained.kept, trained.kept.scores
    return f"""---
library_name: transformers
tags: [mslm, relation-extraction]
---
# Relation extraction, fine-tuned with mslm

Relations: {", ".join(types)}; between {"; ".join(between)}. `{config.model_dump()["model"]}`, fine-tuned on {size}, for
{count(trained.n_epochs, "epoch")} in steps of {count(trained.schedule.tokens_per_step, "token")}, peak learning rate
{config.learning_rate:g}, seed {config.seed}. On the development data, epoch {kept.epoch} was chosen: over relations
between given entities, precision {scores["precision"]:.4f}, recall {scores["recall"]:.4f}, F1 {scores["f1"]:.4f}.

`mslm predict` and `mslm eval` run the model. Its input has typed entity markers (Zhou and Chen 2022), and its head
reads the states of the two first markers, so `transformers` cannot load it by itself; `config.json` records under
`pair_rules` which pairs it is meant for.
"""


def documents(
    config: FinetuneConfig, labels: Sequence[str], n_documents: int, trained: Trained, *, several: bool
) -> str:
    """The model card of a classifier of documents.

    Args:
        several: whether a document can have several labels, or none.
    """
    kept, scores = trained.kept, trained.kept.scores
    each = "any number of labels" if several else "one label"
    return f"""---
library_name: transformers
tags: [mslm, text-classification]
---
# Classification of documents, fine-tuned with mslm

Each document has {each} of: {", ".join(labels)}. `{config.model_dump()["model"]}`, fine-tuned on
{count(n_documents, "document")} for {count(trained.n_epochs, "epoch")} in steps of
{count(trained.schedule.tokens_per_step, "token")}, peak learning rate {config.learning_rate:g}, seed {config.seed}. On
the development data, epoch {kept.epoch} was chosen: micro F1 {scores["f1"]:.4f}, macro F1 {scores["macro_f1"]:.4f}.

`mslm predict` and `mslm eval` run the model. The head is read at the first token of a window, and the probabilities of
a long document are the means over its windows.{
        " `label_thresholds` in `config.json` were chosen on the development data." * several
    }
"""


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
