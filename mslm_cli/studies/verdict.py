"""The verdict of a study: verdict.json, a table at the terminal, the page, and the best model.

The arm is chosen on dev alone; test only measures how much better it is.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mslm_cli import console, fsio
from mslm_cli.artifacts import MANIFEST
from mslm_cli.corpus.seen import WARN_ABOVE_SHARE
from mslm_cli.errors import DataError
from mslm_cli.evaluation.arm_scores import ArmScores, Estimate
from mslm_cli.evaluation.comparison import holm
from mslm_cli.evaluation.uncertainty import FEW
from mslm_cli.reporting.study import write_study
from mslm_cli.studies import labels
from mslm_cli.studies.nodes import Trial
from mslm_cli.studies.results import Results
from mslm_cli.studies.sentence import Compared, Evidence, shortened, verdict_sentence
from mslm_cli.studies.spec import MIN_SEEDS, VANILLA, Arm
from mslm_cli.studies.store import StudyStore

VERDICT, BEST = "verdict.json", "best"
SCHEMA_VERSION = 1
_PROBED = ("mention", "generic_span", "general_span")


@dataclass(frozen=True)
class Progress:
    """The finished trials of a study, the number of all trials, and the reasons of failures, by trial title."""

    done: Sequence[Trial]
    n_planned: int
    failed: Mapping[str, str]

    @property
    def n_left(self) -> int:
        """The number of trials that neither finished nor failed."""
        return self.n_planned - len(self.done) - len(self.failed)


def give(arms: Sequence[Arm], progress: Progress, caveats: Sequence[str], store: StudyStore) -> dict[str, Any]:
    """Give the verdict: write it, and print a summary.

    Raises: as ``write``.
    """
    found = write(arms, progress, caveats, store)
    _show(found)
    return found


def write(arms: Sequence[Arm], progress: Progress, caveats: Sequence[str], store: StudyStore) -> dict[str, Any]:
    """Write verdict.json, the page and the best model.

    Args:
        caveats: what the intervals do not cover.

    Raises:
        DataError: vanilla has no finished trial on some data set, so there is no baseline.
    """
    full_share = max((trial.label_share for trial in progress.done), default=1.0)
    results = Results([trial for trial in progress.done if trial.label_share == full_share], store)
    vanilla = next(arm.name for arm in arms if arm.kind == VANILLA)
    if not results.data or not results.is_complete(vanilla):
        raise DataError("no trial of vanilla was finished on every data set: there is no baseline to compare with")
    found = judge(results, vanilla, [arm for arm in arms if results.is_complete(arm.name)], progress.n_left)
    few = [
        f"{data} has only {n} test {found['resampled'][data]}: its intervals are too narrow."
        for data, n in found["n_resampled"].items()
        if n < FEW
    ]
    if any(trial.label_share != full_share for trial in progress.done):
        found["labels"] = labels.judge(progress.done, found, store)
    found |= {"caveats": [*caveats, *few], "failed": dict(progress.failed)}
    if progress.n_left:
        found["progress"] = {"n_done": len(progress.done), "n_planned": progress.n_planned}
    with fsio.held(store.lock("verdict")):
        found["best"] = _keep_best(found["use"], results, store)
        fsio.write_text(store.folder / VERDICT, json.dumps(found, indent=2, ensure_ascii=False) + "\n")
        write_study(store.folder, found)
    return found


def judge(results: Results, vanilla: str, arms: Sequence[Arm], n_left: int = 0) -> dict[str, Any]:
    """The content of verdict.json, except the paths of the best models.

    Args:
        n_left: number of trials that have not finished.
    """
    names = [arm.name for arm in arms]
    dev = {name: float(np.mean([results.dev_score(name, d) for d in results.data])) for name in names}
    candidates = [name for name in names if name != vanilla]
    chosen = max(candidates, key=lambda name: dev[name], default=None)
    arm_scores = ArmScores({d: [results.counts(name, d) for name in names] for d in results.data})
    over_vanilla = _corrected({name: arm_scores.difference(name, vanilla) for name in candidates})
    rivals = [name for name in candidates if name != chosen]
    over_rivals = _corrected({name: arm_scores.difference(chosen, name) for name in rivals} if chosen else {})
    units = {d: results.unit(d) for d in results.data}
    n_units = {d: results.n_units(d) for d in results.data}
    n_seeds = min(len(results.seeds(name, d)) for name in (chosen or vanilla, vanilla) for d in results.data)
    evidence = Evidence(
        vanilla=vanilla,
        arm=over_vanilla[chosen] if chosen else None,
        others=[over_vanilla[name] for name in rivals],
        rivals=list(over_rivals.values()),
        n_seeds=n_seeds,
        best_dev=max(dev.values()),
        n_data=len(results.data),
        n_units=sum(n_units.values()),
        unit=" and ".join(dict.fromkeys(units.values())),
        n_left=n_left,
    )
    said = verdict_sentence(evidence)
    metrics = {d: results.metric(d) for d in results.data}
    metric = next(iter(metrics.values())) if len(set(metrics.values())) == 1 else "F1"
    rows = [
        {
            "name": arm.name,
            "kind": arm.kind,
            "options": arm.options,
            "dev_score": dev[arm.name],
            "f1": arm_scores.score(arm.name).to_json(),
            "over_vanilla": _as_json(over_vanilla.get(arm.name)),
            "chosen_over_it": _as_json(over_rivals.get(arm.name)),
            "cost": results.cost_in_all(arm.name),
            "data": {d: _on(arm.name, d, vanilla, arm_scores, results) for d in results.data},
        }
        for arm in arms
    ]
    return {
        "schema_version": SCHEMA_VERSION,
        "outcome": said.outcome,
        "sentence": said.sentence,
        "advice": said.advice,
        "use": said.use,
        "chosen_on_dev": chosen,
        "vanilla": vanilla,
        "primary_metric": metric,
        "metrics": metrics,
        "score": f"{metric}; an arm's value is the mean over data sets of the mean over seeds",
        "resampled": units,
        "n_resampled": n_units,
        "correction": f"Holm, over {len(candidates)} arms against vanilla, {len(rivals)} against the chosen arm",
        "min_seeds": MIN_SEEDS,
        "seen_upstream": {d: results.seen_upstream(d) for d in results.data},
        "n_sentences": {d: results.n_sentences(d) for d in results.data},
        "arms": rows,
    }


def _corrected(differences: Mapping[str, Estimate]) -> dict[str, Compared]:
    """The differences, with p corrected for multiple comparisons."""
    corrected = holm([estimate.p for estimate in differences.values()])
    return {
        name: Compared(name, estimate, p) for (name, estimate), p in zip(differences.items(), corrected, strict=True)
    }


def _as_json(compared: Compared | None) -> dict[str, float] | None:
    return None if compared is None else {**compared.difference.to_json(), "corrected_p": compared.corrected_p}


def _on(name: str, data: str, vanilla: str, arm_scores: ArmScores, results: Results) -> dict[str, Any]:
    """Results of an arm on one data set."""
    precision, recall, f1 = arm_scores.of_seeds(name, data).T
    counts = results.counts(name, data)
    slices = {
        group: {
            "n_gold": float(counts.counts[0, :, i, 0].sum()),
            "f1": float(counts.of_runs[:, i, 2].mean()),
            "over_vanilla": None if name == vanilla else arm_scores.difference(name, vanilla, [data], i).to_json(),
        }
        for i, group in enumerate(results.groups(data))
        if i
    }
    return {
        "seeds": results.seeds(name, data),
        "f1": arm_scores.score(name, [data]).to_json(),
        "f1_of_seeds": f1.tolist(),
        "precision": float(precision.mean()),
        "recall": float(recall.mean()),
        "dev_score": results.dev_score(name, data),
        "over_vanilla": None if name == vanilla else arm_scores.difference(name, vanilla, [data]).to_json(),
        "slices": slices,
        "outcomes": results.outcomes(name, data),
        "cost": results.cost(name, data),
        "probe": _probed(results.probes(name, data)),
    }


def _probed(probes: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]] | None:
    """Loss and top-1 accuracy, averaged over encoders, by what was masked."""
    if not probes:
        return None
    scores = [next(iter(p["scores"].values())) for p in probes]
    return {
        target: {s: float(np.mean([of[target][s]["value"] for of in scores])) for s in ("loss", "top1")}
        for target in _PROBED
        if all(target in of for of in scores)
    }


def _keep_best(arm: str, results: Results, store: StudyStore) -> dict[str, Any]:
    """Copy the arm's model with the best dev score to ``best``, or, for several data sets, to a folder for each."""
    models, sources = {}, {}
    for data in results.data:
        seed = max(results.seeds(arm, data), key=lambda s: results.dev_score_of(arm, data, s))
        path = Path(BEST, data) if len(results.data) > 1 else Path(BEST)
        sources[path] = results.ner(arm, data, seed)
        models[data] = {"path": path.as_posix(), "seed": seed}
    found = {manifest.parent for manifest in (store.folder / BEST).rglob(MANIFEST)}
    wanted = {store.folder / path for path in sources}
    if found != wanted or not all(_holds(store.folder / p, s.manifest.fingerprint) for p, s in sources.items()):
        with fsio.staged_folder(store.folder / BEST) as folder:
            for path, source in sources.items():
                shutil.copytree(source.path, folder / path.relative_to(BEST), dirs_exist_ok=True)
    return {"arm": arm, "models": models}


