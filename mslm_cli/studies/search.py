"""The search for masking rates and weight: successive halving on dev."""

import itertools
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mslm_cli import console, fsio
from mslm_cli.errors import UnavailableError
from mslm_cli.studies.nodes import Trial
from mslm_cli.studies.plan import Planner
from mslm_cli.studies.spec import Arm
from mslm_cli.studies.store import StudyStore

SEARCH = "search.json"
_N_SHOWN = 4


def winner(planner: Planner, drain: Callable[[Sequence[Trial]], None], store: StudyStore) -> Arm:
    """The combination of masking rates and weight that is best on dev, as an arm; also written to search.json.

    All combinations of the grid get a short adaptation and fine-tuning, the best of them a longer one, and so on. A
    combination's score is the task's primary metric on dev, averaged over data sets and the search's seeds; the test
    data are not used.

    Raises:
        UnavailableError: every combination failed.

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
            raise UnavailableError("the search failed for every combination of rates", hint="see the warnings above")
        spent = store.spent_on(trial for name in scores for trial in trials[name])
        cost = {"minutes": round(spent.minutes, 2), "tokens": spent.n_tokens}
        rungs.append({"share": share, "dev_score": scores, **cost})
        if len(scores) > 1 and len(set(scores.values())) == 1:
            console.warn(
                f"the search with {100 * share:.0f} % of the training: all combinations have the same dev score, so the"
                " choice is arbitrary; use more epochs, or larger shares under [search], to separate them"
            )
        ranked = sorted((arm for arm in arms if arm.name in scores), key=lambda arm: -scores[arm.name])
        is_last = share == options.shares[-1]
        arms = ranked[: 1 if is_last else n_kept(len(ranked), options.keep)]
    best = arms[0]
    found: dict[str, Any] = {"winner": best.name, "masking": best.masking, "adapt": best.adapt, "rungs": rungs}
    _write(found, store)
    return as_winner(best)


def as_winner(arm: Arm) -> Arm:
    """The winning combination as an arm of the study."""
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


def n_kept(n: int, fraction: float) -> int:
    """The number of ``n`` combinations that reach the next round."""
    return max(1, round(n * fraction))


def short_trials(planner: Planner, arm: Arm, share: float) -> list[Trial]:
    """Trials of a combination with this share of the training, one for each data set and seed of the search."""
    study = planner.study
    return [planner.trial(data, arm, seed, share) for data in study.data for seed in study.search.seeds]


def _write(found: dict[str, Any], store: StudyStore) -> None:
    """Write search.json; only the first process to do so prints the result."""
    path, text = store.folder / SEARCH, json.dumps(found, indent=2) + "\n"
    with fsio.held(store.lock("search")):
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            return
        for rung in found["rungs"]:
            best = sorted(rung["dev_score"].items(), key=lambda pair: -pair[1])
            shown = ", ".join(f"{name} {100 * score:.2f}" for name, score in best[:_N_SHOWN])
            console.note(f"search with {100 * rung['share']:.0f} % of the training, best on dev: {shown}")
        fsio.write_text(path, text)
