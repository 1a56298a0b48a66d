"""What labels are worth in a study with several shares of them, on each data set."""

from collections.abc import Mapping, Sequence
from typing import Any

from mslm_cli import console
from mslm_cli.evaluation.comparison import holm
from mslm_cli.evaluation.label_efficiency import Cell, LabelEfficiency
from mslm_cli.reporting.label_efficiency import saved_text
from mslm_cli.studies.label_sentence import label_sentence, overtaking_sentences
from mslm_cli.studies.nodes import Trial
from mslm_cli.studies.results import Results
from mslm_cli.studies.sentence import shortened
from mslm_cli.studies.store import StudyStore

_MOST_SHOWN = 4


def judge(trials: Sequence[Trial], verdict: Mapping[str, Any], store: StudyStore) -> dict[str, Any]:
    """Learning curves, sentences saved, forecast and sentence, by data set, as JSON values.

    Args:
        trials: finished trials, with all shares. verdict: the verdict with all labels; its differences are repeated.
    """
    vanilla = verdict["vanilla"]
    of_share = {
        share: Results([t for t in trials if t.label_share == share], store)
        for share in sorted({t.label_share for t in trials})
    }
    found = {}
    for data in verdict["resampled"]:
        shares = {share: results for share, results in of_share.items() if results.seeds(vanilla, data)}
        cells = [
            Cell(arm["name"], share, tuple(seeds), results.counts(arm["name"], data).counts[:, :, 0])
            for share, results in shares.items()
            for arm in verdict["arms"]
            if (seeds := results.seeds(arm["name"], data))
        ]
        n_labelled = {share: results.n_labelled(vanilla, data) for share, results in shares.items()}
        judged = LabelEfficiency(cells, n_labelled, vanilla).to_json()
        _repeat_differences(judged["shares"][-1]["arms"], verdict, data)
        sentence = label_sentence(judged, vanilla, verdict["chosen_on_dev"])
        found[data] = {**judged, "sentence": sentence, "overtaking": overtaking_sentences(judged)}
    return found


def _repeat_differences(arms: dict[str, Any], verdict: Mapping[str, Any], data: str) -> None:
    """With all labels, differences to vanilla are those of the verdict, corrected for the arms on this data set."""
    over = {arm["name"]: of for arm in verdict["arms"] if (of := arm["data"][data]["over_vanilla"]) is not None}
    for (name, difference), p in zip(over.items(), holm([of["p"] for of in over.values()]), strict=True):
        arms[name]["over_vanilla"] = {**difference, "corrected_p": p}


def show(found: Mapping[str, Any], data: str, metric: str) -> None:
    """Print the learning curves of one data set as a table, and the sentences."""
    shares = found["shares"][-_MOST_SHOWN:]
    rows = []
    for name, full in shares[-1]["arms"].items():
        scores = [f"{100 * of['arms'][name]['f1']['value']:.1f}" if name in of["arms"] else "" for of in shares]
        rows.append([shortened(name, 26), *scores, saved_text(full["sentences_saved"])])
    console.note("")
    numbers = [f"{of['n_labelled']:,.0f}" for of in shares]
    console.table(f"{metric} over labelled sentences, {data}", ["arm", *numbers, "sentences saved"], rows)
    for sentence in (found["sentence"], *found["overtaking"]):
        console.note(sentence)
