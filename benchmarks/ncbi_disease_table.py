"""Print the table of a run of ncbi_disease.sh as Markdown.

python benchmarks/ncbi_disease_table.py RUN
"""

import json
import sys
from pathlib import Path
from statistics import fmean, stdev
from typing import Any


def arm(run: Path, name: str) -> list[dict[str, Any]]:
    return [
        {"seed": int(path.name.rsplit("-", 1)[1]), **json.loads((path / "results.json").read_bytes())["exact_match"]}
        for path in sorted(run.glob(f"scores-{name}-*"))
    ]


def row(name: str, scores: list[dict[str, Any]]) -> str:
    cells = [name, str(len(scores))]
    for key in ("precision", "recall", "f1"):
        values = [100 * s[key] for s in scores]
        sd = f" ± {stdev(values):.2f}" if len(values) > 1 else ""
        cells.append(f"{fmean(values):.2f}{sd} ({min(values):.2f} to {max(values):.2f})")
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    run = Path(sys.argv[1])
    stats = json.loads((run / "shards" / "stats.json").read_bytes())
    adapted = json.loads((run / "adapted" / "manifest.json").read_bytes())["run"]
    print("| arm | seeds | precision | recall (EM) | F1 |")
    print("|---|---|---|---|---|")
    print(row("mslm finetune, no adaptation (vanilla)", arm(run, "vanilla")))
    print(row("mslm finetune, adapted with mslm", arm(run, "mslm")))
    if (run / "trainer.json").exists():
        print(row("transformers Trainer, no adaptation", json.loads((run / "trainer.json").read_bytes())["runs"]))
    print()
    realised = {k: f"{100 * v:.2f} %" for k, v in stats["realised"].items()}
    print(f"Shards: {stats['n_tokens']:,} tokens, {100 * stats['ds_share']:.1f} % in DS-terms; masked: {realised}.")
    print(f"Adaptation: {json.dumps(adapted)}.")


if __name__ == "__main__":
    main()