def _holds(folder: Path, fingerprint: str) -> bool:
    found: bool = json.loads((folder / MANIFEST).read_bytes())["fingerprint"] == fingerprint
    return found


def _show(found: dict[str, Any]) -> None:
    """Print the table, at most 80 columns wide, and the sentence."""
    rows = []
    for arm in found["arms"]:
        f1, over = arm["f1"], arm["over_vanilla"]
        against = ["", "", ""]
        if over is not None:
            against = [
                f"{100 * over['value']:+.2f}",
                f"{100 * over['low']:+.1f}..{100 * over['high']:+.1f}",
                f"{over['corrected_p']:.3f}",
            ]
        mark = " *" if arm["name"] == found["chosen_on_dev"] else ""
        rows.append(
            [
                shortened(arm["name"], 26) + mark,
                f"{100 * arm['dev_score']:.2f}",
                f"{100 * f1['value']:.2f}",
                *against,
                f"{arm['cost']['minutes']:.0f}",
            ]
        )
    data = ", ".join(found["resampled"])
    console.note("")
    console.table(f"{found['primary_metric']} on {data}", ["arm", "dev", "test", "vanilla", "95 %", "p", "min"], rows)
    console.note("* best on dev; differences to vanilla; p corrected (Holm); min: training, all seeds and data")
    for caveat in found["caveats"]:
        console.note(caveat)
    for data_set, seen in found["seen_upstream"].items():
        n = found["n_sentences"][data_set]
        for name, count in seen.items():
            if count > WARN_ABOVE_SHARE * n:
                console.warn(f"{data_set}: {count} of {n} test sentences were seen by `{name}`")
    console.note("")
    for data_set, of_labels in found.get("labels", {}).items():
        labels.show(of_labels, data_set, found["primary_metric"])
    console.note(found["sentence"])
    console.note(found["advice"] + f" Models: {', '.join(m['path'] for m in found['best']['models'].values())}")
