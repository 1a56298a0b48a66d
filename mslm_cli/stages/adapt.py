"""``mslm adapt``: masked language modelling on shards, with loss weights for DS-terms."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from mslm_cli import allocator, artifacts, console, models
from mslm_cli.artifacts import METRICS, Artifact, ArtifactBuild
from mslm_cli.config import AdaptConfig, PreprocessConfig
from mslm_cli.errors import ArtifactError, DataError, UsageError
from mslm_cli.masking.batch import DS_TERM, GENERIC
from mslm_cli.masking.recipe import ShardMasks, open_masks
from mslm_cli.masking.shards import ShardReader
from mslm_cli.masking.strategies import STRATEGIES
from mslm_cli.masking.weights import kind_weights, needs_counts, weights_notice
from mslm_cli.training import model_card, ranks
from mslm_cli.training.adaptation import HEAD, Phase, start_phase, training_steps
from mslm_cli.training.batching import plan_steps
from mslm_cli.training.checkpoint import Workspace, workspace
from mslm_cli.training.device import precision, prepare_model, select_device
from mslm_cli.training.flops import Meter
from mslm_cli.training.loop import StepResult, TrainState
from mslm_cli.training.masked import MaskedBatch, Objectives, add_heads, drop_heads
from mslm_cli.training.model import load_masked_lm, max_tokens
from mslm_cli.training.tensorboard import tensorboard_writer
from mslm_cli.workspace import RunOptions, discard

_KEYS = {GENERIC: "generic", DS_TERM: "ds_term"}
"""The keys in metrics.jsonl for predicted tokens, by mask kind."""

_TITLES = {"generic": "generic words", "ds_term": "DS-terms"}


def run(
    shards: Path,
    output: Path,
    config: AdaptConfig,
    rerun: RunOptions = RunOptions(),  # noqa: B008 - immutable
) -> Path:
    """Adapt an encoder on ``shards`` and publish the encoder artifact.

    Raises:
        UsageError: the shards do not suit the span-boundary or the detection objective.
        ArtifactError: the shards are damaged or were made with another tokenizer.
        UnavailableError: the encoder is unavailable.
        DivergedError: too many steps in a row had a non-finite or exploded loss.
    """
    allocator.keep_freed_memory()
    source = artifacts.load(shards, "shards")
    encoder = models.resolve(config.model, offline=config.offline, allow_pickle=config.allow_pickle)
    parent = artifacts.load_if_artifact(encoder, "encoder")
    model_input = parent.as_input("model") if parent else artifacts.file_input("model", encoder)
    build = ArtifactBuild("encoder", output, config, [source.as_input("shards"), model_input])
    if ranks.from_first(partial(build.is_done, overwrite=rerun.overwrite)):
        discard(build)
        return output
    tokenizer = _same_tokenizer(source, encoder, config)
    reader = ShardReader(source.path)
    masking = source.options(PreprocessConfig)
    _check_objectives(reader, masking.strategy, config)
    masks = open_masks(reader, masking, tokenizer)
    device = select_device(config.device, threads=config.threads)
    model, fresh = load_masked_lm(encoder, allow_pickle=config.allow_pickle, seed=config.seed)
    if reader.lengths.max(initial=0) > max_tokens(model):
        raise ArtifactError(
            f"{shards}: has sequences of {reader.lengths.max()} tokens; the encoder takes at most {max_tokens(model)}"
        )
    add_heads(model, Objectives(config.sbo, config.detect), config.seed)
    prepare_model(model, device)
    phases = _phases(reader, masks, config, fresh)
    with workspace(build, device, config, rerun) as work:
        with work.finishing_steps():
            _Training(masks, config, tokenizer.pad_token_id, work).run(model, phases)
        if not ranks.is_first():
            return output
        work.check_learnt()
        summary = _summary(work.metrics)
        drop_heads(model)
        with build.publish() as staged:
            model.save_pretrained(staged.path)
            tokenizer.save_pretrained(staged.path)
            (staged.path / METRICS).write_bytes(work.metrics.read_bytes())
            (staged.path / "README.md").write_text(model_card.encoder(config, source, summary), encoding="utf-8")
            artifacts.pass_on_sketches([source, parent], staged.path)
            staged.seeds["training"] = config.seed
            staged.run |= summary
    _report(summary)
    return output


def _check_objectives(reader: ShardReader, strategy: str, config: AdaptConfig) -> None:
    """Reject objectives that the shards do not suit."""
    if config.sbo and not STRATEGIES[strategy].masks_runs:
        raise UsageError(
            f"--sbo {config.sbo:g} needs masked spans, but strategy {strategy} has none",
            hint=f"use --strategy {', '.join(s.name for s in STRATEGIES if s.masks_runs)}",
        )
    if config.detect and not any(len(batch.spans) for batch in reader.blocks()):
        raise UsageError(
            f"--detect {config.detect:g} needs DS-terms, but {reader.folder} has none",
            hint="make the shards with --lexicon",
        )


def _same_tokenizer(source: Artifact, encoder: Path, config: AdaptConfig) -> PreTrainedTokenizerFast:
    """The tokenizer of the shards, after checking that it equals the encoder's."""
    tokenizer = models.load_tokenizer(source.path / "tokenizer", lowercase=config.lowercase)
    own = models.load_tokenizer(encoder, lowercase=config.lowercase)
    if models.tokenizer_fingerprint(tokenizer) != models.tokenizer_fingerprint(own):
        raise ArtifactError(
            f"{source.path}: the shards were made with a different tokenizer than that of model {config.model!r}"
            f" ({len(tokenizer):,} and {len(own):,} entries)",
            hint="make them again with `mslm preprocess --model` and this model",
        )
    return tokenizer


