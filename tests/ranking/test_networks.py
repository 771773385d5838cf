"""The units, worked by hand from the papers' equations, and the layers that a plug will find."""

import numpy as np
import pytest
import torch

from headwater.errors import ConfigError
from headwater.ranking.batches import InputColumns
from headwater.ranking.can import CAN, CANConfig
from headwater.ranking.config import SearchConfig
from headwater.ranking.din import DIN, DINConfig
from headwater.ranking.features import RankingFeatures
from headwater.ranking.networks.can import CoActionUnit
from headwater.ranking.networks.din import ActivationUnit
from headwater.ranking.networks.layers import Dice, FieldTable, TaskTower
from made_up import SMALL, impressions


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def unit_by_hand() -> ActivationUnit:
    """W₁ = (1, 0), W₂ = (0, 1), W₃ = (1, 1), W₄ = (½, 0), b = −1; slope ⅕; w = 2, c = 0.1."""
    unit = ActivationUnit(2, 1, "prelu")
    with torch.no_grad():
        unit.weight.copy_(torch.tensor([[[1.0], [0.0]], [[0.0], [1.0]], [[1.0], [1.0]], [[0.5], [0.0]]]))
        unit.bias.fill_(-1.0)
        unit.activation.slope.fill_(0.2)
        unit.output.weight.fill_(2.0)
        unit.output.bias.fill_(0.1)
    return unit


def test_the_activation_unit_gives_the_weights_of_the_paper() -> None:
    query = torch.tensor([[1.0, 2.0]])
    events = torch.tensor([[[3.0, -1.0], [0.0, 1.0], [9.0, 0.0], [0.0, 0.0]]])
    is_event = torch.tensor([[True, True, True, False]])
    # k = (3, -1): W₁q = 1, W₂k = -1, W₃(q - k) = 1, W₄(q ∘ k) = 1.5, less 1: 1.5, and 2 · 1.5 + 0.1 = 3.1.
    # k = (0, 1):  1 + 1 + 2 + 0 - 1 = 3, so 6.1.
    # k = (9, 0):  1 + 0 - 6 + 4.5 - 1 = -1.5, a fifth of it -0.3, so -0.5.
    weights = unit_by_hand().weights(query, events, is_event)
    torch.testing.assert_close(weights[0, :3], torch.tensor([3.1, 6.1, -0.5]))
    # 3.1 (3, -1) + 6.1 (0, 1) - 0.5 (9, 0): weights are not made to sum to one, and padding adds nothing.
    torch.testing.assert_close(unit_by_hand()(query, events, is_event), torch.tensor([[4.8, 3.0]]))


def test_the_factorised_unit_is_the_concatenated_one() -> None:
    torch.manual_seed(0)
    unit = ActivationUnit(5, 7, "prelu")
    query, events = torch.randn(3, 5), torch.randn(3, 4, 5)
    q = query[:, None].expand_as(events)
    hidden = torch.cat([q, events, q - events, q * events], -1) @ unit.weight.reshape(20, 7) + unit.bias
    expected = unit.output(unit.activation(hidden))[..., 0]
    torch.testing.assert_close(unit.weights(query, events, torch.ones(3, 4, dtype=torch.bool)), expected)


def test_dice_moves_its_kink_to_the_mean() -> None:
    dice = Dice(1).eval()
    with torch.no_grad():
        dice.mean.fill_(1.0)
        dice.variance.fill_(4.0)
        dice.slope.fill_(0.5)
    # s = 3 is one deviation above: p = σ(1) = .731059, f = 3 (p + (1 - p) / 2); s = -1 is one below.
    found = dice(torch.tensor([[3.0], [-1.0]]))
    torch.testing.assert_close(found, torch.tensor([[2.596588], [-0.634471]]))


def test_dice_learns_mean_and_variance_from_real_events_alone() -> None:
    dice = Dice(1, momentum=0.5).train()
    dice(torch.tensor([[[1.0], [3.0], [100.0]]]), torch.tensor([[True, True, False]]))
    assert dice.mean.tolist() == [1.0]
    assert dice.variance.tolist() == [1.0]


def test_the_co_action_unit_passes_partners_through_the_items_own_network() -> None:
    unit = CoActionUnit((2, 1, 1), orders=2)
    assert (unit.n_parameters, unit.width) == (5, 2)
    parameters = torch.tensor([[1.0, -1.0, 0.5, 2.0, 0.25]])  # W₁ = (1, -1), b₁ = ½; W₂ = 2, b₂ = ¼
    partners = torch.tensor([[[1.0, 0.5], [0.0, 1.0], [9.0, 9.0]]])
    found = unit(parameters, partners, torch.tensor([[True, True, False]]))
    # Order 1: tanh(1) + tanh(-½) = .761594 - .462117, twice it, and ¼ for each of two partners.
    # Order 2: the squares (1, ¼) and (0, 1): tanh(1.25) + tanh(-½) = .848284 - .462117.
    torch.testing.assert_close(found, torch.tensor([[1.098954, 1.272334]]))


