import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from dcan.errors import DcanError
from dcan.net.augment import Section
from dcan.net.model import DCAN, Architecture
from dcan.net.rule import cross_entropy
from dcan.net.train import Recipe, Record, TrainingState, train
from dcan.storage.checkpoints import load_state, save_state

ARCHITECTURE = Architecture(4)
RECIPE = Recipe(
    steps=6, crop=32, batch=2, threads=1, log_every=2, validate_every=2, checkpoint_every=3
)


def section(shape: tuple[int, int], seed: int) -> Section:
    """Bright cells, dark membranes between them, a corner unknown."""
    rng = np.random.default_rng(seed)
    y, x = np.indices(shape) + rng.integers(0, 12, (2, 1, 1))
    target = ((y % 12 > 2) & (x % 12 > 2)).astype(np.uint8)
    em = (target * 2.0 - 1 + rng.normal(0, 0.3, shape)).astype(np.float32)
    target[:4, :4] = 2
    return Section(em, target)


SECTIONS = [section((50, 61), 0), section((28, 40), 1)]
VALIDATION = [section((33, 30), 2), section((40, 41), 3)]


def records(
    recipe: Recipe = RECIPE,
    validation: list[Section] = VALIDATION,
    state: TrainingState | None = None,
) -> list[Record]:
    return list(train(ARCHITECTURE, recipe, SECTIONS, validation, state))


def final(found: list[Record]) -> TrainingState:
    assert found[-1].state is not None
    return found[-1].state


def same(a: TrainingState, b: TrainingState) -> bool:
    (one, plain), (two, other) = a.pack(), b.pack()
    return (
        plain == other
        and one.keys() == two.keys()
        and all(torch.equal(one[name], two[name]) for name in one)
    )


def plain(found: list[Record]) -> list[Record]:
    return [dataclasses.replace(record, seconds=0.0, state=None) for record in found]


@pytest.mark.parametrize(
    "change",
    [
        {"rule": "adam-cosine"},
        {"rule": "paper"},
        {"learning_rate": 0.0},  # the best is that of before the stop
    ],
)
def test_a_resumed_training_is_bit_identical(
    change: dict[str, str | float], tmp_path: Path
) -> None:
    recipe = dataclasses.replace(RECIPE, **change)  # type: ignore[arg-type]
    straight = records(recipe)
    running = train(ARCHITECTURE, recipe, SECTIONS, VALIDATION)
    for record in running:
        if record.state:
            save_state(tmp_path / "state", *record.state.pack())
            break
    running.close()
    resumed = records(recipe, state=TrainingState.unpack(*load_state(tmp_path / "state")))
    assert final(straight).step == 6
    assert same(final(straight), final(resumed))
    assert plain(resumed) == [record for record in plain(straight) if record.step > 3]


def test_a_state_is_not_changed_by_the_steps_after_it() -> None:
    states = [record.state for record in records() if record.state]
    for record in train(ARCHITECTURE, RECIPE, SECTIONS, VALIDATION):
        if record.step == 3:
            assert record.state is not None
            tensors, _ = record.state.pack()
            then = {name: tensor.clone() for name, tensor in tensors.items()}
    assert [state.step for state in states] == [3, 6]
    assert not same(*states)
    assert all(torch.equal(then[name], tensors[name]) for name in tensors)


def test_a_finished_state_yields_nothing_more() -> None:
    assert records(state=final(records())) == []


def test_workers_change_nothing() -> None:
    alone, helped = (records(dataclasses.replace(RECIPE, workers=workers)) for workers in (0, 2))
    assert same(final(alone), final(helped))


def test_the_seed_changes_the_start_and_the_samples() -> None:
    one, two = (records(dataclasses.replace(RECIPE, seed=seed)) for seed in (0, 1))
    assert one[0].loss != two[0].loss


def test_records_come_when_they_are_due_and_hold_means() -> None:
    each = records(dataclasses.replace(RECIPE, log_every=1))
    found = records()
    assert [record.step for record in found] == [2, 3, 4, 6]
    assert [record.validation is None for record in found] == [False, True, False, False]
    assert [record.state is None for record in found] == [True, False, True, False]
    assert found[0].loss == pytest.approx((each[0].loss + each[1].loss) / 2)
    assert found[1].loss == each[2].loss
    assert found[3].loss == pytest.approx((each[4].loss + each[5].loss) / 2)
    assert found[0].loss == pytest.approx(found[0].fused + sum(found[0].heads))
    assert [record.discount for record in found] == [1, 0.1, 0.1, 0.01]