def _phases(reader: ShardReader, masks: ShardMasks, config: AdaptConfig, fresh: Sequence[str]) -> list[Phase]:
    """The phases of training, with notes for the user."""
    n_steps, n_epochs = _length(reader, config)
    masks.prepare(n_epochs)
    weights = kind_weights(config.weights, *_count_kinds(masks, config, n_epochs))
    if notice := weights_notice(config.weights, weights):
        console.note(notice)
    phases = [Phase("adapt", n_steps, weights)] if n_steps else []
    if fresh and config.head_warmup_steps:
        console.note(
            f"the checkpoint has no MLM head ({console.count(len(fresh), 'fresh parameter')}):"
            f" training the head alone for {console.count(config.head_warmup_steps, 'step')} first"
        )
        phases.insert(0, Phase(HEAD, config.head_warmup_steps, kind_weights("uniform", 1, 1)))
    elif fresh:
        console.warn(f"the checkpoint has no MLM head: {len(fresh)} parameters start at random")
    if not phases:
        raise UsageError("--epochs 0 trains only a fresh MLM head, but this encoder's head is not fresh")
    return phases


def _length(reader: ShardReader, config: AdaptConfig) -> tuple[int, int]:
    """The number of steps of the whole model, and the number of epochs they begin."""
    lengths = reader.lengths.astype(np.int64)
    n_steps = n_epochs = 0
    while n_epochs < config.epochs if config.steps is None else n_steps < config.steps:
        n_steps += len(plan_steps(lengths, config.tokens_per_step, seed=config.seed, epoch=n_epochs))
        n_epochs += 1
    return n_steps if config.steps is None else config.steps, n_epochs


def _count_kinds(masks: ShardMasks, config: AdaptConfig, n_epochs: int) -> tuple[int, int]:
    """Predicted tokens of generic words and of DS-terms, over all copies or, with dynamic masks, all epochs.

    If the weights need no counts, only the first epoch is drawn and counted.

    Raises:
        DataError: nothing is masked.
    """
    n_counted = masks.reader.n_copies or (n_epochs if needs_counts(config.weights) else 1)
    counts = [masks.epoch(epoch).count_kinds() for epoch in range(max(1, n_counted))]
    n_generic, n_ds_term = (sum(of_kind) for of_kind in zip(*counts, strict=True))
    if n_generic + n_ds_term == 0:
        raise DataError(
            f"{masks.reader.folder}: no tokens are masked, so there is nothing to learn", hint="raise the rates"
        )
    return n_generic, n_ds_term


