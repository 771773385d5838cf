"""BERT4Rec and S3-Rec before a ranker: what pre-training asks, and that fine-tuning begins where it ended."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from headwater.errors import ConfigError
from headwater.knowledge.baselines.fine_tuned import FineTuned, HistoryReader, clicked, windows_of
from headwater.knowledge.baselines.s3rec import S3Rec, S3RecConfig, segment_of
from headwater.nn.batches import ClozeBatches
from headwater.nn.catalogue import Catalogue, InputConfig
from headwater.nn.objective import Objective
from headwater.nn.sequences import Histories, Windows
from headwater.nn.settings import TrainingConfig
from headwater.ranking.batches import InputColumns
from headwater.ranking.can import CAN, CANConfig
from headwater.ranking.din import DIN, DINConfig
from headwater.ranking.features import RankingFeatures
from headwater.retrieval.sequence.bert4rec import BERT4Rec, BERT4RecConfig
from made_up import SMALL, impressions

CONFIG = DINConfig(**SMALL)
ENCODER: dict[str, Any] = {
    "length": 11,
    "dimension": 16,
    "layers": 1,
    "heads": 2,
    "dropout": 0.1,
    "earlier_windows": 1.0,
    "training": TrainingConfig(epochs=100, batch_size=8, device="cpu", learning_rate=1e-2, precision="fp32"),
}
PREDICTED = InputConfig(attributes=("category", "shop"))
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def encoders() -> dict[str, BERT4Rec]:
    torch.set_num_threads(1)
    clicks = clicked(impressions(4))
    return {
        "bert4rec": BERT4Rec(BERT4RecConfig(**ENCODER)).fit(clicks),
        "s3rec": S3Rec(S3RecConfig(**ENCODER, inputs=PREDICTED)).fit(clicks),
    }


# -- what is read


def test_an_encoder_is_pre_trained_on_the_clicks_of_the_super_domain_and_on_nothing_else() -> None:
    data = impressions(4)
    part = data.select(data.days < 2)
    found = clicked(part)
    is_kept = (part.labels["click"] == 1) & (part.user_codes >= 0) & (part.item_codes >= 0)
    assert len(found) == is_kept.sum()
    for user in (0, 7):
        theirs = is_kept & (part.user_codes == user)
        assert found.event_items[found.offsets[user] : found.offsets[user + 1]].tolist() == (
            part.item_codes[theirs].tolist()
        )


# -- S3-Rec


def test_pre_training_loses_less_and_less(encoders: dict[str, BERT4Rec]) -> None:
    for encoder in encoders.values():
        assert encoder.report is not None
        losses = [loss for _, loss, _ in encoder.report.curve]
        assert losses[-1] < 0.9 * losses[0], encoder.name


def test_items_tell_their_attributes_after_pre_training_and_not_before(encoders: dict[str, BERT4Rec]) -> None:
    trained: Any = encoders["s3rec"].network
    catalogue = Catalogue.of(clicked(impressions(4)), PREDICTED)
    untrained: Any = S3Rec(S3RecConfig(**ENCODER, inputs=PREDICTED))._new_network(catalogue)
    items = torch.arange(40)
    areas = []
    for network in (untrained, trained):
        logits = network.attribute_of_item(network.inputs.items(items)) @ network.attributes.T
        areas.append(roc_auc_score(network.labels(items).numpy().ravel(), logits.detach().numpy().ravel()))
    assert areas[0] < 0.65 < 0.95 < areas[1]


def test_attributes_are_labels_of_each_value_and_are_never_read() -> None:
    catalogue = Catalogue.of(clicked(impressions(2)), PREDICTED)
    network = S3Rec(S3RecConfig(**ENCODER, inputs=PREDICTED))._new_network(catalogue)
    n_categories = int(catalogue.attributes["category"].max())
    labels = network.labels(torch.arange(40))
    assert labels.shape == (40, n_categories + int(catalogue.attributes["shop"].max()))
    for item in range(40):
        expected = {int(catalogue.attributes["category"][item, 0]) - 1}
        if item % 9:  # every ninth has no shop
            expected.add(n_categories + int(catalogue.attributes["shop"][item, 0]) - 1)
        assert set(labels[item].nonzero()[:, 0].tolist()) == expected
    assert not network.inputs.items.names


@given(st.lists(st.integers(1, 12), min_size=1, max_size=20), st.integers(0, 2**31))
@settings(max_examples=50, deadline=None)
def test_a_segment_is_a_run_of_at_most_half_of_the_events_but_one_at_least(counts: list[int], seed: int) -> None:
    widest = max(counts)
    events = torch.arange(widest) < torch.tensor(counts)[:, None]
    windows = Windows(events.long(), torch.tensor(counts), events, events.long(), None, None, None, None)
    start, stop = segment_of(windows, torch.Generator().manual_seed(seed))
    assert (start >= 0).all()
    assert (stop <= windows.counts).all()
    assert (stop > start).all()
    assert (stop - start <= torch.clamp(windows.counts // 2, min=1)).all()


@pytest.mark.parametrize("objective", ["associated_attributes", "masked_items", "masked_attributes", "segments"])
def test_each_objective_alone_teaches_its_own_matrix(objective: str) -> None:
    weights = dict.fromkeys(("associated_attributes", "masked_items", "masked_attributes", "segments"), 0.0)
    config = S3RecConfig(**ENCODER, inputs=PREDICTED, **{**weights, objective: 1.0})
    clicks = clicked(impressions(2))
    network = S3Rec(config)._new_network(Catalogue.of(clicks, PREDICTED))
    histories = Histories.from_dataset(clicks, CPU)
    batch = ClozeBatches(histories, 11, 8, hidden=0.2, last_only=0.1).batch(0, 0)
    network.loss(batch, Objective(config.objective, clicks.item_counts, CPU)).backward()
    own = {
        "associated_attributes": network.attribute_of_item,
        "masked_items": network.item_of_context,
        "masked_attributes": network.attribute_of_context,
        "segments": network.segment_of_context,
    }
    taught = {name for name, layer in own.items() if layer.weight.grad is not None and layer.weight.grad.any()}
    assert taught == {objective}


def test_two_losses_of_one_batch_are_the_same_and_segments_differ_by_step(encoders: dict[str, BERT4Rec]) -> None:
    network: Any = encoders["s3rec"].network
    batches = ClozeBatches(Histories.from_dataset(clicked(impressions(4)), CPU), 11, 8, hidden=0.2, last_only=0.1)
    losses = []
    with torch.inference_mode():
        for step in (0, 0, 1):
            batch = batches.batch(0, step)
            losses.append(network.segments_loss(batch.windows, batch.generator).item())
    assert losses[0] == losses[1] != losses[2]


# -- fine-tuning


def inputs_of(data: Any) -> Any:
    columns = InputColumns(data, RankingFeatures.of(data, CONFIG), CONFIG, CPU)
    return columns.inputs(np.arange(len(data)))


@pytest.mark.parametrize("name", ["bert4rec", "s3rec"])
def test_a_ranker_reads_of_a_history_what_the_channel_would_retrieve_by(
    name: str, encoders: dict[str, BERT4Rec]
) -> None:
    encoder, clicks = encoders[name], clicked(impressions(4))
    users = np.arange(5, dtype=np.int32)
    _, expected = encoder.encode(clicks.queries(users))
    history = torch.zeros(5, 10, dtype=torch.int64)
    for user in range(5):
        latest = clicks.event_items[clicks.offsets[user] : clicks.offsets[user + 1]][-10:]
        history[user, : len(latest)] = torch.from_numpy(latest + 1)
    network: Any = encoder.network
    with torch.inference_mode():
        assert torch.allclose(network.state(*windows_of(history, 11)), expected, atol=1e-6)


def test_an_unknown_item_in_a_history_is_not_attended_to(encoders: dict[str, BERT4Rec]) -> None:
    network: Any = encoders["bert4rec"].network
    windows, is_hidden = windows_of(torch.tensor([[3, 0, 5, 0], [0, 0, 0, 0]]), 11)
    assert windows.is_event.tolist() == [[True, False, True, True, False], [True, False, False, False, False]]
    assert is_hidden.nonzero()[:, 1].tolist() == [3, 0]
    assert windows.positions[0].tolist() == [7, 8, 9, 10, 0]
    with torch.inference_mode():
        before = network.state(windows, is_hidden)
        other = windows._replace(items=windows.items.index_put((torch.tensor(0), torch.tensor(1)), torch.tensor(17)))
        assert torch.equal(network.state(other, is_hidden), before)


def test_impressions_with_one_history_are_read_once_and_each_gets_its_own(encoders: dict[str, BERT4Rec]) -> None:
    network: Any = encoders["bert4rec"].network
    reader = HistoryReader(network, 11).eval()
    inputs = inputs_of(impressions(1))
    inputs = inputs._replace(history=inputs.history[[5, 300, 5, 5]], items=inputs.items[[5, 300, 5, 9]])
    calls = []
    reader.encoder.register_forward_hook(lambda _, args, __: calls.append(len(args[0].counts)))
    with torch.inference_mode():
        state, target, product = reader(inputs)
        assert calls == [2 if not torch.equal(inputs.history[0], inputs.history[1]) else 1]
        assert torch.equal(state[0], state[2])
        assert torch.equal(state[0], state[3])
        assert torch.allclose(state[:2], network.state(*windows_of(inputs.history[:2], 11)), atol=1e-6)
    assert torch.equal(target[0], target[2])
    assert torch.equal(product, state * target)


@pytest.mark.parametrize("name", ["bert4rec", "s3rec"])
@pytest.mark.parametrize("base", [DIN(CONFIG), CAN(CANConfig(**SMALL))], ids=["din", "can"])
def test_fine_tuning_begins_at_the_pre_trained_weights_and_leaves_them_to_others(
    name: str, base: Any, encoders: dict[str, BERT4Rec]
) -> None:
    data, encoder = impressions(4), encoders[name]
    before = {key: value.clone() for key, value in encoder.network.state_dict().items()}
    model = FineTuned(base, encoder)
    new: Any = model.new_network(RankingFeatures.of(data, base.config))
    assert {key: value.tolist() for key, value in new.reader.encoder.state_dict().items()} == {
        key: value.tolist() for key, value in before.items()
    }
    tuned: Any = model.fit(data.select(data.days >= 3)).network
    assert not torch.equal(tuned.reader.encoder.inputs.items.own, before["inputs.items.own"])
    assert all(torch.equal(value, before[key]) for key, value in encoder.network.state_dict().items())


def test_a_small_sub_domain_is_ordered_better_by_what_was_pre_trained(encoders: dict[str, BERT4Rec]) -> None:
    data = impressions(8, tasks=("click",))
    few, test = data.select((data.days == 4) & (np.arange(len(data)) % 4 == 0)), data.select(data.days > 4)
    alone = DIN(CONFIG).fit(few).predict(test)["click"]
    for encoder in encoders.values():
        tuned = FineTuned(DIN(CONFIG), encoder).fit(few).predict(test)["click"]
        assert roc_auc_score(test.labels["click"], tuned) > roc_auc_score(test.labels["click"], alone) + 0.05


def test_an_encoder_that_reads_too_little_or_other_inputs_is_refused(
    encoders: dict[str, BERT4Rec], tmp_path: Any
) -> None:
    with pytest.raises(ConfigError, match="needs one more than the 11 of din"):
        FineTuned(DIN(CONFIG.model_copy(update={"length": 11})), encoders["bert4rec"])
    timed = BERT4Rec(BERT4RecConfig(**ENCODER, inputs=InputConfig(gaps=True)))
    with pytest.raises(ConfigError, match="reads times or ratings"):
        FineTuned(DIN(CONFIG), timed)
    model = FineTuned(DIN(CONFIG), encoders["bert4rec"]).fit(impressions(1))
    with pytest.raises(ConfigError, match="ReadingDIN is not held by arrays"):
        model.save(tmp_path / "model")
