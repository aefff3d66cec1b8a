"""What excuses a weight, which tokens are judged, and how a verdict is shown."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from grokpack.core.finding import Finding
from grokpack.evaluation.network.experts import Routing, route
from grokpack.evaluation.part_comparison import ORDER_OF_SUMS, PartComparison, undecided_tokens
from grokpack.evaluation.weight_comparison import WeightDistance
from grokpack.models.grok1 import GROK1
from grokpack.report.text.evaluation_text import render_pair

LAYER = "transformer/decoder_layer_1"
EXACT = ORDER_OF_SUMS["f32"]


def weight(name: str, relative: float, **known: Any) -> WeightDistance:
    given = {
        "expert": None,
        "state": "beyond",
        "expected": "equal values",
        "elements": 100,
        "differing": 9,
        "beyond": 9,
        "allowed": 0.0,
        "largest": 0.1,
        "first": (0, 0),
        **known,
    }
    full = f"{LAYER}/{name}"
    part = GROK1.rule_of(full).part
    return WeightDistance(name=full, part=part, relative=relative, **given)


def experts(
    rows: list[WeightDistance], error: float, reached: frozenset[int] = frozenset()
) -> PartComparison:
    return PartComparison.of("experts", 1, error, rows, "f32", reached=reached)


def test_a_weight_is_excused_where_its_difference_would_have_shown() -> None:
    """A single code of a large matrix is too small to show in what the layer adds."""
    part = experts([weight("router/w", 0.5), weight("rms_norm_3/scale", 5e-5)], EXACT / 2)
    assert [row.state for row in part.weights] == ["otherwise", "beyond"]


@pytest.mark.parametrize("error", [EXACT * 1.01, float("nan"), float("inf")])
def test_nothing_is_excused_in_a_part_that_computes_something_else(error: float) -> None:
    part = experts([weight("router/w", 0.5)], error)
    assert part.beyond
    assert part.weights[0].state == "beyond"


def test_experts_are_excused_where_some_token_chose_them() -> None:
    rows = [weight("moe/linear/w", 1.4, expert=n) for n in range(3)]
    part = experts(rows, 0.0, frozenset({0, 2}))
    assert [row.state for row in part.weights] == ["otherwise", "beyond", "otherwise"]


def test_queries_are_not_excused_where_no_token_has_another_before_it() -> None:
    rows = [weight(f"multi_head_attention/{name}/w", 1.4) for name in ("query", "value")]
    for alone, state in ((False, "otherwise"), (True, "beyond")):
        part = PartComparison.of("attention", 1, 0.0, rows, "f32", alone=alone)
        assert [row.state for row in part.weights] == [state, "otherwise"]


def test_a_limit_is_the_order_of_sums_and_what_formats_allow() -> None:
    equal = experts([weight("router/w", 0.0, state="equal")], 0.0)
    assert equal.limit == EXACT
    rounded = [
        weight("moe/linear/w", 0.0, state="within", allowed=0.04, expert=n) for n in range(2)
    ]
    found = experts([*rounded, weight("router/w", 0.0, state="within", allowed=0.03)], 0.0)
    assert found.limit == pytest.approx(EXACT + 3 * 0.05)


def test_tokens_that_rounding_may_send_to_other_experts_are_not_judged() -> None:
    x = np.eye(3, dtype=np.float32)
    logits = np.log(np.array([[5, 4, 1], [5, 2, 2 - 1e-5], [5, 2.1, 2]], np.float32))
    routing = route(x, logits, 2)
    np.testing.assert_allclose(routing.margin, [0.75, 5e-6, 0.1 / 2.1], rtol=0.1)
    assert undecided_tokens(routing, [], "f32").tolist() == [False, True, False]
    rounded = [weight("router/w", 0.0, state="within", allowed=0.002)]
    assert undecided_tokens(routing, rounded, "f32").tolist() == [False, True, True]


def test_a_choice_of_all_experts_is_decided() -> None:
    routing: Routing = route(np.ones((2, 1), np.float32), np.zeros((1, 2), np.float32), 2)
    assert not undecided_tokens(routing, [], "f32").any()


def data(**known: Any) -> Any:
    loss = {"tokens": 0}
    return {
        "source": "a",
        "against": "b",
        "loss": loss,
        "other_loss": loss,
        "kl": {"mean": 0.02, "p99": 0.1},
        "top1": 0.9,
        "top8": 0.9,
        "embedding": 0.0,
        "head": None,
        "layers": [],
        "parts": [
            {"part": "embedding", "layer": None, "error": 0.0, "limit": 1e-5},
            {"part": "head", "layer": None, "error": None, "limit": 1e-5},
        ],
        "weights": {"equal": 3, "within": 0, "otherwise": 0, "beyond": 1},
        "max_kl": None,
        "min_top1": None,
        "tokens": 5,
        "seconds": 1.0,
        "tokens_per_s": 5.0,
        "read_bytes": 10,
        **known,
    }


def test_the_verdict_is_told_with_its_numbers() -> None:
    text = render_pair(data(), [], "beyond")
    assert "beyond  error of head: infinite of 1.00e-05" in text
    assert "weights        3 equal, 1 beyond" in text
    given = render_pair(data(max_kl=0.05, min_top1=0.95), [], "beyond")
    assert (
        "beyond  mean KL divergence 0.0200 of 0.05 nats, likeliest token 90.00% of 95.00%" in given
    )


def test_limits_of_layers_are_told_by_the_worst_of_them() -> None:
    layers = [{"layer": 0, "flips": 0.0, "cosine": 1.0}, {"layer": 1, "flips": 0.25, "cosine": 0.9}]
    for row in layers:
        row |= {"attention": 0.0, "experts": 0.0, "stream": 0.0}
    parts = [
        {"part": name, "layer": layer, "error": 0.0, "limit": 1.0}
        for name, layer in [("embedding", None), ("head", None)]
        + [(half, n) for half in ("attention", "experts") for n in (0, 1)]
    ]
    found = data(layers=layers, parts=parts, max_router_flips=0.01, min_layer_cosine=0.995)
    text = render_pair(found, [], "beyond")
    assert "other experts chosen 25.00% of 1.00%, cosine of a layer 0.900000 of 0.995" in text


def test_a_long_list_of_findings_is_cut_short() -> None:
    rows = [Finding("GP144", "m", None, f"tensor {n}", "e", "f") for n in range(20)]
    text = render_pair(data(), rows, "beyond")
    assert text.count("error[GP144]") == 12
    assert "and 8 findings more" in text