@dataclass(frozen=True)
class _Training:
    """The inputs shared by all phases."""

    masks: ShardMasks
    config: AdaptConfig
    pad_id: int
    work: Workspace

    def run(self, model: PreTrainedModel, phases: Sequence[Phase]) -> None:
        """Train all phases, resuming from ``work``."""
        n_before = 0
        for number, phase in enumerate(phases):
            if self.work.progress.get("phase", 0) <= number:
                state = start_phase(model, phase, self.config)
                if self.work.progress.get("phase") == number:
                    self.work.restore(state)
                self._run_phase(state, phase, number, n_before)
            n_before += phase.n_steps

    def _run_phase(self, state: TrainState, phase: Phase, number: int, n_before: int) -> None:
        device, n_steps = state.model.device, phase.n_steps
        meter = Meter(state.model, device, precision(self.config.precision, device))
        with (
            tensorboard_writer(self.config.tensorboard) as show,
            console.progress(f"adapt: {phase.name}", n_steps) as bar,
        ):
            bar.advance(state.n_steps)
            for step in training_steps(state, phase, self.masks, self.config, self.pad_id):
                record = _record(step, phase.name, n_before + step.number, meter)
                self.work.log(record)
                show(record)
                bar.advance()
                bar.update(_progress_text(record))
                save = self.work.save if step.number == n_steps else self.work.save_if_due
                save(n_before + step.number, state, {"phase": number})


def _record(step: StepResult[MaskedBatch], phase: str, number: int, meter: Meter) -> dict[str, Any]:
    """The line of metrics.jsonl for one step, over all processes."""
    record: dict[str, Any] = {
        "step": number,
        "phase": phase,
        **step.outcome(),
        "learning_rate": step.learning_rate,
        **meter.lap([b.model_batch for b in step.microbatches], sum(len(b.kinds) for b in step.microbatches)),
    }
    sums = ranks.totals(np.sum([[0.0] * 3 * len(_KEYS), *map(_sums, step.microbatches)], axis=0).tolist())
    for name, n, loss, n_top in zip(_TITLES, sums[::3], sums[1::3], sums[2::3], strict=True):
        if n and not step.is_skipped:
            record[name] = {"n": int(n), "loss": round(loss / n, 5), "top1": round(n_top / n, 5)}
    return record


def _sums(batch: MaskedBatch) -> list[float]:
    """By mask kind: number of predicted tokens, sum of their losses, number of correct top predictions."""
    if batch.predicted is None:
        raise AssertionError("the microbatch has not been through the model")
    losses, is_top = (tensor.cpu().numpy() for tensor in batch.predicted)
    chosen = [batch.kinds == mask_kind for mask_kind in _KEYS]
    return [float(x) for c in chosen for x in (c.sum(), losses[c].sum(dtype=float), is_top[c].sum())]


def _progress_text(record: dict[str, Any]) -> str:
    kinds = ", ".join(f"{title} {record[key]['loss']:.2f}" for key, title in _TITLES.items() if key in record)
    return f"loss {kinds}  {record['tokens_per_s']:,.0f} tokens/s  {100 * record['mfu']:.0f} % of peak"


def _summary(metrics: Path) -> dict[str, Any]:
    """A summary of a run's log: its length, and mean loss and top-1 by mask kind over the last tenth.

    Steps that train the head alone are counted separately; the means are theirs only if there are no others.
    """
    records = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    of_head = [r for r in records if r["phase"] == HEAD]
    adapted = [r for r in records if r["phase"] != HEAD]
    summary: dict[str, Any] = {}
    for prefix, phase in (("n", adapted), ("n_head", of_head)):
        summary |= {f"{prefix}_steps": len(phase), f"{prefix}_tokens": sum(r["n_tokens"] for r in phase)}
    summary["n_skipped"] = sum("skipped" in r for r in records)
    shown = adapted or of_head
    last = shown[-max(1, len(shown) // 10) :]
    for name in _TITLES:
        if n := sum(r[name]["n"] for r in last if name in r):
            for score in ("loss", "top1"):
                total = sum(r[name][score] * r[name]["n"] for r in last if name in r)
                summary[f"{name}_{score}"] = round(total / n, 4)
    return summary


def _report(summary: dict[str, Any]) -> None:
    rows = [
        [title, f"{summary[f'{key}_loss']:.3f}", f"{100 * summary[f'{key}_top1']:.1f} %"]
        for key, title in _TITLES.items()
        if f"{key}_loss" in summary
    ]
    title = f"{model_card.training(summary)}\naverages over the last tenth"
    console.table(title, ["masked", "loss", "top-1"], rows)
