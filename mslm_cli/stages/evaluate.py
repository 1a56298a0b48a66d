"""``mslm eval``: strict exact match of a NER model's mentions on gold data."""

import json
from pathlib import Path
from typing import Any

from mslm_cli import artifacts, console, models
from mslm_cli.artifacts import Artifact, Job
from mslm_cli.config import EvalConfig
from mslm_cli.corpus.documents import LabelledCorpus
from mslm_cli.corpus.labels import Mention, strict_mentions
from mslm_cli.corpus.readers import read_labelled
from mslm_cli.corpus.seen import Sketch
from mslm_cli.evaluation.exact_match import ExactMatch, exact_match
from mslm_cli.training.device import pick, place
from mslm_cli.training.model import load_ner
from mslm_cli.training.tagging import make_windows, predict_tags

RESULTS = "results.json"
PREDICTIONS = "predictions.jsonl"
RESULTS_VERSION = 1
WARN_ABOVE_SEEN_SHARE = 0.005


def run(ner: Path, data: Path, output: Path, config: EvalConfig, *, overwrite: bool = False) -> Path:
    """The published eval artifact: scores of ``ner`` on ``data``, and its predictions.

    Raises:
        ArtifactError: ``ner`` is no sound ner artifact.
        DataError: ``data`` is not sound.
    """
    source = artifacts.load(ner, "ner")
    job = Job("eval", output, config, [source.as_input("ner"), artifacts.file_input("data", data)])
    corpus = read_labelled(data, encoding=config.encoding, errors=config.errors)
    if job.is_done(overwrite=overwrite):
        return output
    predicted = predict(source, corpus, config)
    scores = exact_match([s.mentions for s in corpus.sentences], predicted)
    seen = count_seen(source, corpus)
    known = {label[2:] for label in _labels(source) if label != "O"}
    results = {
        "version": RESULTS_VERSION,
        "exact_match": scores.to_json(),
        "n_sentences": len(corpus.sentences),
        "n_words": sum(len(s.words) for s in corpus.sentences),
        "tag_scheme": corpus.scheme,
        "n_orphan_tags": corpus.n_orphans,
        "types_unknown_to_model": sorted(set(corpus.types) - known),
        "seen_upstream": seen,
    }
    with job.publish() as draft:
        (draft.path / RESULTS).write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
        with (draft.path / PREDICTIONS).open("w", encoding="utf-8") as file:
            for sentence, mentions in zip(corpus.sentences, predicted, strict=True):
                doc = {} if sentence.doc is None else {"doc": sentence.doc}
                found = {"words": sentence.words, "gold": sentence.mentions, "pred": mentions}
                file.write(json.dumps({"id": sentence.id, **doc, **found}, ensure_ascii=False) + "\n")
    report(scores, corpus, seen, data)
    return output


def predict(ner: Artifact, corpus: LabelledCorpus, config: EvalConfig) -> list[list[Mention]]:
    """The model's mentions in each sentence of ``corpus``; orphan I- tags make no mention."""
    options = ner.manifest.config
    tokenizer = models.load_tokenizer(ner.path, lowercase=options["lowercase"])
    model = load_ner(ner.path)
    place(model, pick(config.device, threads=config.threads))
    words = [s.words for s in corpus.sentences]
    windows = make_windows(words, tokenizer, tokenizer.model_max_length, options["overlap"])
    n_words = [len(w) for w in words]
    tags = predict_tags(model, windows, n_words, pad_id=tokenizer.pad_token_id, batch_tokens=config.batch_tokens)
    return [strict_mentions(t) for t in tags]


def _labels(ner: Artifact) -> list[str]:
    config = json.loads((ner.path / "config.json").read_bytes())
    return list(config["id2label"].values())


def count_seen(ner: Artifact, corpus: LabelledCorpus) -> dict[str, int]:
    """How many sentences of ``corpus`` each upstream artifact has seen, by the name of its sketch."""
    sentences = [" ".join(s.words) for s in corpus.sentences]
    sketches = sorted((ner.path / artifacts.SKETCHES).glob("*.u64"))
    return {path.stem: Sketch.load(path).count(sentences) for path in sketches}


def report(scores: ExactMatch, corpus: LabelledCorpus, seen: dict[str, int], data: Path) -> None:
    """Say what came out, warnings first."""
    if corpus.n_orphans:
        console.warn(f"{data}: {corpus.n_orphans} mentions start with I- and no B- before; each was taken as a mention")
    if not scores.micro.gold:
        console.warn(f"{data}: has no mention; precision, recall and F1 are 0 by convention")
    n = len(corpus.sentences)
    for name, count in seen.items():
        if count > n * WARN_ABOVE_SEEN_SHARE:
            console.warn(f"{count} of {n} sentences were seen by `{name}`: these scores are too good to be true")
        elif count:
            console.note(f"{count} of {n} sentences were seen by `{name}`")
    rows = [_row("all (micro)", scores.micro.to_json())]
    rows += [_row(kind, score.to_json()) for kind, score in scores.per_type.items()]
    console.table("strict exact match (IOB2, boundaries and type)", ["type", "P", "R (EM)", "F1", "gold", "pred"], rows)


def _row(name: str, score: dict[str, Any]) -> list[str]:
    shares = [f"{100 * score[k]:.2f}" for k in ("precision", "recall", "f1")]
    return [name, *shares, f"{score['gold']:,}", f"{score['predicted']:,}"]
