"""Does masking DS-terms help an encoder predict them? Arms with the same budget, from the same warmed-up MiniLM.

python benchmarks/sensitivity.py --data SHARED/data --work WORK [--seeds 0 1] [--epochs 3] [--steps N] [--quick]

Text: med1250, pubmedqa and craft in SHARED/data/unlabelled. Every tenth abstract of the first two is held out, except
those that share a sentence with the training text; the lexicon, the shards and all training use only the others.
MiniLM has no head, so one is warmed up once (first the head alone, then one epoch of the whole model with token
masking), and every arm starts from there, with the same sequences, budget, steps, learning rate and order of sequences.
Seeds change masks, order and dropout. The held-out abstracts and the test part of WikiText-2 are probed.

A value is the mean over seeds; its interval is a bootstrap of that mean over documents and does not cover seeds, so the
range over seeds is also shown. Differences to `word` are paired by item.

Everything is kept in WORK, and the same command resumes there.
"""

import argparse
import gzip
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from mslm_cli import allocator
from mslm_cli.config import AdaptConfig, ExtractTermsConfig, PreprocessConfig, ProbeConfig
from mslm_cli.corpus.seen import Sketch
from mslm_cli.masking.recipe import DrawnEpoch, Recipe
from mslm_cli.masking.shards import ShardReader
from mslm_cli.models import load_tokenizer
from mslm_cli.stages import adapt, extract_terms, preprocess
from mslm_cli.stages.probe import ITEM_TITLES, Measured, measure
from mslm_cli.text.sentences import split_sentences
from mslm_cli.training.batching import plan_steps

