"""The total loss and its gradient with respect to the image: the closure that an optimiser calls.

    L_total = alpha L_content + beta L_style + TV                     Gatys et al. 2016, Eq. 7

as a list of terms (`pynst.losses`). Value and gradient belong to the same function to rounding, and
the value is summed in float64: a line search tolerates nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from pynst.backends.base import AddLoss, Array, Evaluation
from pynst.errors import ImageError
from pynst.images import ImageLike
from pynst.inputs import Inputs, read_inputs
from pynst.losses.table import loss_terms
from pynst.losses.terms import IMAGE, STYLE, InPlace, LossTerms, PreparedTargets, Targets, Term
from pynst.networks import Network, open_network
from pynst.networks.network import upload_image
from pynst.networks.tiling import TiledNetwork, TiledWorkspace, tiled
from pynst.options import TransferOptions, with_changes
from pynst.options.keywords import ObjectiveChanges

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["Objective", "TotalLoss"]


class TotalLoss:
    """A list of terms at one size of the image.

    Parameters
    ----------
    network : Network
        Open.
    inputs : Inputs
        The pictures of the run.
    terms : sequence of Term
        What is added up, in this order.
    H, W : int
        Size of the image, pixels.

    Attributes
    ----------
    shape : tuple of int
        (H, W, 3): the shape of the image x that a call takes.
    terms : LossTerms or None
        The terms of the last evaluation.
    network : Network
    dtype : type
        What the image had best be kept in: float64, or float32 where it is walked in tiles.

    Notes
    -----
    All evaluations share one workspace. Calls from several threads are right; they run one after
    another, and `terms` belongs to the one that ended last.
    """

    def __init__(
        self, network: Network, inputs: Inputs, terms: Sequence[Term], H: int, W: int
    ) -> None:
        self.network = network
        self.shape = (H, W, 3)
        self.terms: LossTerms | None = None
        self._backend = network.backend
        self._targets: dict[str, Targets] = {
            term.name: term.at(network, inputs, H, W) for term in terms
        }
        self._prepared = [
            targets for targets in self._targets.values() if isinstance(targets, PreparedTargets)
        ]
        self._slots = [
            (name, layer) for name, targets in self._targets.items() for layer in targets.layers
        ]
        self._places = _places(self._slots)
        self._places_of_terms: list[tuple[str, tuple[int, int]]] = []
        end = 0
        for name, targets in self._targets.items():
            begin, end = end, end + len(targets.layers)
            self._places_of_terms.append((name, (begin, end)))
        self._places_of_layers = [
            (f"{name} {layer}", place)
            for (name, layer), place in self._places.items()
            if layer != IMAGE
        ]
        self._layers = dict.fromkeys(layer for _, layer in self._slots if layer != IMAGE)
        self._workspace = network.workspace(H, W, self._layers, gradient=True)
        self._tiles = isinstance(self._workspace, TiledWorkspace)
        self.dtype = np.float32 if self._tiles else np.float64
        # Where the losses are, and, as long as an optimiser runs, the image and its gradient.
        self._home = cast("TiledNetwork", network).host if self._tiles else self._backend
        self._losses = self._home.empty_losses(len(self._slots))
        self._evaluation = self._in_use = self._evaluation_of(self._losses)
        self._lock = Lock()

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
            dL_total/dx; float32 where x is and the image is walked in tiles.

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
        narrow = self.dtype == x.dtype == np.float32
        gradient: NDArray[Any] = np.empty(self.shape, np.float32 if narrow else np.float64)
        with self._lock:
            if self._tiles:
                self._evaluation(lambda: self._walk_windows(x, gradient, self._losses))
            else:
                upload_image(self.network, x, self._workspace["x"])
                self._evaluation(lambda: self._walk(self._losses))
                self._backend.image_input_backward(
                    self._workspace["d x"], self.network.input_axes, gradient
                )
            self.terms = terms = self._terms_of(self._home.download_losses(self._losses))
        return terms.total, gradient

    def in_place(self, sums: int) -> InPlace | None:
        """Give an optimiser that computes on the device what it needs; None without a device.

        Parameters
        ----------
        sums : int
            Numbers that it wants to be told together with the losses.
        """
        backend, count = self._home, len(self._slots)
        images = backend.device_images(self.shape)
        if images is None:
            return None
        report = backend.empty_losses(count + sums)
        losses = report[:count]
        evaluation = self._evaluation_of(losses)
        evaluation.gradient_scale, self._in_use = self.gradient_scale, evaluation
        axes, mean = self.network.input_axes, self.network.mean
        if self._tiles:
            # The windows are copied from the optimiser's vectors, and the gradient to them.
            images = replace(images, image=None, gradient=None)

        def walk() -> None:
            backend.image_input(images.image, axes, mean, self._workspace["x"])
            self._walk(losses)
            backend.image_input_backward(self._workspace["d x"], axes, images.gradient)

        def evaluate(
            x: Array, g: Array, after: Callable[[], None]
        ) -> tuple[LossTerms, NDArray[np.float64]]:
            with self._lock:
                if self._tiles:
                    evaluation(lambda: self._walk_windows(x, g, losses, clip=True), after)
                else:
                    evaluation(walk, after)
                values = backend.download_losses(report)
                self.terms = terms = self._terms_of(values[:count])
            return terms, values[count:]

        return InPlace(images, self.shape, report[count:], evaluate)

    def _evaluation_of(self, losses: Array) -> Evaluation:
        """What does the evaluations that set these losses."""
        if self._tiles:
            return cast("TiledNetwork", self.network).windows_backend.walks()
        return self._backend.repeated(losses)

    @property
    def gradient_scale(self) -> float:
        """The factor of the next evaluation's gradients; see `pynst.backends.base.Evaluation`."""
        return self._in_use.gradient_scale

    @gradient_scale.setter
    def gradient_scale(self, scale: float) -> None:
        self._in_use.gradient_scale = scale

    def _walk(self, losses: Array) -> None:
        """From ``"x"`` to all losses and ``"d x"``: the same ops on the same memory every time."""

        def prepare(layer: str, F: Array) -> None:
            for targets in self._prepared:
                if layer in targets.layers:
                    targets.prepare(layer, F)

        add_losses = self._adding(losses)
        self.network.forward(self._workspace, self._layers, prepare)
        dx = self.network.backward(self._workspace, self._layers, add_losses)
        add_losses(IMAGE, self._workspace["x"], dx)

    def _walk_windows(
        self, image: Array, gradient: Array, losses: Array, *, clip: bool = False
    ) -> None:
        """All losses of an image (H, W, 3), and their gradient, from its windows."""
        network, workspace = cast("TiledNetwork", self.network), self._workspace
        assert isinstance(workspace, TiledWorkspace)
        network.evaluate(workspace, self._layers, image, gradient, self._adding(losses), clip=clip)

    def _adding(self, losses: Array) -> AddLoss:
        """What sets the losses at a layer, and adds their gradient."""

        def add_losses(layer: str, F: Array, dF: Array) -> None:
            for (name, read), (begin, end) in self._places.items():
                if read == layer:
                    self._targets[name].add(layer, F, dF, losses[begin:end])

        return add_losses

    def _terms_of(self, losses: NDArray[np.float64]) -> LossTerms:
        """Name what stands in the loss slots."""
        values = losses.tolist()
        totals = _sums(values, self._places_of_terms)
        of_layers = _sums(values, self._places_of_layers)
        return LossTerms(
            total=sum(totals.values()),
            content=totals.pop("content", 0.0),
            style=sum([totals.pop(name, 0.0) for name in STYLE]),
            tv=totals.pop("tv", 0.0),
            layers=of_layers,
            others=totals,
        )


