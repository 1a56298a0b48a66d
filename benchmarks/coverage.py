"""Coverage of the intervals, and false positives of the paired tests.

python benchmarks/coverage.py [--quick] [--json]

Test sets are drawn from a population with known precision, recall and F1, and scored by the functions behind `mslm
eval` and `mslm compare`. Two systems, A and B, annotate each test set.

A sentence has Poisson(1.2 d) gold mentions; a system finds each with a probability, its skill. Half of the mentions it
does not find are predicted with wrong boundaries, and Poisson(0.2 d) mentions are spurious, half of them shared by both
systems. In `independent` sets, d is 1 and the skill for a mention is (u + v) / 2, where u is shared by the systems and
v is not, both Beta(5.1, 0.9) with mean 0.85. In `clustered` sets, documents have 10 sentences, d is Gamma with mean 1
and standard deviation 0.5, and u and v are drawn once per document. So both systems have the same true scores, and
every significant difference is a false positive. In `other balance`, B has skill 0.8 (Beta(4.8, 1.2) for u and v) and
fewer spurious mentions, so that its F1 equals that of A: the F1 are equal, but the systems are not exchangeable and
share no draws. `seeds` are independent sets with three runs per arm, whose skills vary between runs with a standard
deviation of 1 or 2 points; the true value is the mean over seeds.

4,000 test sets per row, 1,000 replicates each; standard errors in brackets.
"""

import argparse
import json
import time
from typing import Any, NamedTuple

import numpy as np

from mslm_cli.evaluation.comparison import ComparedArm, arm_replicates, bootstrap_p, randomisation_p
from mslm_cli.evaluation.uncertainty import Float64, interval, sums_by_cluster

N_SETS, N_REPLICATES, SIZES = 4000, 1000, (100, 300, 1000)
LENGTH, DENSITY, SPURIOUS, SKILL, CONCENTRATION = 10, 1.2, 0.2, 0.85, 6.0
SKILL_B = 0.8
ALPHA = 0.05


class Population(NamedTuple):
    """How to draw test sets: whether in documents, and the mean skill and spurious mentions of each system."""

    is_clustered: bool
    skills: tuple[float, float] = (SKILL, SKILL)
    spurious: tuple[float, float] = (SPURIOUS, SPURIOUS)
    is_shared: bool = True


def truth(skill: float, spurious: float) -> Float64:
    """The true precision, recall and F1."""
    correct = DENSITY * skill
    predicted = correct + 0.5 * DENSITY * (1 - skill) + spurious
    return np.array([correct / predicted, skill, 2 * correct / (DENSITY + predicted)])


def equal_f1(skill: float) -> float:
    """The spurious mentions per sentence that give a system of this skill the F1 of A."""
    correct = DENSITY * skill
    return float(2 * correct / truth(SKILL, SPURIOUS)[2] - DENSITY - correct - 0.5 * DENSITY * (1 - skill))


def beta(mean: float, rng: np.random.Generator, size: int) -> Float64:
    return rng.beta(CONCENTRATION * mean, CONCENTRATION * (1 - mean), size)


def draw(population: Population, n: int, rng: np.random.Generator) -> tuple[Float64, Float64]:
    """The counts of both systems on a test set: [n, 3] each."""
    n_docs = n // LENGTH if population.is_clustered else n
    document = np.arange(n) // LENGTH if population.is_clustered else np.arange(n)
    density = rng.gamma(4, 0.25, n_docs)[document] if population.is_clustered else np.ones(n)
    gold = rng.poisson(DENSITY * density)
    sentence = np.repeat(np.arange(n), gold)
    unit, n_units = (document[sentence], n_docs) if population.is_clustered else (np.arange(len(sentence)), gold.sum())
    shared = beta(population.skills[0], rng, n_units)
    both = rng.poisson(0.5 * population.spurious[0] * density)
    sides = []
    for skill, spurious in zip(population.skills, population.spurious, strict=True):
        own = beta(skill, rng, n_units)
        chance = 0.5 * (shared if population.is_shared else beta(skill, rng, n_units)) + 0.5 * own
        found = np.bincount(sentence, rng.random(len(sentence)) < chance[unit], minlength=n)
        wrong = rng.binomial((gold - found).astype(np.int64), 0.5)
        extra = (
            both + rng.poisson(0.5 * spurious * density) if population.is_shared else rng.poisson(spurious * density)
        )
        sides.append(np.stack([gold, found + wrong + extra, found], axis=1).astype(float))
    return sides[0], sides[1]


def share(hits: Float64) -> dict[str, float]:
    value = float(np.mean(hits))
    return {"value": value, "se": float(np.sqrt(value * (1 - value) / len(hits)))}


