import pytest
import torch

from headwater.nn.encoder import Encoder


def encoder(*, is_causal: bool) -> Encoder:
    torch.manual_seed(0)
    made = Encoder(8, 2, 2, feed_forward=2, dropout=0.5, is_causal=is_causal).eval()
    for weight in made.parameters():  # large enough that every path shows
        torch.nn.init.normal_(weight, std=0.5)
    return made


def test_a_causal_output_depends_on_no_later_event() -> None:
    vectors = torch.randn(3, 6, 8)
    is_event = torch.ones(3, 6, dtype=torch.bool)
    made = encoder(is_causal=True)
    changed = vectors.clone()
    changed[:, 4:] = torch.randn(3, 2, 8)
    before, after = made(vectors, is_event), made(changed, is_event)
    torch.testing.assert_close(before[:, :4], after[:, :4])
    assert not torch.allclose(before[:, 4], after[:, 4])


def test_a_bidirectional_output_depends_on_every_event() -> None:
    vectors = torch.randn(1, 4, 8, requires_grad=True)
    encoder(is_causal=False)(vectors, torch.ones(1, 4, dtype=torch.bool))[0, 1].norm().backward()
    assert vectors.grad is not None
    assert (vectors.grad.abs().sum(-1) > 0).all()


@pytest.mark.parametrize("is_causal", [True, False])
def test_padding_behind_the_events_changes_nothing(is_causal: bool) -> None:
    made = encoder(is_causal=is_causal)
    vectors = torch.randn(2, 7, 8)
    is_event = torch.arange(7).expand(2, 7) < 5
    vectors[1, 5:] = 100.0
    padded = made(vectors, is_event)[:, :5]
    alone = made(vectors[:, :5], is_event[:, :5])
    torch.testing.assert_close(padded, alone, atol=1e-5, rtol=1e-5)


def test_attention_is_softmax_of_scaled_products_by_head() -> None:
    made = encoder(is_causal=True)
    block = made.blocks[0]
    vectors = torch.randn(1, 3, 8)
    query, key, value = block.attention_in(vectors).view(3, 3, 2, 4).permute(1, 2, 0, 3)
    weights = (query @ key.transpose(1, 2) / 2).masked_fill(~torch.ones(3, 3).tril().bool(), -torch.inf).softmax(-1)
    mixed = (weights @ value).transpose(0, 1).reshape(1, 3, 8)
    torch.testing.assert_close(block._attend(vectors, None), block.attention_out(mixed))


def test_dropout_acts_in_training_alone() -> None:
    made = encoder(is_causal=True)
    vectors, is_event = torch.randn(1, 4, 8), torch.ones(1, 4, dtype=torch.bool)
    assert torch.equal(made(vectors, is_event), made(vectors, is_event))
    made.train()
    assert not torch.equal(made(vectors, is_event), made(vectors, is_event))
