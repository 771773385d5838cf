import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from headwater.nn.inputs import Catalogue, ItemEmbedding
from headwater.nn.losses import full_softmax
from headwater.nn.objective import Objective, ObjectiveConfig

N_ITEMS = 30
COUNTS = np.arange(N_ITEMS)
LOSSES = ["softmax", "sampled-softmax", "bce", "gbce"]
NEGATIVES = ["uniform", "popularity", "in-batch", "hard"]
PAIRS = [("softmax", "uniform")] + [(loss, negatives) for loss in LOSSES[1:] for negatives in NEGATIVES]


def loss_of(
    config: ObjectiveConfig, items: ItemEmbedding, hidden: Tensor, positives: Tensor, *, cut: slice = slice(None)
) -> Tensor:
    return Objective(config, COUNTS, torch.device("cpu")).loss(
        hidden[cut],
        positives[cut],
        items,
        generator=torch.Generator().manual_seed(5),
        batch_targets=positives,
        first=cut.start or 0,
    )


@pytest.fixture
def example() -> tuple[ItemEmbedding, Tensor, Tensor]:
    torch.manual_seed(0)
    items = ItemEmbedding(Catalogue(N_ITEMS, {}, np.zeros(0, np.float32), np.zeros(0, np.int64)), 4)
    torch.nn.init.normal_(items.own)
    return items, torch.randn(9, 4), torch.randint(N_ITEMS, (9,))


@pytest.mark.parametrize(("loss", "negatives"), PAIRS)
@pytest.mark.parametrize("shared", [True, False])
def test_two_processes_losses_add_up_to_that_of_one(example, loss, negatives, shared: bool) -> None:
    config = ObjectiveConfig(loss=loss, negatives=negatives, n_negatives=6, shared=shared)
    whole = loss_of(config, *example)
    parts = loss_of(config, *example, cut=slice(0, 4)) + loss_of(config, *example, cut=slice(4, 9))
    assert whole.isfinite()
    torch.testing.assert_close(whole, parts)


@pytest.mark.parametrize(("loss", "negatives"), PAIRS)
def test_descent_on_any_objective_raises_the_positives_above_the_rest(example, loss, negatives) -> None:
    items, hidden, positives = example
    hidden = hidden.requires_grad_()
    optimizer = torch.optim.Adam([hidden, *items.parameters()], lr=0.05)
    # All items are equally popular and in the batch, so that every kind of negative meets all of them.
    config = ObjectiveConfig(loss=loss, negatives=negatives, n_negatives=6)
    objective = Objective(config, np.ones(N_ITEMS), torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    for _ in range(150):
        optimizer.zero_grad()
        batch_targets = torch.arange(N_ITEMS)
        objective.loss(hidden, positives, items, generator=generator, batch_targets=batch_targets).backward()
        optimizer.step()
    ranks = (hidden @ items.table().T).argsort(1, descending=True).argsort(1)
    assert ranks.gather(1, positives[:, None]).double().mean() < 1.0


def test_full_softmax_is_what_softmax_means(example) -> None:
    items, hidden, positives = example
    torch.testing.assert_close(
        loss_of(ObjectiveConfig(), items, hidden, positives), full_softmax(hidden, items.table(), positives)
    )


def test_a_catalogue_of_one_item_has_a_loss_for_every_objective() -> None:
    items = ItemEmbedding(Catalogue(1, {}, np.zeros(0, np.float32), np.zeros(0, np.int64)), 4)
    for loss, negatives in PAIRS:
        config = ObjectiveConfig(loss=loss, negatives=negatives, n_negatives=3)  # type: ignore[arg-type]
        objective = Objective(config, np.ones(1), torch.device("cpu"))
        positives = torch.zeros(5, dtype=torch.int64)
        hidden = torch.randn(5, 4)
        assert objective.loss(hidden, positives, items, generator=torch.Generator(), batch_targets=positives).isfinite()


@pytest.mark.parametrize(("loss", "negatives"), PAIRS)
@pytest.mark.parametrize("shared", [True, False])
def test_of_several_vectors_the_best_one_scores_an_item(example, loss, negatives, shared: bool) -> None:
    items, hidden, positives = example
    config = ObjectiveConfig(loss=loss, negatives=negatives, n_negatives=6, shared=shared)
    # With every item's own coordinate, a score is any number: here of the first vector, or of the second.
    with torch.no_grad():
        scores = hidden @ items.table().T
        above = torch.rand(scores.shape, generator=torch.Generator().manual_seed(1)) < 0.5
    items.own = torch.nn.Parameter(torch.eye(N_ITEMS))
    two = torch.stack([torch.where(above, scores, scores - 1), torch.where(above, scores - 2, scores)], 1)
    torch.testing.assert_close(
        loss_of(config, items, two, positives), loss_of(config, items, scores, positives), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("loss", ["softmax", "unseen-softmax"])
def test_what_draws_nothing_has_no_draws_to_leave_out(loss: str) -> None:
    with pytest.raises(ValidationError, match="unseen-softmax"):
        ObjectiveConfig(loss=loss, excludes_seen=True)
    assert ObjectiveConfig(loss="bce", excludes_seen=True).leaves_out_seen
