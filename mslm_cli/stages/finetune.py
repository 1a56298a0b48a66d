"""``mslm finetune``: named entity recognition on unmasked text."""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from mslm_cli import allocator, artifacts, console, fsio, models
from mslm_cli.artifacts import ArtifactBuild
from mslm_cli.config import FinetuneConfig
from mslm_cli.corpus.documents import LabelledCorpus
from mslm_cli.corpus.labels import strict_mentions, tags_from_mentions
from mslm_cli.corpus.readers import count_changes, gold_inputs, read_gold
from mslm_cli.corpus.seen import Sketch
from mslm_cli.errors import DataError
from mslm_cli.evaluation.exact_match import exact_match
from mslm_cli.text.tokens import keeps_punctuation
from mslm_cli.training import model_card, ranks, rng
from mslm_cli.training.batching import plan_forward_passes, plan_steps
from mslm_cli.training.checkpoint import Workspace, workspace
from mslm_cli.training.device import precision, prepare_model, select_device
from mslm_cli.training.flops import Meter
from mslm_cli.training.loop import MicrobatchOptions, Step, TrainState, train
from mslm_cli.training.losses import weighted_cross_entropy
from mslm_cli.training.model import load_token_classifier, logits_at, max_tokens, mlm_head, save_mlm_head
from mslm_cli.training.optim import make_optimizer, make_schedule
from mslm_cli.training.packing import Collator, make_collator
from mslm_cli.training.tagging import (
    Window,
    WindowBatch,
    collate,
    continuations_of,
    make_windows,
    predict_tags,
    window_lengths,
    window_targets,
)
from mslm_cli.training.tensorboard import tensorboard_writer
from mslm_cli.workspace import HASHES, discard, new_checkpoint, verify_checkpoint

METRICS = "metrics.jsonl"
ENCODER_METRICS = "encoder_metrics.jsonl"


@dataclass(frozen=True)
class TaggedData:
    """Labelled sentences with their windows; ``label_ids`` has an int64 array [n_words] a sentence.

    ``continuations``: see ``continuations_of``.
    """

    corpus: LabelledCorpus
    windows: Sequence[Window]
    label_ids: Sequence[np.ndarray[Any, np.dtype[np.int64]]]
    continuations: np.ndarray[Any, np.dtype[np.int64]]

    @property
    def n_words(self) -> list[int]:
        return [len(s.words) for s in self.corpus.sentences]


def run(
    train_file: Path,
    dev_file: Path,
    output: Path,
    config: FinetuneConfig,
    *,
    resume: str = "auto",
    resume_anyway: bool = False,
    overwrite: bool = False,
) -> Path:
    """The published ner artifact: the epoch with the best strict F1 on ``dev_file``.

    Raises:
        DataError: the data are not sound, or the training data have no mention.
        UnavailableError: the encoder cannot be had.
        DivergedError: the loss is not finite, or exploded, step after step.
    """
    allocator.keep_freed_memory()
    inputs = [*gold_inputs("train", train_file), *gold_inputs("dev", dev_file)]
    train_corpus, dev_corpus = (read_gold(file, config) for file in (train_file, dev_file))
    encoder = models.resolve(config.model, offline=config.offline, allow_pickle=config.allow_pickle)
    parent = artifacts.load_if_artifact(encoder, "encoder")
    model_input = parent.as_input("model") if parent else artifacts.file_input("model", encoder)
    build = ArtifactBuild("ner", output, config, [*inputs, model_input])
    if ranks.from_first(partial(build.is_done, overwrite=overwrite)):
        discard(build)
        return output
    labels = labels_of(train_corpus, dev_corpus, train_file)
    tokenizer = models.load_tokenizer(encoder, lowercase=config.lowercase)
    device = select_device(config.device, threads=config.threads)
    head = mlm_head(encoder, allow_pickle=config.allow_pickle)
    model = load_token_classifier(encoder, labels, allow_pickle=config.allow_pickle, seed=config.seed)
    prepare_model(model, device)
    max_length = min(config.max_length, max_tokens(model))
    tokenizer.model_max_length = max_length
    train_data, dev_data = (
        tagged(corpus, labels, tokenizer, max_length, config.overlap, all_pieces=all_pieces)
        for corpus, all_pieces in ((train_corpus, config.label_pieces == "all"), (dev_corpus, False))
    )
    every, keep = config.checkpoint_every, config.keep_checkpoints
    with workspace(build, device, every=every, keep=keep, resume=resume, anyway=resume_anyway) as work:
        with work.finishing_steps():
            best = _train(model, train_data, dev_data, config, tokenizer, work)
        if not ranks.is_first():
            return output
        with build.publish() as staged:
            verify_checkpoint(work.folder / best["folder"])
            no_hashes = shutil.ignore_patterns(HASHES)
            shutil.copytree(work.folder / best["folder"], staged.path, ignore=no_hashes, dirs_exist_ok=True)
            tokenizer.save_pretrained(staged.path)
            if head:
                save_mlm_head(head, staged.path)
            (staged.path / METRICS).write_bytes(work.metrics.read_bytes())
            if parent and (parent.path / METRICS).is_file():
                shutil.copyfile(parent.path / METRICS, staged.path / ENCODER_METRICS)
            (staged.path / "README.md").write_text(model_card.ner(config, labels, best), encoding="utf-8")
            artifacts.pass_on_sketches([parent], staged.path)
            # the best epoch is chosen on dev: its sentences have had their say too
            for name, corpus in (("train", train_corpus), ("dev", dev_corpus)):
                _sketch(corpus).save(staged.path / artifacts.SKETCHES / f"finetune-{name}.u64")
            staged.seeds["training"] = config.seed
            staged.run["words"] = _word_form(train_corpus)
            staged.run["changed_mentions"] = {"train": count_changes(train_corpus), "dev": count_changes(dev_corpus)}
            staged.run |= {"best_epoch": best["epoch"], "dev_f1": best["f1"], "n_windows": len(train_data.windows)}
    console.note(f"best epoch {best['epoch']} of {config.epochs}: strict F1 {100 * best['f1']:.2f} on dev")
    return output