def validation_loss(weights: dict[str, torch.Tensor]) -> float:
    model = DCAN(ARCHITECTURE)
    model.load_state_dict(weights)
    total, pixels = 0.0, 0
    for each in VALIDATION:
        pad = [(0, -length % 8) for length in each.em.shape]
        with torch.no_grad():
            fused, _ = model(torch.from_numpy(np.pad(each.em, pad, mode="symmetric"))[None, None])
        height, width = each.em.shape
        total += float(
            cross_entropy(fused[:, :, :height, :width], torch.from_numpy(each.target)[None])
        )
        pixels += int((each.target != 2).sum())
    return total / pixels


def test_the_best_weights_are_those_of_the_least_validation_loss() -> None:
    # Learning makes the loss of inverted truth rise, so the first is the best.
    inverted = [Section(s.em, np.array([1, 0, 2], np.uint8)[s.target]) for s in VALIDATION]
    recipe = dataclasses.replace(RECIPE, steps=40, validate_every=10, learning_rate=3e-3)
    rising = records(recipe, inverted)
    losses = {r.step: r.validation for r in rising if r.validation is not None}
    assert final(rising).best_step == min(losses, key=losses.__getitem__) < 40
    falling = records(recipe)
    losses = {r.step: r.validation for r in falling if r.validation is not None}
    assert final(falling).best_step == min(losses, key=losses.__getitem__) == 40
    assert final(falling).best_loss == losses[40]
    assert validation_loss(final(falling).best) == pytest.approx(losses[40], rel=1e-4)


def test_of_equal_validation_losses_the_earlier_wins() -> None:
    still = records(dataclasses.replace(RECIPE, learning_rate=0.0))
    assert len({r.validation for r in still if r.validation is not None}) == 1
    assert final(still).best_step == 2


def test_without_validation_the_last_weights_are_the_result() -> None:
    state = final(records(validation=[]))
    assert state.best_step == 6
    assert state.best_loss is None
    assert all(torch.equal(state.best[name], state.weights[name]) for name in state.weights)


@pytest.mark.parametrize("rule", ["adam-cosine", "paper"])
def test_it_learns(rule: str) -> None:
    recipe = Recipe(
        steps=100, crop=32, batch=2, rule=rule, learning_rate=1e-2, threads=1, validate_every=50
    )
    losses = [r.validation for r in records(recipe) if r.validation is not None]
    assert losses[-1] < 0.5


def test_kernels_and_threads_are_fixed() -> None:
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(2)
    records()
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize(("validation", "named"), [([], "loss of step"), (VALIDATION, "valid")])
def test_divergence_is_said(validation: list[Section], named: str) -> None:
    recipe = dataclasses.replace(RECIPE, rule="paper", learning_rate=1e12, validate_every=1)
    with pytest.raises(DcanError, match=f"diverged: the {named}"):
        records(recipe, validation)


@pytest.mark.parametrize("which", ["training", "validation"])
def test_sections_without_labels_are_refused(which: str) -> None:
    blank = [Section(SECTIONS[0].em, np.full(SECTIONS[0].em.shape, 2, np.uint8))]
    given = {"training": (blank, VALIDATION), "validation": (SECTIONS, blank)}[which]
    with pytest.raises(DcanError, match=f"{which} sections"):
        next(train(ARCHITECTURE, RECIPE, *given))


def test_no_sections_and_an_odd_crop_are_refused() -> None:
    with pytest.raises(DcanError, match="training sections"):
        next(train(ARCHITECTURE, RECIPE, [], VALIDATION))
    with pytest.raises(DcanError, match="crop is 30"):
        records(dataclasses.replace(RECIPE, crop=30))


def test_a_state_of_another_network_is_refused() -> None:
    state = final(records())
    with pytest.raises(DcanError, match="another architecture"):
        next(train(Architecture(2), dataclasses.replace(RECIPE, steps=9), SECTIONS, [], state))


def test_a_garbled_state_is_refused() -> None:
    tensors, values = final(records()).pack()
    with pytest.raises(DcanError, match="'x'"):
        TrainingState.unpack({**tensors, "x": torch.zeros(1)}, values)
    with pytest.raises(DcanError, match="step"):
        TrainingState.unpack(tensors, {**values, "step": "6"})
    with pytest.raises(DcanError, match="best_loss"):
        TrainingState.unpack(tensors, {**values, "best_loss": "low"})
