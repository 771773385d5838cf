import torch

from headwater.nn.towers import Tower, mean_of_events


def test_the_mean_is_over_a_rows_events_and_zero_where_it_has_none() -> None:
    vectors = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [90.0, 90.0]], [[7.0, 7.0], [8.0, 8.0], [9.0, 9.0]]])
    is_event = torch.tensor([[True, True, False], [False, False, False]])
    assert mean_of_events(vectors, is_event).tolist() == [[2.0, 4.0], [0.0, 0.0]]


def test_a_tower_has_an_activation_between_layers_and_none_behind_the_last() -> None:
    tower = Tower(1, (1,), 1, leak=0.5)
    with torch.no_grad():
        for weight, value in zip(tower.parameters(), (2.0, -1.0, -3.0, 0.25), strict=True):
            weight.fill_(value)
    # -3 · leaky(2 x - 1) + 0.25 at x = 1 and x = -1.
    assert tower(torch.tensor([[1.0], [-1.0]])).flatten().tolist() == [-3 * 1 + 0.25, -3 * (0.5 * -3) + 0.25]


def test_a_tower_without_hidden_layers_is_linear() -> None:
    tower = Tower(3, (), 2).double()
    one, other = torch.randn(2, 3, dtype=torch.float64)
    torch.testing.assert_close(tower(one + other), tower(one) + tower(other))
