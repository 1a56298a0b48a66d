"""``mslm adapt``: masked language modelling on shards, with loss weights for DS-terms."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from mslm_cli import allocator, artifacts, console, models
from mslm_cli.artifacts import METRICS, STATS, Artifact, ArtifactBuild
from mslm_cli.config import AdaptConfig, PreprocessConfig
from mslm_cli.errors import ArtifactError, DataError, UsageError
from mslm_cli.masking.recipe import ShardMasks, open_masks
from mslm_cli.masking.shards import ShardReader
from mslm_cli.masking.strategies import STRATEGIES
from mslm_cli.masking.weights import KindWeights, kind_weights, needs_counts, weights_notice
from mslm_cli.training import model_card, ranks
from mslm_cli.training.adaptation import ADAPT, HEAD, AdaptationData, Phase
from mslm_cli.training.checkpoint import workspace
from mslm_cli.training.device import prepare_model, select_device
from mslm_cli.training.held_out import HeldOut, divide
from mslm_cli.training.kinds import TITLES
from mslm_cli.training.loop import MicrobatchOptions
from mslm_cli.training.masked import Objectives, add_heads, drop_heads
from mslm_cli.training.model import load_masked_lm, max_tokens, save_detection_head
from mslm_cli.training.packing import make_collator
from mslm_cli.training.run_length import (
    HEAD_LEARNING_RATE,
    Length,
    head_steps,
    learning_rate,
    plan_length,
    step_size,
    tokens_in,
)
from mslm_cli.training.self_supervised import Progress, adapt
from mslm_cli.workspace import RunOptions, discard, earlier_options

_MEASUREMENTS, _HEAD_MEASUREMENTS = 12, 8
_MEASURED_SHARE = 1 / 60
"""Tokens to measure on, of those to train on: at a third of the cost of training, 12 measurements cost 7 %."""


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
    parent = artifacts.load_if_artifact(encoder, "encoder", "ner")
    model_input = parent.as_input("model") if parent else artifacts.file_input("model", encoder)
    config = _in_tokens(_with_step_size(config, source), output, source, encoder)
    build = ArtifactBuild("encoder", output, config, [source.as_input("shards"), model_input])
    if ranks.from_first(partial(build.is_done, overwrite=rerun.overwrite)):
        discard(build)
        return output
    tokenizer, masks, model, fresh = _loaded(source, encoder, config)
    plan = _plan(model, masks, config, fresh, tokenizer.pad_token_id)
    device = model.device
    with workspace(build, device, config, rerun) as work:
        with work.finishing_steps():
            progress = adapt(model, plan.phases, plan.data, plan.held_out, config, work)
        if not ranks.is_first():
            return output
        work.check_learnt()
        summary = _summary(work.metrics) | _outcome(plan, progress)
        detection, types = drop_heads(model), _detected_types(source, progress, config)
        if types:
            summary["detected_types"] = [name for name in types if name]
        with build.publish() as staged:
            model.save_pretrained(staged.path)
            tokenizer.save_pretrained(staged.path)
            if types:
                save_detection_head(detection, types, staged.path)
            (staged.path / METRICS).write_bytes(work.metrics.read_bytes())
            (staged.path / "README.md").write_text(model_card.encoder(config, source, summary), encoding="utf-8")
            artifacts.pass_on_sketches([source], staged.path)
            artifacts.pass_on_sketches([parent], staged.path, prefix=artifacts.sketch_prefix(parent))
            staged.seeds["training"] = config.seed
            staged.run |= summary
    _report(summary)
    return output


def _with_step_size(config: AdaptConfig, source: Artifact) -> AdaptConfig:
    """``config`` with the size of a step, which depends on the device and is part of what identifies the result."""
    if config.tokens_per_step != "auto":
        return config
    n_tokens = int(ShardReader(source.path).lengths.sum(dtype=np.int64))
    size = step_size(config, n_tokens, select_device(config.device, threads=config.threads))
    sized = config.model_copy(update={"tokens_per_step": size})
    if size != config.step_tokens:
        console.note(f"--tokens-per-step auto is {size:,} on this device, the learning rate {learning_rate(sized):g}")
    return sized


def _in_tokens(config: AdaptConfig, output: Path, source: Artifact, encoder: Path) -> AdaptConfig:
    """``config`` with ``minutes`` as tokens: those of an earlier run for ``output``, or by the speed of some steps."""
    if config.steps is not None and (config.tokens or config.minutes):
        raise UsageError("--steps is the length of the run: drop --tokens and --minutes")
    if config.minutes is None:
        return config
    earlier = ranks.from_first(partial(earlier_options, output))
    found = [options["tokens"] for options in earlier if options.get("minutes") == config.minutes]
    if found and isinstance(found[0], int):
        n_tokens = found[0]
    else:
        tokenizer, masks, model, _ = _loaded(source, encoder, config)
        sequences = divide(masks.reader.doc, config.held_out).training
        options = MicrobatchOptions.of(config, config.step_tokens, model.device)
        collate_fn = make_collator(model, tokenizer.pad_token_id, options.dtype, is_small=options.has_graphs)
        data = AdaptationData(masks, sequences, collate_fn)
        n_tokens = tokens_in(config.minutes, model, data, config)
        console.note(f"--minutes {config.minutes:g} are {console.count(n_tokens, 'token')} on this machine")
    return config.model_copy(update={"tokens": min(n_tokens, config.tokens or n_tokens)})


class _Loaded(NamedTuple):
    """What is trained, and on what; fresh: the parameters of the MLM head that the encoder lacks."""

    tokenizer: PreTrainedTokenizerFast
    masks: ShardMasks
    model: PreTrainedModel
    fresh: Sequence[str]


def _loaded(source: Artifact, encoder: Path, config: AdaptConfig) -> _Loaded:
    """The shards and the encoder, on its device and with its heads."""
    tokenizer = _same_tokenizer(source, encoder, config)
    reader = ShardReader(source.path)
    masking = source.options(PreprocessConfig)
    _check_objectives(reader, masking.strategy, config)
    masks = open_masks(reader, masking, tokenizer)
    device = select_device(config.device, threads=config.threads)
    model, fresh = load_masked_lm(encoder, allow_pickle=config.allow_pickle, seed=config.seed)
    if reader.lengths.max(initial=0) > max_tokens(model):
        raise ArtifactError(
            f"{source.path}: has sequences of {reader.lengths.max()} tokens; the encoder takes at most"
            f" {max_tokens(model)}"
        )
    add_heads(model, Objectives(config.sbo, config.detect), len(_types(source)), config.seed)
    prepare_model(model, device)
    return _Loaded(tokenizer, masks, model, fresh)


def _types(source: Artifact) -> list[str]:
    """The names of the types of DS-mentions in the shards; "" for terms without a type."""
    types: list[str] = json.loads(source.file(STATS).read_text(encoding="utf-8"))["types"]
    return types


def _detected_types(source: Artifact, progress: Progress, config: AdaptConfig) -> list[str]:
    """The types that the detection head has learnt; none if it is untrained, or the lexicon has none."""
    types = _types(source)
    is_trained = config.detect > 0 and (progress.best is None or progress.best.step > 0)
    return types if is_trained and any(types) else []


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


class _Plan(NamedTuple):
    """What is trained, on what, and what it is measured on."""

    phases: list[Phase]
    data: AdaptationData
    held_out: HeldOut | None
    is_apart: bool


def _plan(model: PreTrainedModel, masks: ShardMasks, config: AdaptConfig, fresh: Sequence[str], pad_id: int) -> _Plan:
    """The plan of a run, with notes for the user."""
    options = MicrobatchOptions.of(config, config.step_tokens, model.device)
    lengths = masks.reader.lengths.astype(np.int64)
    division = divide(masks.reader.doc, config.held_out)
    collate_fn = make_collator(model, pad_id, options.dtype, is_small=options.has_graphs)
    data = AdaptationData(masks, division.training, collate_fn)
    length = plan_length(data, config)
    masks.prepare(length.n_epochs)
    weights = kind_weights(config.weights, *_count_kinds(masks, config, length.n_epochs))
    if notice := weights_notice(config.weights, weights):
        console.note(notice)
    phases = _phases(config, length, weights, fresh)
    if not config.held_out:
        return _Plan(phases, data, None, is_apart=False)
    if not division.is_apart:
        console.note(
            f"{console.count(len(lengths), 'sequence')} are too few to hold out {100 * config.held_out:g} %:"
            " the loss is measured on the training text, with fixed masks"
        )
    n_tokens = max(length.n_tokens, config.step_tokens * sum(phase.n_steps for phase in phases))
    measured = division.limited(lengths, round(_MEASURED_SHARE * n_tokens)).measured
    of_training = data.masked(model, weights, Objectives())
    held_out = HeldOut(of_training, masks.epoch(0), measured, options.max_tokens, options.dtype)
    return _Plan(phases, data, held_out, division.is_apart)


def _phases(config: AdaptConfig, length: Length, weights: KindWeights, fresh: Sequence[str]) -> list[Phase]:
    """The phases of training, with notes for the user."""
    phases = []
    n_head = head_steps(config, length) if fresh else 0
    if n_head:
        most = "at most " * (config.head_warmup_steps == "auto")
        console.note(
            f"the checkpoint has no MLM head ({console.count(len(fresh), 'fresh parameter')}):"
            f" training the head alone for {most}{console.count(n_head, 'step')} first"
        )
        of_head = kind_weights("uniform", 1, 1)
        is_auto = config.head_warmup_steps == "auto"
        phases.append(Phase(HEAD, n_head, of_head, HEAD_LEARNING_RATE, -(-n_head // _HEAD_MEASUREMENTS), is_auto))
    elif fresh:
        console.warn(f"the checkpoint has no MLM head: {len(fresh)} parameters start at random")
    if length.n_steps:
        is_auto = config.epochs == "auto" and config.steps is None
        rate, every = learning_rate(config), -(-length.n_steps // _MEASUREMENTS)
        phases.append(Phase(ADAPT, length.n_steps, weights, rate, every, is_auto))
    if not phases:
        raise UsageError("--epochs 0 trains only a fresh MLM head, but this encoder's head is not fresh")
    return phases


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


def _summary(metrics: Path) -> dict[str, Any]:
    """A summary of a run's log: its length, and mean loss and top-1 by mask kind over the last tenth.

    Steps that train the head alone are counted separately; the means are theirs only if there are no others.
    """
    records = [r for r in map(json.loads, metrics.read_text(encoding="utf-8").splitlines()) if "held_out" not in r]
    of_head = [r for r in records if r["phase"] == HEAD]
    adapted = [r for r in records if r["phase"] != HEAD]
    summary: dict[str, Any] = {}
    for prefix, phase in (("n", adapted), ("n_head", of_head)):
        summary |= {f"{prefix}_steps": len(phase), f"{prefix}_tokens": sum(r["n_tokens"] for r in phase)}
    summary["n_skipped"] = sum("skipped" in r for r in records)
    shown = adapted or of_head
    last = shown[-max(1, len(shown) // 10) :]
    for name in TITLES:
        if n := sum(r[name]["n"] for r in last if name in r):
            for score in ("loss", "top1"):
                total = sum(r[name][score] * r[name]["n"] for r in last if name in r)
                summary[f"{name}_{score}"] = round(total / n, 4)
    return summary


def _outcome(plan: _Plan, progress: Progress) -> dict[str, Any]:
    """The learning rate of the whole model and its held-out losses, for the manifest."""
    outcome: dict[str, Any] = {f"{p.name}_learning_rate": p.learning_rate for p in plan.phases}
    start, last, best = progress.start, progress.last, progress.best
    if start and last and best:
        outcome["held_out"] = {
            "is_training_text": not plan.is_apart,
            "kept_step": best.step - start.step,
            "last_step": last.step - start.step,
            **{name: found.scores for name, found in (("start", start), ("kept", best), ("last", last))},
        }
    return outcome


def _report(summary: dict[str, Any]) -> None:
    held_out = summary.get("held_out")
    title = model_card.training(summary)
    if held_out is None:
        rows = [
            [title, f"{summary[f'{key}_loss']:.3f}", f"{100 * summary[f'{key}_top1']:.1f} %"]
            for key, title in TITLES.items()
            if f"{key}_loss" in summary
        ]
        console.table(f"{title}\naverages over the last tenth of the training", ["masked", "loss", "top-1"], rows)
        return
    title += f"\n{model_card.measured_on(held_out)}"
    console.table(title, ["masked", "start", "kept", "last", "top-1"], model_card.held_out_rows(held_out))
    if held_out["kept_step"] == 0:
        console.warn(
            "no step had a lower held-out loss than the start, so the encoder is kept as it was: adaptation failed;"
            " use more text, more --epochs or another --learning-rate"
        )
