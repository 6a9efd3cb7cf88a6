"""The total loss and its gradient with respect to the image: the closure that an optimiser calls.

    L_total = alpha L_content + beta L_style + TV                     Gatys et al. 2016, Eq. 7

in the canonical form of `pynst.formulas`. Value and gradient belong to the same function to
rounding, and the value is summed in float64: a line search tolerates nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pynst.backends.base import Array
from pynst.backends.cuda import CudaBackend
from pynst.errors import ImageError, OptionError
from pynst.formulas import FORMULAS, Formula
from pynst.images import ImageLike, read_picture, resize, size_to_long_side
from pynst.inputs import matched, read_styles
from pynst.losses.terms import LossTerms
from pynst.networks.network import Network, open_network
from pynst.options import TransferOptions, with_changes

__all__ = ["InPlace", "LossTerms", "Objective"]


@dataclass(frozen=True)
class InPlace:
    """An objective whose image and gradient stay on the device; see `Objective.in_place`.

    Attributes
    ----------
    backend : CudaBackend
    image, gradient : Array (H, W, 3), float32
        Where an evaluation reads and writes.
    sums : Array, float64
        Slots that are copied to the host together with the losses.
    evaluate : callable
        Evaluates at `image`, then does what it is given, which may fill `sums`; returns the terms,
        and `sums` as a NumPy array.
    """

    backend: CudaBackend
    image: Array
    gradient: Array
    sums: Array
    evaluate: Callable[[Callable[[], None]], tuple[LossTerms, NDArray[np.float64]]]


@dataclass(frozen=True)
class _Term:
    """A content or style term at one layer: its target (P or A), factor k, slot and Gram memory."""

    slot: int
    k: float
    target: Array
    G: Array | None = None


class Objective:
    """The loss of an image against a content and one or several style pictures.

    Parameters
    ----------
    content : str, Path, PIL.Image.Image or ndarray (H, W, 3)
        Photograph p. It is resized so that its long side is ``image_size`` pixels.
    style : as `content`, or a list of them
        Artwork a; with a list, their Gram matrices are blended by ``style_blend``. Each is resized
        to the long side of the content times ``style_scale``.
    options : TransferOptions, optional
        All settings; those of optimisers and levels have no effect here.
    network : Network or str, optional
        An open network to use, instead of the one that the options name; or a name.
    **changes
        Fields of `TransferOptions` to replace.

    Attributes
    ----------
    shape : tuple of int
        (H, W, 3): the shape of the image x that a call takes.
    terms : LossTerms or None
        The terms of the last evaluation.
    content : ndarray (H, W, 3)
        The resized content picture, sRGB in [0, 1].
    network : Network
    options : TransferOptions

    Raises
    ------
    OptionError, ImageError, WeightsError, BackendError
        Something is wrong with a setting, a picture, the weights or the backend.

    Examples
    --------
    >>> objective = Objective("photo.jpg", "painting.jpg", image_size=256)  # doctest: +SKIP
    >>> value, gradient = objective(objective.content)                      # doctest: +SKIP
    """

    def __init__(
        self,
        content: ImageLike,
        style: ImageLike | Sequence[ImageLike],
        options: TransferOptions | None = None,
        *,
        network: Network | str | None = None,
        **changes: Any,
    ) -> None:
        if isinstance(network, str):
            changes, network = {**changes, "network": network}, None
        self.options = options = with_changes(options, changes)
        styles = read_styles(style, options)
        p = read_picture(content, "content").pixels
        pictures = [(share, matched(a.pixels, p, options)) for share, a in styles]
        H, W = size_to_long_side(p.shape[0], p.shape[1], options.image_size)
        self.shape = (H, W, 3)
        self.content = resize(p, H, W)
        self.terms: LossTerms | None = None
        self.network = network or open_network(options)
        self._backend = self.network.backend

        formula = FORMULAS[options.formula]
        self._alpha = _default(options.content_weight, formula.content_weight)
        self._beta = _default(options.style_weight, formula.style_weight)
        # TV9 is defined on [0, 1]; the network's input spans 255 of the same units. The axes of
        # both networks are orthonormal, so TV9 of the input planes is TV9 of the image.
        tv_weight = formula.tv_weight * self.network.tv_share
        self._tv = _default(options.tv_weight, tv_weight) / 255**2
        content_layers = self._layer_weights(options.content_layers, self.network.content_layers)
        style_layers = self._layer_weights(options.style_layers, self.network.style_layers)
        self._content_weights = _positive(content_layers) if self._alpha else {}
        self._style_weights = _positive(style_layers) if self._beta else {}
        self._layers = {*self._content_weights, *self._style_weights}

        self._losses = self._backend.empty_losses(
            len(self._content_weights) + len(self._style_weights) + 1
        )
        self._scales = {
            layer: self._backend.upload_scale(self.network.scales[layer])
            for layer in self._layers
            if layer in self.network.scales
        }
        self._style_terms = self._style_targets(pictures, formula)
        self._workspace = self.network.workspace(H, W, self._layers, gradient=True)
        self._content_terms = self._content_targets(formula)
        self._evaluate = self._in_use = self._backend.record(self._losses)

    def __call__(self, x: NDArray[np.floating[Any]]) -> tuple[float, NDArray[np.float64]]:
        """Evaluate the loss at an image.

        Parameters
        ----------
        x : ndarray (H, W, 3), floating
            sRGB, nominally in [0, 1]; values outside are allowed.

        Returns
        -------
        value : float
            L_total.
        gradient : ndarray (H, W, 3), float64
            dL_total/dx.

        Raises
        ------
        ImageError
            x is no floating array of the shape.
        """
        shape, dtype = getattr(x, "shape", None), getattr(x, "dtype", type(x).__name__)
        if shape != self.shape or not np.issubdtype(x.dtype, np.floating):
            raise ImageError(
                f"x must be a floating array of shape {self.shape}, got {dtype} {shape}"
            )
        self._upload(x, self._workspace["x"])
        self._evaluate(lambda: self._walk(self._losses))
        gradient = np.empty(self.shape)
        self._backend.image_input_backward(
            self._workspace["d x"], self.network.input_axes, gradient
        )
        self.terms = self._terms_of(self._backend.download_losses(self._losses))
        return self.terms.total, gradient

    def in_place(self, sums: int) -> InPlace | None:
        """Give an optimiser that computes on the device what it needs; None without a device.

        Parameters
        ----------
        sums : int
            Numbers that it wants to be told together with the losses.
        """
        backend, count = self._backend, len(self._losses)
        if not isinstance(backend, CudaBackend):
            return None
        report = backend.empty_losses(count + sums)
        losses = report[:count]
        run = backend.record(losses)
        run.scale, self._in_use = self.gradient_scale, run
        image, gradient = (backend.empty(np.float32, self.shape) for _ in range(2))
        axes, mean = self.network.input_axes, self.network.mean
        x, dx = self._workspace["x"], self._workspace["d x"]

        def walk() -> None:
            backend.image_input(image, axes, mean, x)
            self._walk(losses)
            backend.image_input_backward(dx, axes, gradient)

        def evaluate(after: Callable[[], None]) -> tuple[LossTerms, NDArray[np.float64]]:
            run(walk, after)
            values = backend.download_losses(report)
            self.terms = self._terms_of(values[:count])
            return self.terms, values[count:]

        return InPlace(backend, image, gradient, report[count:], evaluate)

    @property
    def gradient_scale(self) -> float:
        """`pynst.backends.base.Evaluate.scale` of the next evaluation."""
        return self._in_use.scale

    @gradient_scale.setter
    def gradient_scale(self, scale: float) -> None:
        self._in_use.scale = scale

    def _walk(self, losses: Array) -> None:
        """From ``"x"`` to all losses and ``"d x"``: the same ops on the same memory every time."""
        self.network.forward(self._workspace, self._layers)
        add_losses = partial(self._add_losses, losses)
        dx = self.network.backward(self._workspace, self._layers, add_losses)
        last = len(losses) - 1
        self._backend.total_variation(self._workspace["x"], self._tv, dx, losses[last : last + 1])

    def _add_losses(self, losses: Array, layer: str, F: Array, dF: Array) -> None:
        """Evaluate the terms at one layer and add their gradients to dF."""
        scale = self._scales.get(layer)
        if layer in self._content_terms:
            term = self._content_terms[layer]
            slot = losses[term.slot : term.slot + 1]
            self._backend.content_loss(F, term.target, term.k, scale, dF, slot)
        if layer in self._style_terms:
            term = self._style_terms[layer]
            slot = losses[term.slot : term.slot + 1]
            self._backend.gram(F, term.G)
            self._backend.style_loss(F, term.G, term.target, term.k, scale, dF, slot)

    def _content_targets(self, formula: Formula) -> dict[str, _Term]:
        """Features P of the content picture and the factor of each content term."""
        if not self._content_weights:
            return {}
        H, W = self.shape[:2]
        self._upload(self.content, self._workspace["x"])
        self.network.forward(self._workspace, self._layers)
        terms = {}
        for slot, (layer, weight) in enumerate(self._content_weights.items()):
            shape = self.network.shape(layer, H, W)
            P = self._backend.download(self._workspace[layer], "features", shape)
            N, M = shape[0], shape[1] * shape[2]
            s = self.network.scales.get(layer, np.ones(N))
            scaled = s[:, None] * P.reshape(N, M).astype(np.float64)
            energy = float(np.mean(scaled**2))
            V = float(np.mean((scaled - scaled.mean(1, keepdims=True)) ** 2))
            k_c = formula.content_factor(self._alpha, N, M, V, energy)
            target = self._backend.view(
                self._backend.allocate(self._backend.nbytes("features", shape)),
                0,
                "features",
                shape,
            )
            self._backend.upload(P, "features", target)
            terms[layer] = _Term(slot, weight * k_c / (N * M), target)
        return terms

    def _style_targets(
        self, pictures: Sequence[tuple[float, NDArray[np.float64]]], formula: Formula
    ) -> dict[str, _Term]:
        """Gram matrices A of the style pictures, blended, and the factor of each style term."""
        layers = self._style_weights
        if not layers:
            return {}
        blended: dict[str, NDArray[np.float64]] = {}
        for share, picture in pictures:
            for layer, A in self._grams(picture, list(layers)).items():
                blended[layer] = blended.get(layer, 0.0) + share * A
        terms = {}
        for slot, (layer, weight) in enumerate(layers.items(), len(self._content_weights)):
            A = blended[layer]
            s = self.network.scales.get(layer, np.ones(len(A)))
            energy = float(np.sum((np.outer(s, s) * A) ** 2))
            k = formula.style_factor(self._beta, weight * len(layers), len(layers), len(A), energy)
            terms[layer] = _Term(
                slot, k, self._backend.upload_gram(A), self._backend.empty_gram(len(A))
            )
        return terms

    def _grams(
        self, picture: NDArray[np.float64], layers: Sequence[str]
    ) -> dict[str, NDArray[np.float64]]:
        """Gram matrices of one style picture at its size for this run."""
        long_side = max(1, round(max(self.shape) * self.options.style_scale))
        H, W = size_to_long_side(picture.shape[0], picture.shape[1], long_side)
        least = self.network.smallest_side(layers)
        if min(H, W) < least:
            raise ImageError(
                f"style: {W} x {H} pixels are too few for layer {max(layers)}, which needs {least}"
                " on the short side; increase image_size or style_scale, or crop the picture"
            )
        workspace = self.network.workspace(H, W, layers, gradient=False)
        self._upload(resize(picture, H, W), workspace["x"])
        self.network.forward(workspace, layers)
        grams = {}
        for layer in layers:
            G = self._backend.empty_gram(self.network.shape(layer, H, W)[0])
            self._backend.gram(workspace[layer], G)
            grams[layer] = self._backend.download_gram(G)
        return grams

    def _upload(self, x: NDArray[np.floating[Any]], out: Array) -> None:
        """Write an image (H, W, 3) in [0, 1] as the network's input planes."""
        # an op reads numbers of these two types where they lie; any other image is copied
        image = np.require(x, np.float32 if x.dtype == np.float32 else np.float64, ["C", "A"])
        self._backend.image_input(image, self.network.input_axes, self.network.mean, out)

    def _terms_of(self, losses: NDArray[np.float64]) -> LossTerms:
        """Name what stands in the loss slots."""
        layers = {
            f"content {layer}": losses[term.slot] for layer, term in self._content_terms.items()
        }
        layers |= {f"style {layer}": losses[term.slot] for layer, term in self._style_terms.items()}
        split = len(self._content_weights)
        content, style, tv = losses[:split].sum(), losses[split:-1].sum(), losses[-1]
        return LossTerms(
            total=float(content + style + tv),
            content=float(content),
            style=float(style),
            tv=float(tv),
            layers={name: float(value) for name, value in layers.items()},
        )

    def _layer_weights(
        self, given: Sequence[tuple[str, float]] | None, defaults: Sequence[str]
    ) -> dict[str, float]:
        """Check the layers that were given, or take the defaults that fit into the image."""
        H, W = self.shape[:2]
        for name, _ in given or ():
            if name not in self.network.layers:
                raise OptionError(
                    f"unknown layer {name!r}: network {self.network.name!r} has"
                    f" {', '.join(self.network.layers)}"
                )
        fitting = [name for name in defaults if min(H, W) >= self.network.smallest_side([name])]
        layers = dict(given) if given else dict.fromkeys(fitting or defaults[:1], 1.0)
        least = self.network.smallest_side(layers)
        if min(H, W) < least:
            raise ImageError(
                f"content: {W} x {H} pixels are too few for layer {max(layers)}, which needs"
                f" {least} on the short side; increase image_size or name shallower layers"
            )
        return layers


def _default(given: float | None, formula: float) -> float:
    return formula if given is None else given


def _positive(layers: Mapping[str, float]) -> dict[str, float]:
    """Relative weights with sum 1, without the layers of weight 0."""
    total = sum(layers.values())
    return {layer: weight / total for layer, weight in layers.items() if weight > 0}