def simulate(population: Population, n: int, unit: str, n_sets: int, rng: np.random.Generator) -> dict[str, Any]:
    """The coverage of A's intervals, and how often the tests find a difference."""
    true = truth(population.skills[0], population.spurious[0])
    clusters = np.arange(n) // (LENGTH if unit == "documents" else 1)
    covered, widths, false = np.zeros((n_sets, 3)), np.zeros((n_sets, 3)), np.zeros((n_sets, 2))
    for i in range(n_sets):
        sides = [
            sums_by_cluster(clusters, n // LENGTH if unit == "documents" else n, s) for s in draw(population, n, rng)
        ]
        arms = [ComparedArm(name, side[None, :, None]) for name, side in zip("AB", sides, strict=True)]
        first, second = (replicates[:, 0] for replicates in arm_replicates(arms, N_REPLICATES, rng))
        for k in range(3):
            low, high = interval(first[:, k])
            covered[i, k], widths[i, k] = low <= true[k] <= high, high - low
        p_values = bootstrap_p((second - first)[:, 2]), randomisation_p(sides[0], sides[1], N_REPLICATES, rng)
        false[i] = [p < ALPHA for p in p_values]
    return {
        "n": n,
        "unit": unit,
        "coverage": {name: share(covered[:, k]) for k, name in enumerate(("precision", "recall", "f1"))},
        "mean_width_f1": float(widths[:, 2].mean()),
        "false_positives": rates(false),
    }


def simulate_seeds(sd: float, n: int, n_runs: int, n_sets: int, rng: np.random.Generator) -> dict[str, Any]:
    """The same with several runs per arm, whose skills differ."""
    true = truth(SKILL, SPURIOUS)[2]
    covered, false = np.zeros(n_sets), np.zeros((n_sets, 2))
    for i in range(n_sets):
        gold = rng.poisson(DENSITY, n)
        sentence = np.repeat(np.arange(n), gold)
        shared = beta(SKILL, rng, len(sentence))
        arms = []
        for name in "AB":
            runs = []
            for skill in SKILL + sd * rng.standard_normal(n_runs):
                own = beta(min(0.99, 2 * skill - SKILL), rng, len(sentence))
                chance = 0.5 * shared + 0.5 * own
                found = np.bincount(sentence, rng.random(len(sentence)) < chance, minlength=n)
                predicted = found + rng.binomial((gold - found).astype(np.int64), 0.5) + rng.poisson(SPURIOUS, n)
                runs.append(np.stack([gold, predicted, found], axis=1).astype(float))
            arms.append(ComparedArm(name, np.stack(runs)[:, :, None]))
        first, second = (replicates[:, 0, 2] for replicates in arm_replicates(arms, N_REPLICATES, rng))
        low, high = interval(first)
        covered[i] = low <= true <= high
        means = [arm.counts[:, :, 0].mean(axis=0) for arm in arms]
        p_values = bootstrap_p(second - first), randomisation_p(means[0], means[1], N_REPLICATES, rng)
        false[i] = [p < ALPHA for p in p_values]
    return {"n": n, "sd": sd, "n_runs": n_runs, "coverage": share(covered), "false_positives": rates(false)}


def rates(false: Float64) -> dict[str, Any]:
    columns = {"bootstrap": false[:, 0], "randomisation": false[:, 1], "both": false.all(axis=1)}
    return {name: share(column) for name, column in columns.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="200 test sets in place of 4,000")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    started = time.process_time()
    result = measure(200 if options.quick else N_SETS)
    result["cpu_s"] = time.process_time() - started
    print(json.dumps(result, indent=2) if options.json else table(result))


def measure(n_sets: int) -> dict[str, Any]:
    balance = Population(False, (SKILL, SKILL_B), (SPURIOUS, equal_f1(SKILL_B)), is_shared=False)
    cells: dict[str, tuple[Population, str]] = {
        "independent": (Population(False), "sentences"),
        "clustered": (Population(True), "sentences"),
        "clustered, by document": (Population(True), "documents"),
        "other balance": (balance, "sentences"),
    }
    rng = np.random.default_rng(0)
    return {
        "n_sets": n_sets,
        "cells": [
            {"name": name, **simulate(population, n, unit, n_sets, rng)}
            for name, (population, unit) in cells.items()
            for n in SIZES
        ],
        "seeds": [simulate_seeds(sd, 300, 3, n_sets, rng) for sd in (0.01, 0.02)],
    }


def table(result: dict[str, Any]) -> str:
    lines = [
        f"{result['n_sets']:,} test sets a row, {result['cpu_s']:.0f} s of CPU; per cent (standard error)",
        "",
        "| test sets | sentences | drawn | covers P | R | F1 | width of F1 | bootstrap | randomisation | both |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for cell in result["cells"]:
        covered = " | ".join(map(percent, cell["coverage"].values()))
        false = " | ".join(map(percent, cell["false_positives"].values()))
        name = cell["name"].removesuffix(", by document")
        width = f"{100 * cell['mean_width_f1']:.1f}"
        lines.append(f"| {name} | {cell['n']:,} | {cell['unit']} | {covered} | {width} | {false} |")
    lines += [
        "",
        "| sd of seeds | sentences | runs | covers F1 | bootstrap | randomisation | both |",
        "|---|---|---|---|---|---|---|",
    ]
    for cell in result["seeds"]:
        false = " | ".join(map(percent, cell["false_positives"].values()))
        sd = f"{100 * cell['sd']:.0f} points"
        lines.append(f"| {sd} | {cell['n']} | {cell['n_runs']} | {percent(cell['coverage'])} | {false} |")
    return "\n".join(lines)


def percent(of: dict[str, float]) -> str:
    return f"{100 * of['value']:.1f} ({100 * of['se']:.1f})"


if __name__ == "__main__":
    main()
