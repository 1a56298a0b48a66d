"""Print the tables of a study as Markdown: arms, data sets, seeds, slices, boundaries, probes and cost.

python benchmarks/study_table.py STUDY
"""

import json
import sys
from pathlib import Path
from typing import Any

_PROBED = {"mention": "DS-mentions", "generic_span": "generic words", "general_span": "general English"}


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def points(number: dict[str, Any] | None, *, signed: bool = False) -> str:
    if number is None:
        return ""
    value, low, high = (f"{100 * number[k]:{'+' if signed else ''}.2f}" for k in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def overall(verdict: dict[str, Any]) -> str:
    rows = []
    for arm in verdict["arms"]:
        over, rival = arm["over_vanilla"], arm["chosen_over_it"]
        name = arm["name"] + " *" * (arm["name"] == verdict["chosen_on_dev"])
        corrected = [f"{d['corrected_p']:.3f}" if d else "" for d in (over, rival)]
        rows.append([name, f"{100 * arm['dev_score']:.2f}", points(arm["f1"]), points(over, signed=True), *corrected])
    head = ["arm (* best on dev)", "dev F1", "test F1", "over vanilla", "p, corrected", "p against the best on dev"]
    return table(head, rows)


def by_data(verdict: dict[str, Any], data: str) -> str:
    rows = []
    for arm in verdict["arms"]:
        on = arm["data"][data]
        seeds = " ".join(f"{100 * f1:.2f}" for f1 in on["f1_of_seeds"])
        shares = [f"{100 * on[k]:.2f}" for k in ("dev_score", "precision", "recall")]
        rows.append([arm["name"], *shares, points(on["f1"]), seeds, points(on["over_vanilla"], signed=True)])
    return table(["arm", "dev F1", "precision", "recall (EM)", "test F1", "by seed", "over vanilla"], rows)


def slices(verdict: dict[str, Any], data: str) -> str:
    first = verdict["arms"][0]["data"][data]["slices"]
    rows = []
    for name, group in first.items():
        others = [points(a["data"][data]["slices"][name]["over_vanilla"], signed=True) for a in verdict["arms"][1:]]
        rows.append([f"{name} ({group['n_gold']:.0f})", f"{100 * group['f1']:.2f}", *others])
    return table(["mentions (gold ones)", "vanilla F1", *(f"{a['name']}, over it" for a in verdict["arms"][1:])], rows)


def boundaries(verdict: dict[str, Any], data: str) -> str:
    lengths = list(verdict["arms"][0]["data"][data]["outcomes"])
    rows = []
    for arm in verdict["arms"]:
        of = arm["data"][data]["outcomes"]
        rows.append([arm["name"], *(f"{100 * of[n]['wrong boundary']:.1f}" for n in lengths)])
    return table(["wrong boundary, % of gold mentions", *lengths], rows)


def probes(verdict: dict[str, Any], data: str) -> str:
    rows = []
    for arm in verdict["arms"]:
        if found := arm["data"][data]["probe"]:
            scores = [found.get(kind) for kind in _PROBED]
            rows.append([arm["name"], *(f"{s['loss']:.3f}, {100 * s['top1']:.1f} %" if s else "" for s in scores)])
    return table(["arm: loss, top-1", *_PROBED.values()], rows) if rows else ""


def cost(verdict: dict[str, Any], data: str) -> str:
    rows = []
    for arm in verdict["arms"]:
        of = arm["data"][data]["cost"]
        tokens = [f"{of[f'{stage}_tokens'] / 1e6:.2f} M" for stage in ("adapt", "finetune")]
        rows.append([arm["name"], f"{of['adapt_minutes']:.1f}", tokens[0], f"{of['finetune_minutes']:.1f}", tokens[1]])
    return table(["cost of one seed", "adaptation, min", "its tokens", "fine-tuning, min", "its tokens"], rows)


def main() -> None:
    verdict = json.loads(Path(sys.argv[1], "verdict.json").read_bytes())
    print(f"> {verdict['sentence']} {verdict['advice']}\n")
    print(overall(verdict))
    for data, unit in verdict["resampled"].items():
        print(f"{data}, {verdict['n_sentences'][data]:,} test sentences, {unit} resampled:\n")
        print(by_data(verdict, data))
        print(slices(verdict, data))
        print(boundaries(verdict, data))
        if probed := probes(verdict, data):
            print(probed)
        print(cost(verdict, data))
    print(*(f"* {caveat}" for caveat in [verdict["correction"], *verdict["caveats"]]), sep="\n")


if __name__ == "__main__":
    main()
