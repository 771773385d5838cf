import numpy as np
import pyarrow as pa
import pytest
import torch

from headwater.data import Dataset, Vocabulary
from headwater.errors import ConfigError
from headwater.nn.catalogue import Catalogue, InputConfig, attribute_codes
from headwater.nn.inputs import EventInputs, ItemEmbedding, gap_levels
from headwater.nn.sequences import Histories, Windows

CPU = torch.device("cpu")
TABLE = pa.table(
    {
        "category": ["b", None, "a", "b"],
        "year": pa.array([2001, 1999, None, 2001], pa.int16()),
        "genres": [["x", "y"], [], None, ["y"]],
        "score": [0.5, 0.25, 1.0, 2.0],
    }
)


def rated(ratings: list[float], time_unit: str = "seconds") -> Dataset:
    return Dataset.from_events(
        "rated",
        Vocabulary([0]),
        Vocabulary(np.arange(4)),
        event_users=np.zeros(len(ratings), np.int32),
        event_items=np.arange(len(ratings), dtype=np.int32) % 4,
        event_times=np.arange(len(ratings)) ** 3,
        event_ratings=np.array(ratings, np.float32),
        item_attributes=TABLE,
        time_unit=time_unit,  # type: ignore[arg-type]
    )


def test_attribute_codes_count_from_one_and_zero_stands_for_none() -> None:
    assert attribute_codes(TABLE, "category").tolist() == [[1], [0], [2], [1]]
    assert attribute_codes(TABLE, "year").tolist() == [[1], [2], [0], [1]]
    assert attribute_codes(TABLE, "genres").tolist() == [[1, 2], [0, 0], [0, 0], [2, 0]]


def test_an_attribute_that_is_missing_or_cannot_be_read_is_named() -> None:
    with pytest.raises(ConfigError, match="no attribute 'categry'; did you mean 'category'"):
        attribute_codes(TABLE, "categry")
    with pytest.raises(ConfigError, match="attribute 'score' holds double"):
        attribute_codes(TABLE, "score")


def test_inputs_that_the_data_do_not_have_are_refused(marketplace: Dataset) -> None:
    with pytest.raises(ConfigError, match="has no ratings"):
        Catalogue.of(marketplace, InputConfig(ratings=True))
    for inputs in (InputConfig(gaps=True), InputConfig(request_time=True)):
        with pytest.raises(ConfigError, match="has positions, not times"):
            Catalogue.of(rated([1.0, 2.0], "position"), inputs)


def test_a_catalogue_survives_its_tensors() -> None:
    inputs = InputConfig(attributes=("genres", "year"), ratings=True)
    catalogue = Catalogue.of(rated([1, 2, 2, 5]), inputs)
    again = Catalogue.restore(4, inputs, catalogue.tensors())
    assert again.rating_borders.tolist() == catalogue.rating_borders.tolist() == [2.0, 5.0]
    assert all(np.array_equal(again.attributes[name], codes) for name, codes in catalogue.attributes.items())


def test_ratings_of_many_values_are_cut_into_bins() -> None:
    catalogue = Catalogue.of(rated(np.linspace(0, 1, 500).tolist()), InputConfig(ratings=True))
    assert len(catalogue.rating_borders) == 19
    levels = np.searchsorted(catalogue.rating_borders, np.linspace(0, 1, 500), side="right")
    assert np.bincount(levels).min() >= 20


def test_an_item_is_its_own_vector_plus_the_mean_of_its_attributes_values() -> None:
    items = ItemEmbedding(Catalogue.of(rated([1.0]), InputConfig(attributes=("genres", "category"))), 3)
    genres, categories = (bag.weight for bag in items.attributes)
    expected = torch.stack(
        [
            items.own[0] + (genres[1] + genres[2]) / 2 + categories[1],
            items.own[1],
            items.own[2] + categories[2],
            items.own[3] + genres[2] + categories[1],
        ]
    )
    torch.testing.assert_close(items.table(), expected)
    torch.testing.assert_close(items(torch.tensor([[3, 0], [1, 1]])), expected[[3, 0, 1, 1]].view(2, 2, 3))


