"""What makes the pass fast gives what the plain way gives: products for attention, weights laid
out, states let go.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional
from transformers.activations import GELUActivation
from transformers.pytorch_utils import Conv1D

from featcache.backbone import attention
from featcache.backbone.attention import PackLayout, Rules, laid_out
from featcache.backbone.batching import tokenize
from featcache.backbone.blocks import find_blocks, run
from featcache.backbone.budget import Budget
from featcache.backbone.forward import pooled_states
from featcache.backbone.gelu import fuse
from featcache.backbone.linear import LaidOut, lay_out
from featcache.backbone.pooling import pool_packed
from tests.backbone.test_families import FAMILIES, build
from tests.backbone.test_pooling import TEXTS, all_states, load, one_by_one

NO_HURRY = settings(deadline=None)  # the first call sets up what later ones use
PLAIN = Rules(causal=False, window=None, scaling=None, softcap=None, sinks=None, bias=None)


@NO_HURRY
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=12),
    causal=st.booleans(),
    window=st.sampled_from([None, 3, 16]),
    shared=st.sampled_from([1, 2]),
    spare=st.integers(0, 3),
)
def test_attention_by_products_is_torch_s_own_text_by_text(
    lengths: list[int], causal: bool, window: int | None, shared: int, spare: int
) -> None:
    generator = torch.Generator().manual_seed(len(lengths))
    n_tokens = sum(lengths) + spare
    q, k, v = (
        torch.randn(heads, n_tokens, 8, generator=generator)
        for heads in (4, 4 // shared, 4 // shared)
    )
    rules = replace(PLAIN, causal=causal, window=window)
    layout = PackLayout(tuple(lengths))
    with laid_out(layout):
        by_torch = attention._attention(q, k, v, rules)
    start = 0
    for group in layout.groups:
        by_hand = attention._by_hand(q, k, v, group, rules).transpose(1, 2).reshape(-1, 4, 8)
        end = start + len(by_hand)
        torch.testing.assert_close(by_hand, by_torch[start:end], atol=1e-5, rtol=1e-4)
        start = end
    assert not by_torch[start:].any(), "tokens that belong to no text get zeros"
    start = 0
    for length in lengths:  # and both are the textbook's
        mine = slice(start, start + length)
        keys, values = (one[:, mine].repeat_interleave(shared, dim=0) for one in (k, v))
        scores = q[:, mine] @ keys.transpose(1, 2) / 8**0.5
        back = torch.arange(length)[:, None] - torch.arange(length)[None]
        seen = (back >= 0) | torch.tensor(not causal)
        if window is not None:
            seen = seen & (back.abs() < window)
        weights = functional.softmax(scores.masked_fill(~seen, float("-inf")), dim=-1)
        torch.testing.assert_close(
            by_torch[mine], (weights @ values).transpose(0, 1), atol=1e-5, rtol=1e-4
        )
        start += length


def test_texts_are_attended_to_in_portions_that_cover_them_all() -> None:
    group = attention.Group(start=7, count=1000, length=60)
    portions = list(attention._portions(group, torch.empty(12, 1, 32)))
    assert len(portions) > 1
    assert sum(one.count for one in portions) == 1000
    places = [
        place for one in portions for place in range(one.start, one.start + one.count * 60, 60)
    ]
    assert places == list(range(7, 7 + 60_000, 60))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_that_is_laid_out_gives_what_it_gave(dtype: torch.dtype, bias: bool) -> None:
    torch.manual_seed(0)
    shared = torch.nn.Linear(24, 37, bias=bias)
    turned: Any = Conv1D(5, 37)  # type: ignore[no-untyped-call]  # the library leaves it untyped
    model = torch.nn.Sequential(shared, torch.nn.Linear(37, 24, bias=bias), shared, turned)
    model = model.to(dtype).eval().requires_grad_(requires_grad=False)
    torch.nn.init.normal_(turned.bias)
    states = torch.randn(3, 11, 24, dtype=dtype)
    expected, weight = model(states), shared.weight.clone()
    assert lay_out(model) == 3
    assert all(isinstance(layer, LaidOut) for layer in model)
    assert model[0] is model[2], "what was one layer is one layer"
    torch.testing.assert_close(
        model(states), expected, atol=1e-5, rtol=1e-2 if dtype == torch.bfloat16 else 1e-4
    )
    again = model[0].weight
    assert isinstance(again, torch.Tensor)
    assert torch.equal(again, weight), "its weights can still be asked for"


def test_a_type_that_cannot_be_laid_out_stays_as_it_is() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(4, 4).to(torch.float64))
    assert lay_out(model) == 0
    assert type(model[0]) is torch.nn.Linear


@pytest.mark.parametrize(
    "name", [name for name in FAMILIES if name != "mamba"]
)  # which reports no embeddings
def test_the_states_of_a_family_s_layers_are_found_where_they_appear(
    name: str, encoder: Path, tmp_path: Path
) -> None:
    model = load(build(name, encoder, tmp_path / name))
    assert model.blocks is not None, (
        "its states are kept until the end, which takes memory and time"
    )
    assert model.blocks.n_layers == 2
    found, kept = all_states(model, TEXTS, 80), all_states(replace(model, blocks=None), TEXTS, 80)
    np.testing.assert_array_equal(found, kept)


def test_layers_above_the_highest_one_asked_for_are_not_computed(encoder: Path) -> None:
    model = load(encoder)
    assert model.blocks is not None
    calls: list[int] = []
    for place, block in enumerate(model.blocks.modules):
        block.register_forward_hook(lambda *_, place=place: calls.append(place))
    tokens = tokenize(model.tokenizer, TEXTS[:3], max_length=40)
    for highest, expected in ((0, []), (1, [0]), (2, [0, 1])):
        calls.clear()
        (batch,) = pooled_states(model, tokens, layers=(highest,), poolings=("mean",))
        assert calls == expected
        np.testing.assert_allclose(
            batch.states[:, 0], one_by_one(model, TEXTS[:3])[batch.rows][:, highest, :1], atol=1e-5
        )
        assert not any(block._forward_pre_hooks for block in model.blocks.modules), (
            "no hook is left behind"
        )


def test_blocks_are_not_guessed_where_their_inputs_are_other_states(encoder: Path) -> None:
    model: Any = load(encoder).model

    def shifted(_module: object, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (args[0] + 1, *args[1:])

    model.encoder.layer[1].register_forward_pre_hook(shifted)
    assert find_blocks(model, "cpu") is None
    taken: list[torch.Tensor] = []
    run(model, None, {"input_ids": torch.tensor([[5, 6]])}, {1: taken.append})
    assert [states.shape for states in taken] == [(1, 2, 32)]


@pytest.mark.parametrize(
    ("name", "n_layers"),
    [("bert", 2), ("gpt2", 2), ("albert", 1), ("gemma", 2), ("opt", 0), ("llama", 0)],
)
def test_gelu_is_computed_with_the_layer_before_it(
    name: str, n_layers: int, encoder: Path, tmp_path: Path
) -> None:
    model = load(build(name, encoder, tmp_path / name))
    expected = all_states(model, TEXTS, 80)
    lay_out(model.model)
    assert fuse(model.model) == n_layers
    assert sum(type(one) is torch.nn.Identity for one in model.model.modules()) == n_layers
    np.testing.assert_allclose(all_states(model, TEXTS, 80), expected, atol=2e-5)


def test_a_gelu_whose_input_is_used_elsewhere_too_stays_where_it_is() -> None:
    class Twice(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dense, self.act = torch.nn.Linear(8, 8), GELUActivation()

        def forward(self, input_ids: torch.Tensor, **_: object) -> SimpleNamespace:
            states = self.dense(torch.nn.functional.one_hot(input_ids, 8).float())
            return SimpleNamespace(last_hidden_state=self.act(states) + states)

    model = Twice().eval().requires_grad_(requires_grad=False)
    expected = model(torch.tensor([[3, 4, 5]])).last_hidden_state
    assert lay_out(model) == 1
    assert fuse(model) == 0
    torch.testing.assert_close(model(torch.tensor([[3, 4, 5]])).last_hidden_state, expected)


@NO_HURRY
@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=9))
def test_pooling_in_groups_is_pooling_text_by_text(lengths: list[int]) -> None:
    hidden = torch.randn(sum(lengths) + 2, 5, generator=torch.Generator().manual_seed(1))
    pooled = pool_packed(hidden, PackLayout(tuple(lengths)).groups, ("mean", "cls", "last", "max"))
    ends = np.cumsum(lengths)
    for row, (end, length) in enumerate(zip(ends.tolist(), lengths, strict=True)):
        states = hidden[end - length : end]
        expected = torch.stack([states.mean(0), states[0], states[-1], states.max(0).values])
        torch.testing.assert_close(pooled[row], expected)


def _feed(budget: Budget, seconds: dict[int, float], monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Batches of a machine that takes so many seconds for a token of each size; returns the sizes
    used.
    """
    clock, used = [0.0], []
    monkeypatch.setattr("featcache.backbone.budget.time.perf_counter", lambda: clock[0])
    for _ in range(15):
        tokens = budget.tokens
        used.append(tokens)
        with budget.measured(tokens):
            clock[0] += seconds[tokens] * tokens
    return used


def test_the_fastest_size_of_batches_is_found_by_trying_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used = _feed(Budget((100, 50, 200)), {100: 1.0, 50: 1.2, 200: 0.8}, monkeypatch)
    assert used == [100, 50, 200] * 3 + [200] * 6


def test_a_gain_that_may_be_noise_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (
        _feed(Budget((100, 50, 200)), {100: 1.0, 50: 0.99, 200: 0.97}, monkeypatch)[-6:]
        == [100] * 6
    )


def test_a_budget_that_was_too_much_is_halved_for_good_and_said_so() -> None:
    said: list[str] = []
    budget = Budget((100, 50, 200), say=said.append)
    budget.halve()
    assert (budget.tokens, said) == (50, ["memory ran out: batches now hold 50 tokens"])
    with budget.measured(50):
        pass
    budget.halve()
    assert budget.tokens == 25
