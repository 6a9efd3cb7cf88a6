"""The terms of the loss: which there are, and which of them a run has.

Each entry of `TERMS` makes one term from the options, or None where the run does not have it: where
its weight is 0, or where there is no picture that it could compare with.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from pynst.errors import BackendError, OptionError
from pynst.inputs import Inputs
from pynst.losses.content import ContentTerm
from pynst.losses.neighbours import NeighboursTerm
from pynst.losses.style import GramTerm, check_regions
from pynst.losses.terms import STYLE, Term
from pynst.losses.variation import VariationTerm
from pynst.losses.wasserstein import WassersteinTerm
from pynst.networks.layers import LayerChoice, content_choice, neighbour_choice, style_choice
from pynst.networks.network import Network
from pynst.options import TransferOptions
from pynst.options.formulas import FORMULAS, Formula

__all__ = ["TERMS", "loss_terms"]


def loss_terms(options: TransferOptions, network: Network, inputs: Inputs) -> tuple[Term, ...]:
    """Make the terms of a run, in the order in which they are added up.

    Raises
    ------
    OptionError
        A layer is unknown, or nothing would be left to do.
    ImageError
        A region is too small for a style.
    BackendError
        A term needs the memory of the host, and the network's backend is a device.
    """
    made = (make(options, network, inputs) for make in TERMS.values())
    terms = tuple(term for term in made if term is not None)
    if not {term.name for term in terms} - {"tv"}:
        raise OptionError(
            "content_weight and style_weight must not both be 0, or 0 for the one picture that is"
            " given: nothing would be left to do"
        )
    if any(term.name in STYLE for term in terms):
        size = inputs.size(options.image_size)
        check_regions(network, inputs.regions, style_choice(options, network), *size)
    return terms


def _content(options: TransferOptions, network: Network, inputs: Inputs) -> Term | None:
    layers = content_choice(options, network)
    formula = FORMULAS[options.formula]
    alpha = _default(options.content_weight, formula.content_weight)
    if inputs.content is None or not alpha:
        return None
    return ContentTerm(alpha, layers, formula, options.content_mask_weight)


def _style(options: TransferOptions, network: Network, inputs: Inputs) -> Term | None:
    layers = style_choice(options, network)
    guided = partial(GramTerm, guidance=options.guidance)
    return _style_term("gram", guided, layers, options, inputs)


def _wasserstein(options: TransferOptions, network: Network, inputs: Inputs) -> Term | None:
    layers = style_choice(options, network)
    guided = partial(WassersteinTerm, guidance=options.guidance)
    term = _style_term("wasserstein", guided, layers, options, inputs)
    if term is not None and network.backend.free_memory() is not None:
        raise BackendError(
            f"style_loss='wasserstein' is not available on {network.backend.name}: ask for"
            " backend='cpu'"
        )
    return term


def _neighbours(options: TransferOptions, network: Network, inputs: Inputs) -> Term | None:
    layers = neighbour_choice(options, network)
    return _style_term("neighbours", NeighboursTerm, layers, options, inputs)


def _style_term(
    loss: str,
    term: Callable[[float, LayerChoice, Formula], Term],
    layers: LayerChoice,
    options: TransferOptions,
    inputs: Inputs,
) -> Term | None:
    formula = FORMULAS[options.formula]
    beta = _default(options.style_weight, formula.style_weight)
    beta *= options.style_shares().get(loss, 0.0)
    return term(beta, layers, formula) if inputs.styles and beta else None


def _variation(options: TransferOptions, network: Network, inputs: Inputs) -> Term | None:  # noqa: ARG001
    formula = FORMULAS[options.formula]
    weight = _default(options.tv_weight, formula.tv_weight * network.tv_share)
    return VariationTerm(weight) if weight else None


def _default(given: float | None, formula: float) -> float:
    return formula if given is None else given


TERMS: dict[str, Callable[[TransferOptions, Network, Inputs], Term | None]] = {
    "content": _content,
    "style": _style,
    "wasserstein": _wasserstein,
    "neighbours": _neighbours,
    "tv": _variation,
}
"""By the name of the term, in the order in which they are added up."""
