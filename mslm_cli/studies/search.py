"""The search for masking rates and weight: successive halving on dev."""

import itertools
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mslm_cli import console, fsio
from mslm_cli.artifacts import load
from mslm_cli.errors import UnavailableError
from mslm_cli.studies.plan import Planner, Trial
from mslm_cli.studies.spec import SEARCHED, Arm
from mslm_cli.studies.work import Workshop

SEARCH = "search.json"


def winner(planner: Planner, drain: Callable[[Sequence[Trial]], None], workshop: Workshop) -> Arm:
    """The combination of masking rates and weight that is best on dev, as an arm; written down in search.json.

    All combinations of the grid are tried with a short adaptation and a short fine-tuning, the best of them with
    longer ones, and so on. A combination's score is its mean strict F1 on dev over data sets and the search's seeds;
    the test data are not touched.

    Raises:
        UnavailableError: no combination could be tried.

    Source: Jamieson and Talwalkar (2016), "Non-stochastic Best Arm Identification and Hyperparameter Optimization".
    """
    options = planner.study.search
    arms = candidates(planner)
    rungs = []
    for share in options.shares:
        trials = {arm.name: _short(planner, arm, share) for arm in arms}
        drain([trial for of_arm in trials.values() for trial in of_arm])
        scores = {
            name: float(np.mean([_dev_f1(t, workshop) for t in of_arm]))
            for name, of_arm in trials.items()
            if all(workshop.has(t.ner) for t in of_arm)
        }
        if not scores:
            raise UnavailableError("the search: no combination of rates could be tried", hint="see the warnings above")
        rungs.append({"share": share, "dev_f1": scores})
        ranked = sorted((arm for arm in arms if arm.name in scores), key=lambda arm: -scores[arm.name])
        is_last = share == options.shares[-1]
        arms = ranked[: 1 if is_last else max(1, round(len(ranked) * options.keep))]
        console.note(f"search at {share:g} of the training: {_listed(arms, scores)}")
    best = arms[0]
    found: dict[str, Any] = {"winner": best.name, "masking": best.masking, "adapt": best.adapt, "rungs": rungs}
    fsio.write_text(workshop.folder / SEARCH, json.dumps(found, indent=2) + "\n")
    return Arm(SEARCHED, "mslm", best.masking, best.adapt, best.lexicon)


def candidates(planner: Planner) -> list[Arm]:
    """Every combination of the search's rates and weights."""
    options = planner.study.search
    lexicon = next(iter(planner.study.lexicon))
    combinations = itertools.product(options.elm_rate, options.blm_rate, options.weights)
    return [
        Arm(
            f"elm {elm:g} blm {blm:g} {weights}",
            "mslm",
            {"elm_rate": elm, "blm_rate": blm},
            {"weights": weights},
            lexicon,
        )
        for elm, blm, weights in combinations
    ]


def _short(planner: Planner, arm: Arm, share: float) -> list[Trial]:
    study = planner.study
    return [planner.trial(data, arm, seed, share) for data in study.data for seed in study.search.seeds]


def _dev_f1(trial: Trial, workshop: Workshop) -> float:
    return float(load(workshop.path(trial.ner), "ner").manifest.run["dev_f1"])


def _listed(arms: Sequence[Arm], scores: dict[str, float]) -> str:
    return ", ".join(f"{arm.name} {100 * scores[arm.name]:.2f}" for arm in arms[:6])