TEXTS = ("med1250_abstracts.txt.gz", "pubmedqa_abstracts.txt.gz", "craft_fulltext_30articles.txt.gz")
ARMS = {
    "word": ("word", "uniform"),
    "span": ("span", "uniform"),
    "pmi": ("pmi", "uniform"),
    "mslm uniform": ("mslm", "uniform"),
    "mslm ratio:2": ("mslm", "ratio:2"),
    "mslm ratio:4": ("mslm", "ratio:4"),
}
BASELINE, MEAN_LOSS, TOP1 = "word", 0, 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--epochs", type=int, default=3, help="of every arm")
    parser.add_argument("--steps", type=int, help="of every arm, in place of whole epochs")
    parser.add_argument("--budget", type=float, default=0.15)
    parser.add_argument("--elm-rate", type=float, default=0.25)
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--items", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="150 abstracts, one seed, one epoch: shows that it works")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    if options.quick:
        options.seeds, options.epochs, options.items = options.seeds[:1], 1, 150
    allocator.keep_freed_memory()
    options.work.mkdir(parents=True, exist_ok=True)
    train, held_out = split(options.data / "unlabelled", options.work, quick=options.quick)
    lexicon = extract_terms.run([train], options.work / "lexicon", ExtractTermsConfig())
    made = train_arms(train, lexicon, options)
    config = ProbeConfig(items=options.items, threads=options.threads)
    general = options.data / "wikitext2" / "test.txt.gz"
    encoders = [str(options.work / "warm"), *(str(path) for paths in made["encoders"].values() for path in paths)]
    measured = measure(encoders, [held_out], config, lexicon=lexicon, general=general)
    result = {
        "budget": options.budget,
        "elm_rate": options.elm_rate,
        "epochs": options.epochs,
        "steps": options.steps,
        "seeds": options.seeds,
        "about": measured.about,
        "arms": made["arms"],
        "cost": cost_of_masks(made["shards"], lexicon, options, made["step_s"]),
        "scores": compare(measured, encoders, len(options.seeds)),
    }
    (options.work / "result.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2) if options.json else table(result))


def split(folder: Path, work: Path, *, quick: bool) -> tuple[Path, Path]:
    """The training and held-out files, with documents separated by blank lines."""
    train: list[str] = []
    held_out: list[str] = []
    for name in TEXTS[:1] if quick else TEXTS:
        text = gzip.decompress((folder / name).read_bytes()).decode("utf-8", errors="replace")
        documents = [d.strip() for d in text.replace("\r\n", "\n").split("\n\n") if d.strip()]
        for number, document in enumerate(documents[: 150 if quick else None]):
            is_held_out = number % 10 == 0 and not name.startswith("craft")
            (held_out if is_held_out else train).append(document)
    seen = Sketch()
    for document in train:
        for start, end in split_sentences(document):
            seen.add(document[start:end])
    held_out = [d for d in held_out if not seen.count([d[start:end] for start, end in split_sentences(d)])]
    paths = work / "train.txt", work / "held_out.txt"
    for path, documents in zip(paths, (train, held_out), strict=True):
        content = "\n\n".join(documents) + "\n"
        if not path.exists() or path.read_text(encoding="utf-8") != content:
            path.write_text(content, encoding="utf-8")
    return paths


def train_arms(train: Path, lexicon: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The encoders of every arm by seed, their masking statistics, and the time of a step."""
    common: dict[str, Any] = {"threads": options.threads, "learning_rate": options.learning_rate, "held_out": 0}
    tokens = preprocess.run(
        [train], options.work / "shards-warm", PreprocessConfig(strategy="token", seed=99), lexicon=lexicon
    )
    warm = adapt.run(tokens, options.work / "warm", AdaptConfig(epochs=1, weights="uniform", seed=99, **common))
    made: dict[str, Any] = {"encoders": {}, "arms": {}, "shards": {}, "step_s": []}
    for arm, (strategy, weights) in ARMS.items():
        made["encoders"][arm] = []
        for seed in options.seeds:
            masking = PreprocessConfig(
                strategy=strategy, budget=options.budget, elm_rate=options.elm_rate, copies=options.epochs, seed=seed
            )
            folder = options.work / f"shards-{strategy}-{seed}"
            made["shards"][strategy] = preprocess.run([train], folder, masking, lexicon=lexicon)
            output = options.work / f"{arm.replace(' ', '-').replace(':', '')}-{seed}"
            config = AdaptConfig(
                model=str(warm), epochs=options.epochs, steps=options.steps, weights=weights, seed=seed, **common
            )
            made["encoders"][arm].append(adapt.run(folder, output, config))
            stats = json.loads((folder / preprocess.STATS).read_text())
            log = [json.loads(line) for line in (output / adapt.METRICS).read_text().splitlines()]
            made["step_s"] += [record["n_tokens"] / record["tokens_per_s"] for record in log]
            n_predicted = sum(copy["n_generic"] + copy["n_ds_term"] for copy in stats["copies"])
            made["arms"].setdefault(arm, []).append(
                {
                    "n_steps": len(log),
                    "masked_share": stats["realised"]["all_tokens"],
                    "masked_share_of_ds_tokens": stats["realised"]["ds_tokens"],
                    "ds_share": stats["ds_share"],
                    "ds_share_of_masked": stats["realised"]["ds_tokens"] * stats["n_ds_tokens"] * len(stats["copies"])
                    / n_predicted,
                }
            )  # fmt: skip
    assert len({entry["n_steps"] for entries in made["arms"].values() for entry in entries}) == 1
    return made


def cost_of_masks(
    shards: dict[str, Path], lexicon: Path, options: argparse.Namespace, step_s: list[float]
) -> dict[str, Any]:
    """The time to draw the masks of a step during training, and the time of the step."""
    any_shards = next(iter(shards.values()))
    reader, tokenizer = ShardReader(any_shards), load_tokenizer(any_shards / "tokenizer")
    lengths = reader.lengths.astype(np.int64)
    steps = plan_steps(lengths, AdaptConfig().step_tokens, seed=0, epoch=0)[:50]
    cost: dict[str, Any] = {"step_ms": 1e3 * statistics.median(step_s)}
    for strategy in ("token", "span", "mslm"):
        rates = {"rate": options.budget} if strategy != "mslm" else {"elm_rate": options.elm_rate, "blm_rate": 0.1}
        recipe = Recipe.of(PreprocessConfig(strategy=strategy), tokenizer)
        times = []
        for epoch in range(5):
            source = DrawnEpoch(reader, recipe, epoch, rates)
            for step in steps:
                started = time.process_time()
                source.batch(step)
                times.append(time.process_time() - started)
        cost[f"{strategy}_ms"] = 1e3 * statistics.median(times)
    for strategy in ("span", "mslm"):
        cost[f"{strategy}_extra_share"] = (cost[f"{strategy}_ms"] - cost["token_ms"]) / cost["step_ms"]
    return cost


def compare(measured: Measured, encoders: list[str], n_seeds: int) -> dict[str, Any]:
    """Loss and top-1 of every arm and kind of item, and absolute and relative differences to the baseline."""
    names = measured.about["encoders"]
    of_arm = {"warm": names[:1]} | {arm: names[1 + i * n_seeds : 1 + (i + 1) * n_seeds] for i, arm in enumerate(ARMS)}
    assert len(names) == len(encoders) == 1 + len(ARMS) * n_seeds
    found: dict[str, Any] = {}
    for kind, probed in measured.kinds.items():
        base = np.mean([measured.scores[name][kind] for name in of_arm[BASELINE]], axis=0)
        for arm, arm_names in of_arm.items():
            by_seed = [measured.scores[name][kind] for name in arm_names]
            mean = np.mean(by_seed, axis=0)
            entry = found.setdefault(arm, {}).setdefault(kind, {})
            for score, column in (("loss", MEAN_LOSS), ("top1", TOP1)):
                entry[score] = probed.resampling.mean(mean[:, column], probed.clusters)._asdict() | {
                    "by_seed": [float(values[:, column].mean()) for values in by_seed]
                }
                difference = probed.resampling.mean((mean - base)[:, column], probed.clusters)
                entry[f"{score}_less_{BASELINE}"] = difference._asdict() | {
                    "share": difference.value / float(base[:, column].mean()) if base[:, column].any() else None,
                }
    return found


def table(result: dict[str, Any]) -> str:
    n_items = result["about"]["n_items"]
    lines = ["| arm | steps | masked | of DS tokens | of the masked, DS |", "|---|---|---|---|---|"]
    for arm, entries in result["arms"].items():
        keys = ("masked_share", "masked_share_of_ds_tokens", "ds_share_of_masked")
        shares = " | ".join(f"{100 * statistics.mean(e[key] for e in entries):.2f} %" for key in keys)
        lines.append(f"| {arm} | {entries[0]['n_steps']} | {shares} |")
    for kind, n in n_items.items():
        lines += ["", f"{ITEM_TITLES[kind]} ({n} items)", ""]
        lines += [
            f"| arm | loss | by seed | less {BASELINE} | share | top-1, % | less {BASELINE} |",
            "|---|---|---|---|---|---|---|",
        ]
        for arm, kinds in result["scores"].items():
            of = kinds[kind]
            loss, top1 = of["loss"], of["top1"]
            loss_less, top1_less = of[f"loss_less_{BASELINE}"], of[f"top1_less_{BASELINE}"]
            seeds = " ".join(f"{value:.3f}" for value in loss["by_seed"])
            cells = [arm, interval(loss, 1, 3), seeds, interval(loss_less, 1, 3), f"{100 * loss_less['share']:+.1f} %"]
            lines.append("| " + " | ".join([*cells, interval(top1, 100, 1), interval(top1_less, 100, 1)]) + " |")
    cost = result["cost"]
    drawing = ", ".join(f"{cost[f'{strategy}_ms']:.2f} ms ({strategy})" for strategy in ("token", "span", "mslm"))
    extra = ", ".join(f"{strategy} {100 * cost[f'{strategy}_extra_share']:+.2f} %" for strategy in ("span", "mslm"))
    lines += ["", f"A step takes {cost['step_ms']:.0f} ms (median of all arms), of which drawing its masks takes"]
    lines += [f"{drawing}; over token masking that is, in shares of a step: {extra}."]
    return "\n".join(lines)


def interval(score: dict[str, float], factor: float, digits: int) -> str:
    value, low, high = (f"{score[key] * factor:.{digits}f}" for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


if __name__ == "__main__":
    main()
