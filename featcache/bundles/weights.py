"""`head.safetensors`: the numbers of a head, checked before anything is computed with them.

Somebody else may have written the file. NumPy would broadcast a bias of length 1 over all classes
and serve what comes out, so shapes have to fit the description and each other, and every number
has to be finite.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from featcache.bundles.description import Description
from featcache.heads.network import Network

_SCALE = ("scale.mean", "scale.std")


def encode_network(network: Network) -> bytes:
    """Write a network's arrays as safetensors."""
    from safetensors.numpy import save

    arrays = {}
    for number, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
        arrays[f"weights.{number}"] = np.ascontiguousarray(weight)
        arrays[f"biases.{number}"] = np.ascontiguousarray(bias)
    return bytes(save(arrays))


def decode_network(stored: bytes, description: Description) -> Network:
    """Read a network that fits its description.

    Args:
        stored: The bytes of `head.safetensors`.
        description: What `head.json` says of it.

    Returns:
        The network, whose arrays fit the description and one another.

    Raises:
        ValueError: The bytes are no safetensors, or not the arrays of such a network.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays = load(stored)
    except (SafetensorError, KeyError, TypeError, AttributeError) as error:
        msg = f"its weights cannot be read: {error}"
        raise ValueError(msg) from error
    n_layers = len(arrays) // 2
    names = [f"{kind}.{number}" for kind in ("weights", "biases") for number in range(n_layers)]
    if not n_layers or sorted(arrays) != sorted(names):
        msg = "its weights are not those of a network"
        raise ValueError(msg)
    weights = tuple(arrays[name] for name in names[:n_layers])
    biases = tuple(arrays[name] for name in names[n_layers:])
    _check_shapes(weights, biases, description)
    for name in names:
        _check_numbers(name, arrays[name])
    return Network(
        weights, biases, description.activation, description.layer_norm, description.residual
    )


def check_custom(stored: bytes) -> None:
    """Check the arrays of a head that is code, as far as they can be without that code.

    Args:
        stored: The bytes of `head.safetensors`.

    Raises:
        ValueError: The bytes are no safetensors, or lack the means and deviations of the features.
    """
    from safetensors import SafetensorError, deserialize

    try:
        tensors = dict(deserialize(stored))  # type: ignore[no-untyped-call]  # safetensors has no types
    except (SafetensorError, ValueError, TypeError) as error:
        msg = f"its weights cannot be read: {error}"
        raise ValueError(msg) from error
    shapes = {name: list(tensors[name]["shape"]) for name in _SCALE if name in tensors}
    mean_shape, std_shape = shapes.get(_SCALE[0], []), shapes.get(_SCALE[1], [])
    if len(mean_shape) != 1 or mean_shape != std_shape or mean_shape == [0]:
        msg = "its weights lack the scale of the features"
        raise ValueError(msg)
    for name, tensor in tensors.items():
        if tensor["dtype"] == "F32":
            _check_numbers(name, np.frombuffer(tensor["data"], dtype="<f4"))


def _check_shapes(
    weights: tuple[NDArray[np.float32], ...],
    biases: tuple[NDArray[np.float32], ...],
    description: Description,
) -> None:
    """Raise ValueError unless the layers follow on each other and end in the classes."""
    n_classes = len(description.classes)
    shapes = [weight.shape for weight in weights]
    if any(len(shape) != 2 or 0 in shape for shape in shapes):
        msg = f"its weights have the shapes {shapes}, which are no layers"
        raise ValueError(msg)
    outputs = [shape[1] for shape in shapes]
    if [bias.shape for bias in biases] != [(width,) for width in outputs]:
        msg = "its biases do not have the widths of its layers"
        raise ValueError(msg)
    if any(width != shape[0] for width, shape in zip(outputs, shapes[1:], strict=False)):
        msg = "its layers do not follow on each other"
        raise ValueError(msg)
    if outputs[-1] != n_classes:
        msg = f"its last layer has {outputs[-1]} outputs for {n_classes} classes"
        raise ValueError(msg)
    if description.residual and len(set(outputs[:-1])) > 1:
        msg = "its hidden layers differ in width, so they cannot be added"
        raise ValueError(msg)


def _check_numbers(name: str, array: NDArray[np.generic]) -> None:
    """Raise ValueError for another type than float32, for NaN and for infinity."""
    if array.dtype != np.float32:
        msg = f"{name} is not float32"
        raise ValueError(msg)
    if not np.isfinite(array).all():
        msg = f"{name} holds a number that is not finite"
        raise ValueError(msg)
