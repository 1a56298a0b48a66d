import pytest

from mslm_cli.config import FinetuneConfig
from mslm_cli.training.schedule import choose_schedule

SIZES = [1, 500, 3_000, 10_000, 57_599, 57_601, 90_000, 230_399, 230_401, 500_000, 5_000_000]


def n_steps(n_tokens: int, **options: object) -> float:
    schedule = choose_schedule(FinetuneConfig.build(**options), n_tokens)
    return schedule.epochs * max(1.0, n_tokens / schedule.tokens_per_step)


def test_small_data_are_seen_more_often_in_smaller_steps() -> None:
    found = [choose_schedule(FinetuneConfig(), size) for size in SIZES]
    assert [s.epochs for s in found] == sorted((s.epochs for s in found), reverse=True)
    assert [s.tokens_per_step for s in found] == sorted(s.tokens_per_step for s in found)


@pytest.mark.parametrize("n_sentences", [100, 300, 900, 3_000])
def test_small_data_get_at_least_the_updates_of_three_epochs_of_eight_sentences(n_sentences: int) -> None:
    assert n_steps(30 * n_sentences) >= 3 * n_sentences / 8


def test_large_data_get_five_epochs_of_1024_tokens() -> None:
    assert choose_schedule(FinetuneConfig(), 500_000)[:2] == (5, 1024)


def test_given_numbers_are_kept() -> None:
    given = FinetuneConfig.build(epochs=3, tokens_per_step=2048, patience=0)
    assert all(choose_schedule(given, size) == (3, 2048, 0) for size in SIZES)


def test_the_epochs_follow_the_given_tokens_per_step() -> None:
    few, many = (choose_schedule(FinetuneConfig.build(tokens_per_step=n), 20_000).epochs for n in (256, 1024))
    assert few < many