def labels_of(train: LabelledCorpus, dev: LabelledCorpus, train_file: Path) -> list[str]:
    """O, then B- and I- of each type of the training data."""
    if not train.types:
        raise DataError("the training data have no mention, so there is nothing to learn", path=train_file)
    if dev.types and not set(train.types) & set(dev.types):
        raise DataError(
            f"no type of the dev data is in the training data: {', '.join(dev.types)} there,"
            f" {', '.join(train.types)} in training",
            path=train_file,
            hint="are both files of the same corpus?",
        )
    if unknown := sorted(set(dev.types) - set(train.types)):
        console.warn(f"types in the dev data that the training data lack, never predicted: {', '.join(unknown)}")
    return ["O", *(f"{prefix}-{kind}" for kind in train.types for prefix in "BI")]


def tagged(
    corpus: LabelledCorpus,
    labels: Sequence[str],
    tokenizer: PreTrainedTokenizerFast,
    max_length: int,
    overlap: int,
    *,
    all_pieces: bool,
) -> TaggedData:
    """The sentences of ``corpus`` with the numbers of their labels, and as windows."""
    number = {label: i for i, label in enumerate(labels)}
    label_ids = [
        np.array([number.get(t, 0) for t in tags_from_mentions(s.mentions, len(s.words))], dtype=np.int64)
        for s in corpus.sentences
    ]
    words = [s.words for s in corpus.sentences]
    windows = make_windows(words, tokenizer, max_length, overlap, all_pieces=all_pieces)
    return TaggedData(corpus, windows, label_ids, continuations_of(labels))


def _word_form(corpus: LabelledCorpus) -> str:
    """How the data part text into words, which `mslm predict` has to do too."""
    words = (word for sentence in corpus.sentences for word in sentence.words)
    return "joined" if keeps_punctuation(words) else "punctuation"


def _sketch(corpus: LabelledCorpus) -> Sketch:
    sketch = Sketch()
    for sentence in corpus.sentences:
        sketch.add(" ".join(sentence.words))
    return sketch


def _train(
    model: PreTrainedModel,
    data: TaggedData,
    dev: TaggedData,
    config: FinetuneConfig,
    tokenizer: PreTrainedTokenizerFast,
    work: Workspace,
) -> dict[str, Any]:
    """Train all epochs, from where ``work`` left off; the best epoch, its dev scores and its folder in ``work``."""
    state, plans = new_trainee(model, data, config)
    n_steps = sum(map(len, plans))
    rng.seed(config.seed)
    work.restore(state)
    best: dict[str, Any] = work.progress.get("best", {})

    done_before = 0
    meter = Meter(model, model.device, precision(config.precision, model.device))
    with tensorboard_writer(config.tensorboard) as show, console.progress("finetune", n_steps) as bar:
        bar.advance(state.n_steps)
        for epoch, plan in enumerate(plans):
            if work.progress.get("epoch", -1) < epoch:
                rest = plan[state.n_steps - done_before :]
                model.train()
                meter.restart()
                for step in training_steps(state, data, rest, config, tokenizer):
                    record = _record(step, meter)
                    work.log(record)
                    show(record)
                    bar.advance()
                    speed = f"{record['tokens_per_s']:,.0f} tokens/s  {100 * record['mfu']:.0f} % of peak"
                    bar.update(f"epoch {epoch + 1}  loss {step.loss:.3f}  {speed}")
                    work.save_if_due(step.number, state, {"epoch": epoch - 1, "best": best})
                started = time.perf_counter()
                scores = ranks.from_first(partial(_dev_scores, model, dev, tokenizer))
                seconds = round(time.perf_counter() - started, 2)
                work.log({"step": state.n_steps, "epoch": epoch + 1, "dev": scores, "seconds": seconds})
                console.note(f"epoch {epoch + 1}: dev strict F1 {100 * scores['f1']:.2f}")
                if not best or scores["f1"] > best["f1"]:
                    best = ranks.from_first(partial(_keep, model, work.folder, epoch + 1, scores))
                work.save(state.n_steps, state, {"epoch": epoch, "best": best})
                if ranks.is_first():
                    _drop_needless(work)
            done_before += len(plan)
    return best


