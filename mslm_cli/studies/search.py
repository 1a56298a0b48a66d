"""The search for masking rates and weight: successive halving on dev."""

import itertools
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mslm_cli import console, fsio
from mslm_cli.errors import UnavailableError
from mslm_cli.studies.plan import Planner, Trial
from mslm_cli.studies.spec import Arm
from mslm_cli.studies.store import StudyStore

SEARCH = "search.json"
_N_SHOWN = 4


def winner(planner: Planner, drain: Callable[[Sequence[Trial]], None], store: StudyStore) -> Arm:
    """The combination of masking rates and weight that is best on dev, as an arm; written down in search.json.

    All combinations of the grid are tried with a short adaptation and a short fine-tuning, the best of them with
    longer ones, and so on. A combination's score is the mean of the task's primary metric on dev, over data sets and
    the search's seeds; the test data are not touched.

    Raises:
        UnavailableError: no combination could be tried.

    Source: Jamieson and Talwalkar (2016), "Non-stochastic Best Arm Identification and Hyperparameter Optimization".
    """
    options = planner.study.search
    arms = candidates(planner)
    rungs = []
    for share in options.shares:
        trials = {arm.name: short_trials(planner, arm, share) for arm in arms}
        drain([trial for of_arm in trials.values() for trial in of_arm])
        scores = {
            name: float(np.mean([store.dev_score(t.ner) for t in of_arm]))
            for name, of_arm in trials.items()
            if all(store.has(t.ner) for t in of_arm)
        }
        if not scores:
            raise UnavailableError("the search: no combination of rates could be tried", hint="see the warnings above")
        spent = store.spent_on(trial for name in scores for trial in trials[name])
        cost = {"minutes": round(spent.minutes, 2), "tokens": spent.n_tokens}
        rungs.append({"share": share, "dev_score": scores, **cost})
        if len(scores) > 1 and len(set(scores.values())) == 1:
            console.warn(
                f"the search with {100 * share:.0f} % of the training: all combinations score the same on dev, so which"
                " goes on is chance; more epochs, or larger shares under [search], would tell them apart"
            )
        ranked = sorted((arm for arm in arms if arm.name in scores), key=lambda arm: -scores[arm.name])
        is_last = share == options.shares[-1]
        arms = ranked[: 1 if is_last else n_kept(len(ranked), options.keep)]
    best = arms[0]
    found: dict[str, Any] = {"winner": best.name, "masking": best.masking, "adapt": best.adapt, "rungs": rungs}
    _write(found, store)
    return as_winner(best)


def as_winner(arm: Arm) -> Arm:
    """The combination as an arm of the study."""
    return Arm(f"mslm {arm.name} (searched)", "mslm", arm.masking, arm.adapt, arm.lexicon)


def candidates(planner: Planner) -> list[Arm]:
    """Every combination of the search's rates and weights."""
    options = planner.study.search
    lexicon = next(iter(planner.study.lexicon))
    combinations = itertools.product(options.elm_rate, options.blm_rate, options.weights)
    return [
        Arm(
            f"elm {elm:g} blm {blm:g} {weights}",
            "mslm",
            {"elm_rate": elm, "blm_rate": blm, "budget": None},
            {"weights": weights},
            lexicon,
        )
        for elm, blm, weights in combinations
    ]


def n_kept(n: int, share: float) -> int:
    """How many of ``n`` combinations are tried further."""
    return max(1, round(n * share))


def short_trials(planner: Planner, arm: Arm, share: float) -> list[Trial]:
    """The trials of a combination with this share of the training: each data set, each of the search's seeds."""
    study = planner.study
    return [planner.trial(data, arm, seed, share) for data in study.data for seed in study.search.seeds]


def _write(found: dict[str, Any], store: StudyStore) -> None:
    """Write search.json; the process that is first to do so says what was found."""
    path, text = store.folder / SEARCH, json.dumps(found, indent=2) + "\n"
    with fsio.held(store.lock("search")):
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            return
        for rung in found["rungs"]:
            best = sorted(rung["dev_score"].items(), key=lambda pair: -pair[1])
            shown = ", ".join(f"{name} {100 * score:.2f}" for name, score in best[:_N_SHOWN])
            console.note(f"search with {100 * rung['share']:.0f} % of the training, best on dev: {shown}")
        fsio.write_text(path, text)
