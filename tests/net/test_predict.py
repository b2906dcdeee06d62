import numpy as np
import pytest
import torch
from scipy import ndimage

from dcan.errors import DcanError
from dcan.geometry import Box, Grid
from dcan.net.members import TorchMember, torch_members
from dcan.net.model import DCAN, Architecture
from dcan.net.networks import build, initialise, reach
from dcan.net.normalise import histogram, section_table
from dcan.net.predict import Predictor, Views, predict_section, window
from dcan.net.state import Run
from tests.net.test_train import RECIPE

ARCHITECTURE = Architecture(4)
TILE, HALO = 32, 64


def weights(seed: int) -> dict[str, torch.Tensor]:
    """Drawn weights, scaled to a map that is far from flat and from saturation."""
    model = DCAN(ARCHITECTURE)
    initialise(model, seed)
    section = image((96, 96))
    em = torch.from_numpy(section_table(histogram(section))[section])[None, None]
    with torch.no_grad():
        # A bias that keeps the narrow heads alive, and most weight on the deepest one.
        for head, share in zip(model.heads, (0.5, 0.5, 2.0), strict=True):
            head.convolution.bias.fill_(1.0)
            logits = head(features(model, em, head))
            odds = logits[0, 1] - logits[0, 0]
            head.classifier.weight.mul_(share / odds.std())
            head.classifier.bias[1] -= odds.mean() * share / odds.std()
    return model.state_dict()


def features(model: DCAN, em: torch.Tensor, head: torch.nn.Module) -> torch.Tensor:
    found = model.stages[0](em)
    for stage, other in zip(model.stages[1:], model.heads, strict=True):
        found = stage(model.pool(found))
        if other is head:
            break
    return found


