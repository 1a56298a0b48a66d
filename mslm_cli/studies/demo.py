"""``mslm demo``: the whole pipeline on the sample corpus, with and without DS-term masking."""

import time
from pathlib import Path
from typing import Any

from mslm_cli import console, fsio
from mslm_cli.config import (
    AdaptConfig,
    DemoConfig,
    EvalConfig,
    ExtractTermsConfig,
    FinetuneConfig,
    PreprocessConfig,
)
from mslm_cli.stages import adapt, evaluate, extract_terms, finetune, preprocess
from mslm_cli.workspace import RunOptions

ADAPT_EPOCHS = 3
FINETUNE_EPOCHS = 6
DISCLAIMER = "This sample shows the workflow; a test set of about 80 sentences proves nothing about quality."


def run(output: Path, config: DemoConfig, *, overwrite: bool = False) -> Path:
    """Run all stages into the folder ``output``, which is returned; ends with a table of the arms on stderr.

    Raises:
        UnavailableError: the encoder is unavailable.
    """
    started = time.perf_counter()
    sample = fsio.resource("sample")
    text = [sample / "unlabelled.txt", sample / "train.tsv"]
    train, dev, test = (sample / f"{name}.tsv" for name in ("train", "dev", "test"))
    model = {"offline": config.offline}
    rerun = RunOptions(overwrite=overwrite)
    training = {**model, "threads": config.threads, "seed": config.seed, "tokens_per_step": 512}

    _say("extract-terms: a lexicon of the sample's terms")
    lexicon = extract_terms.run(text, output / "lexicon", ExtractTermsConfig(), options=rerun)

    shards = {}
    for strategy in ("token", "mslm"):
        _say(f"preprocess: shards of the text, masked by `{strategy}`")
        masking = PreprocessConfig.build(strategy=strategy, copies=ADAPT_EPOCHS, seed=config.seed, **model)
        shards[strategy] = preprocess.run(text, output / f"shards-{strategy}", masking, lexicon=lexicon, options=rerun)

    _say("adapt: warm up the MLM head that both arms start from")
    only_head = AdaptConfig.build(epochs=0, weights="uniform", head_warmup_steps=60, **training)
    warm = adapt.run(shards["token"], output / "warm", only_head, rerun)

    encoders = {"vanilla": "minilm"}
    for strategy, weights in (("token", "uniform"), ("mslm", "ratio:2")):
        _say(f"adapt: masked language modelling on the `{strategy}` shards, weights {weights}")
        options = AdaptConfig.build(model=str(warm), epochs=ADAPT_EPOCHS, weights=weights, **training)
        adapted = adapt.run(shards[strategy], output / f"adapted-{strategy}", options, rerun)
        encoders[strategy] = str(adapted)

    rows = []
    for arm, encoder in encoders.items():
        _say(f"finetune and eval: NER from the {arm} encoder")
        tuning = FinetuneConfig.build(model=encoder, epochs=FINETUNE_EPOCHS, **training)
        ner = finetune.run(train, dev, output / f"ner-{arm}", tuning, rerun)
        scoring = EvalConfig.build(threads=config.threads)
        sources = evaluate.Sources(ner=ner, data=test)
        scored = evaluate.run(sources, output / f"scores-{arm}", scoring, overwrite=overwrite)
        rows.append(_row(arm, scored.results["exact_match"]))

    minutes, seconds = divmod(round(time.perf_counter() - started), 60)
    console.note("")
    title = f"strict exact match on the sample's test sentences ({minutes} min {seconds} s in all)"
    console.table(title, ["adaptation", "P", "R (EM)", "F1", "gold", "pred"], rows)
    console.note(DISCLAIMER)
    return output


def _say(text: str) -> None:
    console.note("")
    console.note(f"== {text}")


def _row(arm: str, match: dict[str, Any]) -> list[str]:
    name = {"vanilla": "none (vanilla)", "token": "token masking", "mslm": "mslm, ratio:2"}[arm]
    percentages = [f"{100 * match[k]:.1f}" for k in ("precision", "recall", "f1")]
    return [name, *percentages, str(match["gold"]), str(match["predicted"])]