def inputs_of(config: InputConfig, *, is_cloze: bool = False) -> EventInputs:
    catalogue = Catalogue.of(rated([1, 2, 3, 4, 5]), config)
    return EventInputs(catalogue, config, 4, 6, 0.0, is_cloze=is_cloze)


def test_each_input_adds_its_own_embedding() -> None:
    module = inputs_of(InputConfig(ratings=True, gaps=True, request_time=True))
    data = rated([1, 5, float("nan")])  # times 0, 1, 8
    queries = data.queries(np.array([0], np.int32), request_times=np.array([8]))
    windows = Histories.from_queries(queries, 4, CPU).windows(np.array([0]), 6, times=True)
    assert module.ratings is not None
    assert module.gaps is not None
    assert module.request_gaps is not None
    expected = (
        module.items.table()[[0, 1, 2]]
        + module.positions.weight[[3, 4, 5]]
        + module.ratings.weight[[1, 5, 0]]  # none is level 0
        + module.gaps.weight[[0, 2, 4]]  # first event; 1 s; 7 s, in 4..7
        + module.request_gaps.weight[[2, 4, 1]]  # 1 s; 7 s; no time
    )
    torch.testing.assert_close(module(windows)[0], expected)


@pytest.mark.parametrize(("gap", "level"), [(-1, 0), (0, 1), (1, 2), (2, 3), (3, 3), (4, 4), (2**31, 33), (2**40, 33)])
def test_a_gap_has_one_level_for_each_doubling(gap: int, level: int) -> None:
    assert int(gap_levels(torch.tensor(gap))) == level


def test_periods_have_equally_many_events_and_the_last_one_has_no_end() -> None:
    data = rated([1.0] * 640)
    catalogue = Catalogue.of(data, InputConfig(periods=True))
    periods = np.searchsorted(catalogue.period_borders, data.event_times, side="right")
    assert np.bincount(periods).tolist() == [10] * 64
    module = EventInputs(catalogue, InputConfig(periods=True), 4, 6, 0.0)
    windows = Histories.from_dataset(data, CPU).windows(np.array([0]), 2, times=True)
    late = windows._replace(times=torch.tensor([[0, 2**40]]))
    assert module.periods is not None
    bare = module.items(windows.items) + module.positions(windows.positions)  # type: ignore[misc]
    torch.testing.assert_close(module(late)[0] - bare[0], module.periods.weight[[1, 64]])
    is_hidden = torch.tensor([[False, True]])
    torch.testing.assert_close(module(late, is_hidden)[0, 1] - bare[0, 1], module.periods.weight[0])


def windows_of(n: int) -> Windows:
    return Histories.from_dataset(rated([1, 2, 3, 4, 5]), CPU).windows(np.array([0]), n, times=True)


def test_a_hidden_event_shows_neither_item_nor_rating() -> None:
    module = inputs_of(InputConfig(ratings=True), is_cloze=True)
    windows = windows_of(3)
    assert windows.ratings is not None
    is_hidden = torch.tensor([[False, True, False]])
    other = windows._replace(
        items=torch.where(is_hidden, 3, windows.items), ratings=torch.where(is_hidden, 1.0, windows.ratings)
    )
    shown, changed = module(windows, is_hidden), module(other, is_hidden)
    torch.testing.assert_close(shown, changed)
    assert not torch.allclose(module(windows), module(other))


@pytest.mark.parametrize("request_time", [False, True])
def test_the_gap_before_a_hidden_event_is_shown_with_request_time_alone(request_time: bool) -> None:
    module = inputs_of(InputConfig(gaps=True, request_time=request_time), is_cloze=True)
    windows = windows_of(3)
    assert windows.gaps is not None
    is_hidden = torch.tensor([[False, True, False]])
    other = windows._replace(gaps=torch.where(is_hidden, 10**6, windows.gaps))
    assert torch.allclose(module(windows, is_hidden), module(other, is_hidden)) is not request_time


def test_a_model_that_reads_ratings_reads_a_history_without_any() -> None:
    module = inputs_of(InputConfig(ratings=True))
    windows = windows_of(3)._replace(ratings=None)
    torch.testing.assert_close(module(windows), module(windows._replace(ratings=torch.full((1, 3), torch.nan))))