def image(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal(shape)
    smooth = ndimage.gaussian_filter(noise, 1.5)
    return np.clip(128 + 300 * smooth, 0, 255).astype(np.uint8)


def made(
    *seeds: int, threads: int = 1, views: Views = 1, dtype: torch.dtype = torch.float32
) -> Predictor:
    """An ensemble of drawn networks."""
    members = torch_members(ARCHITECTURE, [weights(seed) for seed in seeds], dtype=dtype)
    return Predictor(members, reach(ARCHITECTURE), threads=threads, views=views)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return made(0)


@pytest.fixture(scope="module")
def turning() -> Predictor:
    return made(0, views=8)


def whole_map(predictor: Predictor, em: np.ndarray) -> np.ndarray:
    """The section through the network at once, padded the same way."""
    pad = [(HALO, HALO + -length % 8) for length in em.shape]
    padded = np.pad(em, pad, mode="symmetric")
    return predictor.tile(padded[None], HALO)[0, : em.shape[0], : em.shape[1]]


@pytest.mark.parametrize(
    ("shape", "views"), [((90, 70), 1), ((33, 7), 1), ((64, 96), 1), ((70, 70), 8)]
)
def test_the_tiled_map_is_that_of_the_whole_section(
    predictor: Predictor, turning: Predictor, shape: tuple[int, int], views: int
) -> None:
    predictor = turning if views == 8 else predictor
    section = image(shape)
    table = section_table(histogram(section))
    tiled = predict_section(predictor, section, table, TILE, HALO)
    whole = whole_map(predictor, table[section])
    assert tiled.dtype == np.uint8
    assert np.ptp(whole) > 100
    assert np.abs(tiled.astype(int) - whole).max() <= 1
    assert (tiled != whole).mean() < 0.01


def test_with_less_context_it_would_not_be(predictor: Predictor) -> None:
    section = image((96, 96))
    em = section_table(histogram(section))[section]
    whole = whole_map(predictor, em)
    box = Box((0, 32, 32), (1, 64, 64))
    seen = window(lambda b: em[None][b.slices], (1, 96, 96), box, TILE, 8)
    tile = predictor.tile(seen[None], 8)[0]
    assert np.abs(tile.astype(int) - whole[32:64, 32:64]).max() > 1


@pytest.mark.parametrize("views", [1, 8])
def test_a_tile_is_the_same_whatever_read_it_and_whatever_is_beside_it(
    predictor: Predictor, turning: Predictor, views: int
) -> None:
    predictor = turning if views == 8 else predictor
    shape = (2, 100, 90)
    volume = image(shape)
    tables = [section_table(histogram(section)) for section in volume]
    whole = np.stack(
        [predict_section(predictor, s, t, TILE, HALO) for s, t in zip(volume, tables, strict=True)]
    )
    boxes = list(Grid(shape, (1, TILE, TILE)))
    np.random.default_rng(0).shuffle(boxes)  # type: ignore[arg-type]
    for group in (boxes[:3], boxes[3:4], boxes[4:11]):
        seen = [
            tables[b.start[0]][window(lambda box: volume[box.slices].copy(), shape, b, TILE, HALO)]
            for b in group
        ]
        for box, tile in zip(group, predictor.tile(np.stack(seen), HALO), strict=True):
            _, height, width = box.shape
            assert np.array_equal(whole[box.slices][0], tile[:height, :width])


def test_a_normalised_section_gives_the_same(predictor: Predictor) -> None:
    section = image((40, 40))
    table = section_table(histogram(section))
    raw = predict_section(predictor, section, table, TILE, HALO)
    assert np.array_equal(raw, predict_section(predictor, table[section], None, TILE, HALO))


def probability(state: dict[str, torch.Tensor], em: np.ndarray) -> np.ndarray:
    model = DCAN(ARCHITECTURE)
    model.load_state_dict(state)
    with torch.no_grad():
        fused, _ = model(torch.from_numpy(em)[None, None])
    return torch.softmax(fused, 1)[0, 1].numpy()


def test_members_are_averaged_before_rounding_and_255_is_membrane() -> None:
    em = image((144, 144)).astype(np.float32) / 128 - 1
    found = made(1, 2, 3).tile(em[None], 8)[0]
    mean = np.mean([probability(weights(seed), em) for seed in (1, 2, 3)], axis=0)[8:-8, 8:-8]
    assert np.abs(found - 255 * mean).max() < 0.5 + 1e-3
    single = made(1).tile(em[None], 8)[0]
    assert (single != found).any()


def test_eight_views_turn_with_the_image() -> None:
    em = image((144, 144)).astype(np.float32) / 128 - 1
    views = made(0, views=8)
    plain = made(0)
    turned = np.ascontiguousarray(np.rot90(em)[:, ::-1])
    found, other = (views.tile(each[None], 8)[0].astype(int) for each in (em, turned))
    assert np.abs(other - np.rot90(found)[:, ::-1]).max() <= 1
    one, two = (plain.tile(each[None], 8)[0].astype(int) for each in (em, turned))
    assert np.abs(two - np.rot90(one)[:, ::-1]).max() > 1


def test_bfloat16_is_near_float32(predictor: Predictor) -> None:
    em = (image((160, 160)).astype(np.float32) / 128 - 1)[None]
    half = made(0, dtype=torch.bfloat16)
    one, two = (each.tile(em, HALO).astype(int) for each in (predictor, half))
    assert 0 < np.abs(one - two).max() < 40
    assert np.abs(one - two).mean() < 4


def test_the_threads_are_those_asked_for() -> None:
    torch.set_num_threads(1)
    made(0, threads=2).tile(np.zeros((1, 32, 32), np.float32), 8)
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_refused(predictor: Predictor, bad: float) -> None:
    em = np.zeros((1, 144, 144), np.float32)
    em[0, 70, 70] = bad
    with pytest.raises(DcanError, match="not finite"):
        predictor.tile(em, HALO)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB"),
        MemoryError("no more"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("CUDA error: out of memory"),
    ],
)
def test_where_memory_is_short_the_tile_to_try_is_named(error: Exception) -> None:
    def large(em: torch.Tensor) -> torch.Tensor:
        raise error

    with pytest.raises(DcanError, match=r"prediction.tile is 48: .*too little memory .*: give 24"):
        Predictor([large], 8).tile(np.zeros((1, 64, 64), np.float32), 8)


def test_a_device_without_room_for_the_network_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    shape = Architecture(2)
    weights = build(shape).state_dict()
    monkeypatch.setattr(torch.nn.Module, "to", full)
    for make in (
        lambda: TorchMember(shape, weights),
        lambda: Run(shape, RECIPE, None, torch.device("cpu")),
    ):
        with pytest.raises(DcanError, match=r"model.width is 2: .*memory for the network"):
            make()


@pytest.mark.parametrize("error", ["sizes do not match", "unable to find an engine"])
def test_another_error_is_not_taken_for_it(error: str) -> None:
    def broken(em: torch.Tensor) -> torch.Tensor:
        raise RuntimeError(error)

    with pytest.raises(RuntimeError, match=error):
        Predictor([broken], 8).tile(np.zeros((1, 64, 64), np.float32), 8)


def test_a_constant_section_is_predicted(predictor: Predictor) -> None:
    section = np.full((20, 20), 7, np.uint8)
    found = predict_section(predictor, section, section_table(histogram(section)), TILE, HALO)
    assert found.shape == (20, 20)
    assert np.ptp(found[4:-4, 4:-4].astype(int)) <= np.ptp(found.astype(int)) < 255


def test_no_member_and_a_small_halo_are_refused(predictor: Predictor) -> None:
    with pytest.raises(DcanError, match="no member"):
        Predictor([], 54)
    with pytest.raises(DcanError, match="56 or more"):
        predict_section(predictor, image((9, 9)).astype(np.float32), None, TILE, 48)