def test_a_logit_is_the_difference_of_two_outputs_and_begins_where_it_is_told() -> None:
    tower = TaskTower(3, (4,), "prelu")
    with torch.no_grad():
        tower.output.weight.zero_()
    tower.begin_at(-2.5)
    assert tower(torch.randn(6, 3)).tolist() == [-2.5] * 6


# -- names, and the place of a plug


def network(ranker: DIN | CAN):
    torch.manual_seed(0)
    return ranker.new_network(RankingFeatures.of(impressions(), ranker.config)).eval()


def inputs(ranker: DIN | CAN):
    data = impressions()
    columns = InputColumns(data, RankingFeatures.of(data, ranker.config), ranker.config, torch.device("cpu"))
    return columns.inputs(torch.arange(3000, 3032).numpy())


@pytest.mark.parametrize("ranker", [DIN(DINConfig(**SMALL)), CAN(CANConfig(**SMALL))], ids=["din", "can"])
def test_hidden_layers_have_stable_names_in_order(ranker: DIN | CAN) -> None:
    net = network(ranker)
    expected = [f"tasks.{task}.hidden_{m}" for task in ("click", "cart", "conversion") for m in (1, 2, 3)]
    assert list(net.hidden_layers()) == expected
    assert net.hidden_layers("cart") == tuple(expected[3:6])
    widths = [net.get_submodule(name).linear.out_features for name in net.hidden_layers("click")]
    assert widths == [12, 8, 6]


@pytest.mark.parametrize("ranker", [DIN(DINConfig(**SMALL)), CAN(CANConfig(**SMALL))], ids=["din", "can"])
def test_what_a_hook_adds_after_a_hidden_layer_reaches_that_task_alone(ranker: DIN | CAN) -> None:
    net, given = network(ranker), inputs(ranker)
    before = net(given)
    seen = []

    def add(_module, _given, output):
        seen.append(output)
        return output + torch.ones(8)

    handle = net.get_submodule("tasks.click.hidden_2").register_forward_hook(add)
    after = net(given)
    assert [output.shape for output in seen] == [(32, 8)]
    assert not torch.equal(before["click"], after["click"])
    assert torch.equal(before["cart"], after["cart"])
    # By hand: the layers behind it, of its output (after the activation) and one.
    tower = net.tasks["click"]
    outputs = tower.output(tower.hidden_3(seen[0] + 1))
    assert torch.equal(after["click"], outputs[:, 1] - outputs[:, 0])
    handle.remove()
    assert torch.equal(before["click"], net(given)["click"])


def test_arrays_are_refused_for_a_network_with_a_hook() -> None:
    ranker = DIN(DINConfig(**SMALL)).fit(impressions(2))
    ranker.network.get_submodule("tasks.click.hidden_1").register_forward_hook(lambda *_: None)
    ranker._scorer = None
    with pytest.raises(ConfigError, match=r"tasks\.click\.hidden_1 has a forward hook"):
        _ = ranker.scorer


def test_unknown_items_users_and_padding_add_nothing_and_learn_nothing() -> None:
    ranker = CAN(CANConfig(**SMALL, user_dimension=4, user_attributes=("age",))).fit(impressions(3))
    net = ranker.network
    assert net.items.own is not None
    assert net.users is not None
    for table in (net.items.table(), net.users.table(), net.coaction_items.weight, net.coaction_events.weight):
        assert not table[0].any()
        assert table[1:].any(1).all()


def test_search_reads_the_latest_events_of_the_targets_category_alone() -> None:
    ranker = DIN(DINConfig(**SMALL, search=SearchConfig(length=30, kept=2)))
    data, given = impressions(), inputs(ranker)
    start, stop = data.history_slices(30)
    category = data.item_attributes.column("category").to_pylist()
    assert given.searched is not None
    n_found = 0
    for at, row in enumerate(range(3000, 3032)):
        target = int(data.item_codes[row])
        events = data.history_items[start[row] : stop[row]].tolist()
        same = [] if target < 0 else [event + 1 for event in reversed(events) if category[event] == category[target]]
        assert given.searched[at].tolist() == [*same, 0, 0][:2]
        n_found += len(same)
    assert n_found > 20


def test_search_needs_its_attribute_among_those_of_items() -> None:
    with pytest.raises(ValueError, match=r"search\.attribute 'brand' must be one of item_attributes"):
        DINConfig(**SMALL, search=SearchConfig(attribute="brand"))


@pytest.mark.parametrize("name", ["type", "values", "training"])
def test_an_attribute_may_be_called_what_a_module_calls_a_method(name: str) -> None:
    codes = np.array([[0], [1], [2]], np.int32)
    torch.manual_seed(0)
    called = FieldTable(2, 3, {name: codes, "category": codes}, 4)
    torch.manual_seed(0)
    plain = FieldTable(2, 3, {"shop": codes, "category": codes}, 4)
    assert torch.equal(called.table(), plain.table())
    assert "values.category" in called.state_dict()
