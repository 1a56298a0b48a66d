"""Coverage of the intervals of differences between arms that learn from the same sentences, drawn anew for each seed.

python benchmarks/paired_seeds.py [N_SETS]

Two arms with the same number of seeds are scored on 100 documents with 2 to 11 gold mentions each. In the logit of the
chance that a mention is found, documents differ with a standard deviation of 0.8, the sentences that a seed draws move
both arms by the same normal number (0.3), and each arm and seed has a number of its own (0.1). The second arm is 0.2
higher, or (for false positives) as high. `paired` is what studies use below the full share of the labels
(`label_efficiency.paired_replicates`); `independent` is what `mslm compare` uses (`comparison.arm_replicates`), which
cannot know that seeds are shared.
"""

import sys

import numpy as np

from mslm_cli.evaluation.comparison import ComparedArm, arm_replicates, bootstrap_p
from mslm_cli.evaluation.label_efficiency import Cell, paired_replicates
from mslm_cli.evaluation.uncertainty import interval

N_DOCUMENTS, N_REPLICATES = 100, 1000


def arms(rng: np.random.Generator, n_seeds: int, gain: float, n_documents: int = N_DOCUMENTS) -> list[Cell]:
    """Vanilla and the second arm."""
    gold = rng.integers(2, 12, n_documents)
    of_documents = 0.5 + rng.normal(0, 0.8, n_documents)
    of_seeds = rng.normal(0, 0.3, n_seeds)
    cells = []
    for name, over in (("vanilla", 0.0), ("arm", gain)):
        logits = over + of_seeds[:, None] + rng.normal(0, 0.1, (n_seeds, 1)) + of_documents
        found = rng.binomial(gold, 1 / (1 + np.exp(-logits)))
        counts = np.stack([np.broadcast_to(gold, found.shape)] * 2 + [found], axis=-1)
        cells.append(Cell(name, 1.0, tuple(range(n_seeds)), counts.astype(np.float64)))
    return cells


def main() -> None:
    n_sets = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    large = [arms(np.random.default_rng([0, i]), 3, 0.2, 5000) for i in range(200)]
    truth = float(np.mean([one.f1 - vanilla.f1 for vanilla, one in large]))
    print("| seeds | interval | covers the gain, % | width, points | false positives, % |")
    print("|---|---|--:|--:|--:|")
    for n_seeds in (3, 5):
        found: dict[str, list[tuple[bool, float, bool]]] = {"paired": [], "independent": []}
        for i in range(n_sets):
            differences: dict[str, list[np.ndarray]] = {name: [] for name in found}
            for gain in (0.2, 0.0):
                cells = arms(np.random.default_rng([1, n_seeds, i]), n_seeds, gain)
                vanilla, one = paired_replicates(cells, N_REPLICATES, np.random.default_rng([2, i]))
                differences["paired"].append(one - vanilla)
                alone = [ComparedArm(cell.arm, cell.counts[:, :, None]) for cell in cells]
                vanilla, one = arm_replicates(alone, N_REPLICATES, np.random.default_rng([2, i]))
                differences["independent"].append((one - vanilla)[:, 0, 2])
            for name, (of_gain, of_none) in differences.items():
                low, high = interval(of_gain)
                found[name].append((low <= truth <= high, high - low, bootstrap_p(of_none) < 0.05))
        for name, rows in found.items():
            covers, width, is_false = np.mean(rows, axis=0)
            print(f"| {n_seeds} | {name} | {100 * covers:.1f} | {100 * width:.1f} | {100 * is_false:.1f} |")


if __name__ == "__main__":
    main()