def _places(slots: Sequence[tuple[str, str]]) -> dict[tuple[str, str], tuple[int, int]]:
    """Where the losses of each term and layer begin and end; they follow one another."""
    places: dict[tuple[str, str], tuple[int, int]] = {}
    for slot, key in enumerate(slots):
        places[key] = places.get(key, (slot, slot))[0], slot + 1
    return places


def _sums(values: list[float], places: Sequence[tuple[str, tuple[int, int]]]) -> dict[str, float]:
    """What stands in each place; the losses of one are added up."""
    return {
        name: values[begin] if end - begin == 1 else _sum(values[begin:end])
        for name, (begin, end) in places
    }


def _sum(values: list[float]) -> float:
    """As NumPy adds them, to the bit; which for so few numbers takes longer than all the rest."""
    if len(values) >= 8:
        return float(np.sum(values))
    total = 0.0
    for value in values:
        total += value
    return total


class Objective(TotalLoss):
    """The loss of an image against a content and one or several style pictures.

    Parameters
    ----------
    content : str, Path, PIL.Image.Image or ndarray (H, W, 3), or None
        Photograph p. It is resized so that its long side is ``image_size`` pixels. Without one
        there is no content term, and the image has the aspect of the first style picture.
    style : as `content`, or a list of them, or None
        Artwork a; with a list, their Gram matrices are blended by ``style_blend``. Each is resized
        to the long side of the image times ``style_scale``. Without one there is no style term.
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
    content : ndarray (H, W, 3) or None
        The resized content picture, sRGB in [0, 1].
    network : Network
    options : TransferOptions

    Raises
    ------
    OptionError, ImageError, WeightsError, BackendError
        Something is wrong with a setting, a picture, the weights or the backend.

    Notes
    -----
    All evaluations share one workspace. Calls from several threads are right; they run one after
    another, and `terms` belongs to the one that ended last.

    Examples
    --------
    >>> objective = Objective("photo.jpg", "painting.jpg", image_size=256)  # doctest: +SKIP
    >>> value, gradient = objective(objective.content)                      # doctest: +SKIP
    """

    def __init__(
        self,
        content: ImageLike | None,
        style: ImageLike | Sequence[ImageLike] | None,
        options: TransferOptions | None = None,
        *,
        network: Network | str | None = None,
        **changes: Unpack[ObjectiveChanges],
    ) -> None:
        named = {"network": network} if isinstance(network, str) else {}
        self.options = options = with_changes(options, {**changes, **named})
        inputs = read_inputs(content, style, options, start=False)
        opened = open_network(options) if network is None or named else network
        assert not isinstance(opened, str)
        if isinstance(options.tile, int):
            opened = tiled(opened, options.tile)
        H, W = inputs.size(options.image_size)
        self.content = None if inputs.content is None else inputs.content_at(H, W)
        super().__init__(opened, inputs, loss_terms(options, opened, inputs), H, W)
