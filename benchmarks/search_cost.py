"""Whether a study's search found the best combination of its grid, and at what fraction of the cost.

python benchmarks/search_cost.py STUDY

STUDY is a folder made by `mslm sweep grid.toml --search`. The searched arm is a combination of the grid with the same
seeds, so both share its trials, whose cost counts for the search.
"""

import json
import sys
from pathlib import Path
from statistics import mean, stdev

from study_table import table

_SEARCHED = " (searched)"
_WANTED_GAP, _WANTED_SHARE = 0.3, 0.2


def main() -> None:
    folder = Path(sys.argv[1])
    verdict, found = (json.loads((folder / name).read_bytes()) for name in ("verdict.json", "search.json"))
    searched = next(arm for arm in verdict["arms"] if arm["name"].endswith(_SEARCHED))
    grid = [arm for arm in verdict["arms"] if arm["kind"] == "mslm" and arm is not searched]
    data = list(verdict["resampled"])
    ranked = sorted(grid, key=lambda arm: -arm["dev_score"])
    rows = [
        [
            str(i),
            arm["name"],
            f"{100 * arm['dev_score']:.2f}",
            *(f"{100 * arm['data'][d]['dev_score']:.2f}" for d in data),
        ]
        for i, arm in enumerate(ranked, 1)
    ]
    print(table(["rank", "arm", "dev F1", *data], rows))

    steps = []
    for rung in found["rungs"]:
        of_rung = [str(len(rung["dev_score"])), f"{rung['minutes']:.1f}", f"{rung['tokens']:,}"]
        steps.append([f"{rung['share']:g} of the training", *of_rung])
    of_winner = searched["cost"]
    steps.append(["the winner, in full", "1", f"{of_winner['minutes']:.1f}", f"{of_winner['tokens']:,}"])
    spent = {k: sum(rung[k] for rung in found["rungs"]) + of_winner[k] for k in ("minutes", "tokens")}
    total = {k: sum(arm["cost"][k] for arm in grid) for k in ("minutes", "tokens")}
    steps.append(["search in all", "", f"{spent['minutes']:.1f}", f"{spent['tokens']:,}"])
    steps.append(["the grid", str(len(grid)), f"{total['minutes']:.1f}", f"{total['tokens']:,}"])
    print(table(["step", "combinations", "minutes", "tokens"], steps))

    scores = [100 * arm["dev_score"] for arm in grid]
    gap = max(scores) - 100 * searched["dev_score"]
    shares = [spent[k] / total[k] for k in ("minutes", "tokens")]
    print(f"best of the grid {max(scores):.2f}, mean {mean(scores):.2f}, standard deviation {stdev(scores):.2f}")
    print(f"searched: {found['winner']}, {100 * searched['dev_score']:.2f}: {gap:.2f} below the best", end="; ")
    print(f"cost {100 * shares[0]:.1f} % of the grid's minutes, {100 * shares[1]:.1f} % of its tokens")
    print(f"within {_WANTED_GAP}: {gap <= _WANTED_GAP}; at most {_WANTED_SHARE:.0%} of the minutes: ", end="")
    print(shares[0] <= _WANTED_SHARE)


if __name__ == "__main__":
    main()