def new_trainee(
    model: PreTrainedModel, data: TaggedData, config: FinetuneConfig
) -> tuple[TrainState, list[list[np.ndarray[Any, np.dtype[np.int64]]]]]:
    """``model`` at the start of the training, and the windows of each step of each epoch."""
    lengths = window_lengths(data.windows)
    plans = [plan_steps(lengths, config.tokens_per_step, seed=config.seed, epoch=e) for e in range(config.epochs)]
    optimizer = make_optimizer(model.named_parameters(), config.learning_rate, config.weight_decay)
    return TrainState(model, optimizer, make_schedule(optimizer, sum(map(len, plans)), config.warmup_share)), plans


def training_steps(
    state: TrainState,
    data: TaggedData,
    plan: Sequence[np.ndarray[Any, np.dtype[np.int64]]],
    config: FinetuneConfig,
    tokenizer: PreTrainedTokenizerFast,
) -> Iterator[Step[WindowBatch]]:
    """The steps of ``plan``, one after the other; each is done when it is drawn."""
    model = state.model
    passes = MicrobatchOptions.of(config, model.device)
    collate_fn = make_collator(model, tokenizer.pad_token_id, passes.dtype)
    steps = _steps(data.windows, plan, window_lengths(data.windows), collate_fn)
    return train(state, steps, partial(_share_of_loss, model, data), config.max_grad_norm, passes)


def _share_of_loss(model: PreTrainedModel, data: TaggedData, batch: WindowBatch) -> torch.Tensor:
    logits = logits_at(model, batch.model_batch, batch.positions)
    of_each = [window_targets(w, data.label_ids[w.sentence], data.continuations) for w in batch.windows]
    targets = torch.from_numpy(np.concatenate(of_each))
    weights = torch.ones(len(targets), device=logits.device)
    share, _ = weighted_cross_entropy(logits, targets.to(logits.device), weights, batch.total_weight)
    return share


def _record(step: Step[WindowBatch], meter: Meter) -> dict[str, Any]:
    """The line of metrics.jsonl for one step, of all processes."""
    speed = meter.lap([b.model_batch for b in step.batches], sum(len(b.positions) for b in step.batches))
    return {"step": step.number, **step.outcome(), "learning_rate": step.learning_rate, **speed}


def _keep(model: PreTrainedModel, folder: Path, epoch: int, scores: dict[str, Any]) -> dict[str, Any]:
    """Keep the model as the best so far; what identifies it."""
    name = f"best-{epoch:04d}"
    with new_checkpoint(folder / name) as staged:
        model.save_pretrained(staged)
    return {"epoch": epoch, "folder": name, **{k: scores[k] for k in ("precision", "recall", "f1")}}


def _drop_needless(work: Workspace) -> None:
    """Delete the models that were the best once, and that no checkpoint goes on with."""
    needed = {progress["best"].get("folder") for progress in work.kept_progress()}
    for kept in work.folder.glob("best-*"):
        if kept.name not in needed:
            fsio.delete(kept)


def _dev_scores(model: PreTrainedModel, dev: TaggedData, tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    tags = predict_tags(model, dev.windows, dev.n_words, pad_id=tokenizer.pad_token_id, batch_tokens=2048)
    gold = [s.mentions for s in dev.corpus.sentences]
    return exact_match(gold, [strict_mentions(t) for t in tags]).micro.to_json()


def _steps(
    windows: Sequence[Window],
    plan: Sequence[np.ndarray[Any, np.dtype[np.int64]]],
    lengths: np.ndarray[Any, np.dtype[np.int64]],
    collate_fn: Collator,
) -> Iterator[Callable[[int], list[WindowBatch]]]:
    """What makes the forward passes of each step; each knows the number of labelled words of the whole step."""
    for chosen in plan:
        n_words = float(sum(len(windows[i].words) for i in chosen))
        yield partial(_batches, windows, ranks.local_share(chosen), lengths, n_words, collate_fn)


def _batches(
    windows: Sequence[Window],
    own: np.ndarray[Any, np.dtype[np.int64]],
    lengths: np.ndarray[Any, np.dtype[np.int64]],
    n_words: float,
    collate_fn: Collator,
    max_tokens: int,
) -> list[WindowBatch]:
    groups = plan_forward_passes(own, lengths, max_tokens)
    return [collate([windows[i] for i in g], collate_fn, total_weight=n_words) for g in groups]
