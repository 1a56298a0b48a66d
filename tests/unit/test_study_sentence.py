"""The sentence of a study says what the data show, and no more."""

from mslm_cli.evaluation.arm_scores import Estimate
from mslm_cli.studies.sentence import Compared, Evidence, Verdict, verdict_sentence

MORE_THAN_FEW = 5


def compared(name: str, value: float, reach: float, p: float) -> Compared:
    """A difference in points, with an interval of ``reach`` to each side."""
    return Compared(name, Estimate(value / 100, (value - reach) / 100, (value + reach) / 100, p), p)


def said(
    arm: Compared | None,
    *,
    rivals: tuple[Compared, ...] = (),
    others: tuple[Compared, ...] = (),
    n_seeds: int = MORE_THAN_FEW,
    n_data: int = 1,
    n_units: int = 100,
    best_dev: float = 0.5,
    n_left: int = 0,
) -> Verdict:
    evidence = Evidence("vanilla", arm, others, rivals, n_seeds, best_dev, n_data, n_units, "documents", n_left)
    return verdict_sentence(evidence)


def test_arms_that_learned_nothing_are_not_compared() -> None:
    found = said(compared("mslm", 0.0, 0.0, 1.0), best_dev=0.0)
    assert found.sentence == "No arm found a single mention on dev, so there is nothing to compare."
    assert "Train longer" in found.advice
    assert (found.outcome, found.use) == ("none", "vanilla")


def test_a_clear_winner_is_named_with_its_gain() -> None:
    found = said(compared("mslm", 1.24, 0.5, 0.001), rivals=(compared("span", 0.8, 0.3, 0.01),))
    assert found.sentence == (
        "mslm gains 1.2 points (95 % interval 0.7 to 1.7) over vanilla; it is also better than span."
    )
    assert (found.outcome, found.use) == ("gain", "mslm")
    assert "mslm" in found.advice


def test_an_equal_rival_is_named() -> None:
    rivals = compared("span", 0.2, 0.5, 0.4), compared("word", 0.9, 0.3, 0.01)
    found = said(compared("mslm", 1.2, 0.5, 0.001), rivals=rivals)
    assert found.sentence.endswith("over vanilla; the data do not separate it from span.")
    assert found.use == "mslm"


def test_many_equal_rivals_are_counted() -> None:
    rivals = tuple(compared(name, 0.1, 0.5, 0.4) for name in ("a", "b", "c", "d"))
    assert "do not separate it from a and 3 other arms." in said(compared("e", 1.2, 0.5, 0.001), rivals=rivals).sentence


def test_without_separation_from_vanilla_there_is_no_winner() -> None:
    found = said(compared("mslm", 0.4, 0.9, 0.4), others=(compared("span", 0.1, 0.9, 0.9),))
    assert found.sentence == (
        "No arm is shown to be better than vanilla: mslm, the best on dev, differs from vanilla by +0.4 points"
        " (95 % interval -0.5 to +1.3)."
    )
    assert (found.outcome, found.use) == ("none", "vanilla")


def test_an_interval_without_zero_is_not_a_gain_after_correction() -> None:
    arm = Compared("mslm", Estimate(0.01, 0.001, 0.019, 0.03), corrected_p=0.12)
    found = said(arm, others=tuple(compared(name, 0.1, 0.9, 0.9) for name in "abc"))
    assert found.outcome == "none"
    assert "not significant after correction for 4 arms" in found.sentence


def test_with_too_few_documents_nothing_can_be_shown_and_more_seeds_are_not_advised() -> None:
    """Three documents can be exchanged in eight ways, so that p is never below a quarter."""
    arm = Compared("mslm", Estimate(0.025, 0.006, 0.046, 0.25), corrected_p=0.75)
    others = tuple(compared(name, 0.1, 0.9, 0.9) for name in "ab")
    found = said(arm, others=others, n_units=3)
    assert found.sentence == (
        "3 test documents are too few to show any difference: mslm, the best on dev, differs from vanilla by +2.5"
        " points (95 % interval +0.6 to +4.6, which is too narrow)."
    )
    assert (found.outcome, found.use) == ("none", "vanilla")
    assert found.advice == "Keep vanilla until you have more test documents; more seeds cannot replace them."
    # of three comparisons, seven documents are enough: 3 / 64
    assert "too few to show any difference" in said(arm, others=others, n_units=6).sentence
    assert "No arm is shown" in said(arm, others=others, n_units=7).sentence


def test_worse_than_vanilla_is_a_loss() -> None:
    found = said(compared("mslm", -1.0, 0.4, 0.001))
    assert found.sentence == (
        "No arm helps here: mslm, the best on dev, loses 1.0 points (95 % interval 0.6 to 1.4) against vanilla."
    )
    assert (found.outcome, found.use) == ("loss", "vanilla")


def test_too_few_seeds_show_nothing_however_large_the_difference() -> None:
    for n_seeds in (1, 2):
        found = said(compared("mslm", 9.0, 0.1, 1e-9), n_seeds=n_seeds)
        assert (found.outcome, found.use) == ("few seeds", "vanilla")
        assert found.sentence.startswith("No conclusion: ")
        assert f"{n_seeds} seed" in found.sentence


def test_an_arm_better_only_on_test_is_named_but_not_used() -> None:
    others = (compared("span", 1.5, 0.4, 0.001),)
    found = said(compared("mslm", 0.1, 0.5, 0.7), others=others)
    assert "No arm" not in found.sentence
    assert found.sentence.endswith("; span, not chosen on dev, gains 1.5.")
    assert found.use == "vanilla"
    assert "span again on fresh data" in found.advice


def test_a_better_rival_is_named() -> None:
    found = said(compared("mslm", 1.2, 0.5, 0.001), rivals=(compared("span", -0.7, 0.3, 0.01),))
    assert "but span, not chosen on dev, is 0.7 points better" in found.sentence


def test_several_data_sets_are_mentioned() -> None:
    assert "on average over 2 data sets" in said(compared("mslm", 1.2, 0.5, 0.001), n_data=2).sentence


def test_vanilla_alone_is_not_a_comparison() -> None:
    assert said(None).outcome == "alone"
    assert "Add arms" in said(None).advice


def test_a_study_that_has_only_begun_asks_for_no_arms() -> None:
    found = said(None, n_left=5)
    assert found.sentence == "Only vanilla has been run so far."
    assert found.advice == "Wait for 5 more trials, or run the same command again to go on with them."
    early = said(compared("mslm", 2.0, 1.0, 0.01), n_seeds=1, n_left=1)
    assert early.advice.startswith("Wait for 1 more trial, or run the same command again")


def test_a_value_that_rounds_to_zero_has_no_sign() -> None:
    assert "by 0.0 points (95 % interval -0.5 to +0.5)" in said(compared("mslm", -0.01, 0.5, 0.9)).sentence
