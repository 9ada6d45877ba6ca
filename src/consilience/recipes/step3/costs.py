"""The cost table of the report as printed, and how many of its cells the calculator gives; no torch here."""

from __future__ import annotations

from collections.abc import Mapping

from consilience.cost import PUBLISHED, load_card, load_model, price, work

NEAR, FAR = 8192, 32768
PRINTED: Mapping[str, str] = {
    "deepseek_v3": ".054 .128 .114 .113 .197 .460 .409 .407 .014 .036 .032 .032",
    "kimi_k2": ".051 .065 .057 .057 .194 .231 .205 .204 .014 .036 .032 .032",
    "qwen3_235b_a22b": ".135 .054 .091 .101 .527 .185 .338 .376 .008 .021 .019 .019",
    "qwen3_32b": ".181 .069 .120 .133 .716 .248 .455 .508 .014 .038 .034 .033",
    "llama4_maverick": ".169 .060 .109 .121 .369 .128 .235 .262 .007 .018 .016 .016",
    "minimax_m1": ".164 .079 .121 .132 .330 .135 .226 .249 .015 .041 .036 .036",
    "ernie_4_5_300b_a47b": ".155 .063 .105 .116 .606 .214 .388 .432 .021 .057 .051 .051",
    "pangu_pro_moe": ".135 .049 .088 .098 .536 .183 .340 .379 .007 .018 .016 .016",
    "step3": ".048 .040 .040 .043 .176 .114 .120 .133 .015 .040 .036 .035",
}
"""Dollars per million tokens (arXiv 2507.19427, Table 6): attention at 8K, at 32K, FFN; each on H800, H20, A800, 910B.
"""


def computed(name: str) -> list[float]:
    """The twelve dollars of a model's row, unrounded."""
    near, far = (work(load_model(name), context) for context in (NEAR, FAR))
    cards = [load_card(card) for card in PUBLISHED]
    attention = [price(load, card).attention for load in (near, far) for card in cards]
    return attention + [price(near, card).ffn for card in cards]


def matching_cells() -> int:
    """How many cells agree with the printed three decimals."""
    pairs = (zip(computed(name), printed.split(), strict=True) for name, printed in PRINTED.items())
    return sum(f"{usd:.3f}" == f"0{cell}" for row in pairs for usd, cell in row)
