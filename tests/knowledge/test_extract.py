"""What extraction learns by, what it says of a pair, and what it says of somebody unknown."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from knowing import SMALL
from sklearn.metrics import roc_auc_score
from torch.nn import functional

from headwater.data import Impressions, Vocabulary
from headwater.errors import ConfigError, LineageError
from headwater.knowledge.config import DecompositionConfig, DegenerationConfig, ExtractionConfig
from headwater.knowledge.decompose import Decomposition
from headwater.knowledge.extract import Degeneration, Extraction, Hybrid
from headwater.knowledge.pairs import PairedBatches
from headwater.ranking.batches import InputColumns
from headwater.ranking.features import RankingFeatures
from made_up import impressions

CLASSES = {
    Extraction: ExtractionConfig(**SMALL),
    Decomposition: DecompositionConfig(**{**SMALL, "hidden": (12, 8)}),
    Degeneration: DegenerationConfig(**SMALL),
}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def batches(data: Impressions, *, size: int = 64, together: int = 4, forgotten: float = 0.0) -> PairedBatches:
    config = CLASSES[Extraction]
    place = torch.device("cpu")
    columns = InputColumns(data, RankingFeatures.of(data, config), config, place)
    return PairedBatches(data, columns, size, seed=3, device=place, together=together, forgotten=forgotten)


def test_each_impression_is_learned_from_once_in_runs_of_one_user() -> None:
    data = impressions(3)
    made = batches(data)
    for epoch in range(3):
        rows = np.concatenate([made.rows(epoch, step) for step in range(made.steps_of(epoch))])
        assert sorted(rows) == np.flatnonzero(data.days == epoch).tolist()
        users = data.user_codes[rows]
        alike = (users[1:] == users[:-1]).mean()
        assert 0.5 < alike < 0.9, "three of four neighbours share their user, for runs are four long"


def test_pairs_are_of_one_user_and_day_with_unlike_labels_that_the_task_is_asked_of() -> None:
    data = impressions(3)
    made = batches(data)
    rows, pairs = made.rows(1, 2), made.batch(1, 2).pairs
    for task in data.tasks:
        better, worse = rows[pairs[task].better.numpy()], rows[pairs[task].worse.numpy()]
        assert len(better) == pairs[task].n_pairs
        assert (data.labels[task][better] == 1).all()
        assert (data.labels[task][worse] == 0).all()
        assert (data.user_codes[better] == data.user_codes[worse]).all()
        assert (data.user_codes[better] >= 0).all(), "strangers are not one user"
        assert (data.item_codes[better] != data.item_codes[worse]).all(), "labels of one item contradict each other"
        assert (data.days[better] == data.days[worse]).all()
        if task != "click":
            assert (data.labels["click"][worse] == 1).all()
    assert pairs["click"].n_pairs > 20


def test_the_loss_is_the_pointwise_mean_and_a_share_of_the_pairwise_mean() -> None:
    data, config = impressions(2), CLASSES[Extraction]
    network = Extraction(config).new_network(RankingFeatures.of(data, config)).eval()
    batch = batches(data, size=600).batch(1, 0)
    logits = network(batch.whole.inputs)
    labels, clicked = batch.whole.labels, batch.whole.labels["click"] == 1
    expected = torch.zeros(())
    for task, asked in (("click", clicked | ~clicked), ("cart", clicked), ("conversion", clicked)):
        expected += functional.binary_cross_entropy_with_logits(logits[task][asked], labels[task][asked])
        pairs = [
            torch.log1p(torch.exp(-(logits[task][i] - logits[task][j])))
            for i, j in zip(batch.pairs[task].better, batch.pairs[task].worse, strict=True)
        ]
        expected += 0.25 * torch.stack(pairs).mean()
    torch.testing.assert_close(Hybrid(network, config)(batch), expected)


def test_processes_share_a_batch_and_their_mean_loss_is_the_batchs() -> None:
    data, config = impressions(2), CLASSES[Extraction].model_copy(update={"together": 1})
    network = Extraction(config).new_network(RankingFeatures.of(data, config)).eval()
    made = batches(data, together=1)  # no pair is cut between two processes
    whole = Hybrid(network, config)(made.batch(1, 2))
    parts = [Hybrid(network, config)(made.batch(1, 2, process=at, n_processes=3)) for at in range(3)]
    torch.testing.assert_close(torch.stack(parts).mean(), whole)


def test_some_users_and_items_are_hidden_so_that_unknown_ones_are_learned() -> None:
    data = impressions(3)
    plain, hidden = batches(data, size=600).batch(2, 0), batches(data, size=600, forgotten=0.3).batch(2, 0)
    no_user = (hidden.whole.inputs.users == 0) & (plain.whole.inputs.users != 0)
    no_item = (hidden.whole.inputs.items == 0) & (plain.whole.inputs.items != 0)
    assert 0.2 < no_user.float().mean() < 0.4
    assert 0.2 < no_item.float().mean() < 0.4
    assert (hidden.whole.inputs.history[no_user] == 0).all(), "a user's history is hidden with the user"
    assert torch.equal(hidden.whole.labels["click"], plain.whole.labels["click"])


@pytest.mark.parametrize("kind", CLASSES)
def test_each_kind_predicts_the_next_day(kind: type[Extraction]) -> None:
    data = impressions(6)
    model = kind(CLASSES[kind]).fit(data.select(data.days < 5))
    today = data.select(data.days == 5)
    assert roc_auc_score(today.labels["click"], model.predict(today)["click"]) > 0.7


@pytest.mark.parametrize("kind", CLASSES)
def test_knowledge_is_as_wide_as_its_parts_and_reads_no_label(kind: type[Extraction], tmp_path: Path) -> None:
    data = impressions(3)
    model = kind(CLASSES[kind]).fit(data)
    found = model.knowledge(data)
    assert found.shape == (len(data), model.width)
    assert np.isfinite(found).all()
    swapped = replace(data, labels={task: 1 - data.labels["click"] for task in ("click",)})
    assert np.array_equal(model.knowledge(swapped), found)
    model.save(tmp_path / "kept")
    again = kind.load(tmp_path / "kept", data.items)
    assert np.array_equal(again.knowledge(data), found)
    assert again.parts == model.parts


def test_knowledge_is_made_of_embeddings_and_of_each_towers_last_hidden_layer() -> None:
    data = impressions(3)
    model = Extraction(CLASSES[Extraction]).fit(data)
    assert model.parts == {"user": 6, "item": 12, "click": 6, "conversion": 6, "cart": 6}
    seen: dict[str, torch.Tensor] = {}
    for task in model.tasks:
        layer = model.network.get_submodule(model.network.hidden_layers(task)[-1])
        layer.register_forward_hook(lambda _, __, out, task=task: seen.__setitem__(task, out))
    some = data.select(np.arange(len(data)) < 50)
    model.predict(some)
    found = np.split(model.knowledge(some), np.cumsum(list(model.parts.values()))[:-1], axis=1)
    rows = torch.from_numpy(model.features.user_rows(some.user_codes))
    assert np.array_equal(found[0], model.network.users.own[rows].detach().numpy())
    for at, task in enumerate(("click", "conversion", "cart"), 2):
        assert np.array_equal(found[at], seen[task].detach().numpy())


def test_what_is_known_of_a_pair_of_two_towers_is_the_product_of_what_is_known_of_each() -> None:
    data = impressions(3)
    model = Decomposition(CLASSES[Decomposition]).fit(data)
    of_user, of_item, product = np.split(model.knowledge(data), 3, axis=1)
    assert np.array_equal(of_user * of_item, product)
    same_item = data.item_codes == data.item_codes[0]
    assert (of_item[same_item] == of_item[0]).all(), "an item is the same for everybody"


def test_degenerated_knowledge_is_the_same_for_every_item_of_a_category() -> None:
    data = impressions(3)
    model = Degeneration(CLASSES[Degeneration]).fit(data)
    known = data.select(data.item_codes >= 0)
    moved = replace(known, item_codes=((known.item_codes + 4) % 40).astype(np.int32))  # of four categories in turn
    assert np.array_equal(model.knowledge(known), model.knowledge(moved))
    other = replace(known, item_codes=((known.item_codes + 1) % 40).astype(np.int32))
    assert not np.array_equal(model.knowledge(known), model.knowledge(other))


def test_an_unknown_user_has_no_embedding_and_is_told_by_what_was_learned() -> None:
    data = impressions(3)
    model = Extraction(CLASSES[Extraction]).fit(data)
    stranger = model.knowledge(data.select(data.user_codes == -1))
    assert (stranger[:, :6] == 0).all()
    assert np.abs(stranger[:, 18:]).min(0).max() > 0


def test_training_goes_on_day_by_day_to_the_same_bits() -> None:
    data = impressions(3)
    whole = Extraction(CLASSES[Extraction]).fit(data)
    parts = Extraction(CLASSES[Extraction]).fit(data.select(data.days < 2)).fit(data.select(data.days == 2))
    assert np.array_equal(whole.knowledge(data), parts.knowledge(data))


def test_other_vocabularies_and_attributes_that_are_not_there_are_refused() -> None:
    data = impressions(2)
    model = Extraction(CLASSES[Extraction]).fit(data)
    other = replace(data, items=Vocabulary([f"thing {code}" for code in range(len(data.items))]))
    with pytest.raises(LineageError, match="extraction"):
        model.knowledge(other)
    with pytest.raises(ConfigError, match="brand"):
        Extraction(ExtractionConfig(**{**SMALL, "item_attributes": ("brand",)})).fit(data)
