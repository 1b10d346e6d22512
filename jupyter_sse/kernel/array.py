"""Arrays as pictures and sound; numpy's, and what becomes one: tensors of torch, JAX, TensorFlow."""

from __future__ import annotations

import io
import struct
import wave
import zlib
from typing import Any

__all__ = ["is_array", "png", "samples", "wav"]

_COLOURS = {1: 0, 2: 4, 3: 2, 4: 6}
"""PNG's number for so many channels: grey, grey and alpha, colour, colour and alpha."""
_CHANNELS = 8
"""More is taken for samples than for loudspeakers."""


def is_array(content: Any) -> bool:
    """Tables have `dtypes`, not one."""
    return hasattr(content, "__array__") and hasattr(content, "dtype") and hasattr(content, "ndim")


def png(content: Any) -> bytes:
    """Height x width (x 1 to 4 channels, which may also come first): uint8, booleans, or floats from 0 to 1.

    Raises
    ------
    ValueError
        If it has another shape, or values outside of these.
    """
    import numpy

    array = _numpy(content)
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim == 3 and array.shape[2] not in _COLOURS and array.shape[0] in (1, 3, 4):
        array = array.transpose(1, 2, 0)
    if array.ndim != 3 or array.shape[2] not in _COLOURS or not array.size or array.dtype.kind not in "fbui":
        raise ValueError(
            f"an array of the shape {tuple(content.shape)} and type {array.dtype} is no picture: height x width, or"
            " height x width x 1 to 4;"
            " for sound say `rate=`"
        )
    low, high = (float(array.min()), float(array.max())) if array.dtype.kind != "f" else _range(array)
    most = 1 if array.dtype.kind in "fb" else 255
    if low < 0 or high > most:
        raise ValueError(
            f"a picture's values go from 0 to 255, or as floats from 0 to 1; these are {array.dtype} from {low:g} to"
            f" {high:g}: scale them, or give a matplotlib figure"
        )
    pixels = numpy.nan_to_num(array * 255 + 0.5 if array.dtype.kind == "f" else array * (255 // most), nan=0)
    pixels = pixels.astype(numpy.uint8)
    height, width, channels = pixels.shape
    # Each row begins with the number of its filter: none.
    rows = numpy.concatenate([numpy.zeros((height, 1), numpy.uint8), pixels.reshape(height, -1)], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOURS[channels], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def _range(array: Any) -> tuple[float, float]:
    import numpy

    if numpy.isnan(array).all():
        return 0.0, 0.0
    return float(numpy.nanmin(array)), float(numpy.nanmax(array))


def wav(content: Any, rate: float) -> bytes:
    """A file of samples, as `samples` takes them."""
    raw, channels = samples(content, rate)
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(2)
        writer.setframerate(int(rate))
        writer.writeframes(raw)
    return file.getvalue()


def samples(content: Any, rate: float) -> tuple[bytes, int]:
    """Samples (x channels, which may also come first), floats from -1 to 1 or int16: as int16, and how many channels.

    Raises
    ------
    ValueError
        If it has another shape or type.
    """
    import numpy

    array = _numpy(content)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim == 2 and array.shape[1] > _CHANNELS >= array.shape[0]:
        array = array.T
    if array.ndim != 2 or not 0 < array.shape[1] <= _CHANNELS or rate < 1:
        raise ValueError(f"an array of the shape {tuple(content.shape)} at a rate of {rate:g} is no sound")
    if array.dtype.kind == "f":
        array = (numpy.nan_to_num(array.clip(-1, 1), nan=0) * 32767).round().astype(numpy.int16)
    elif array.dtype != numpy.int16:
        raise ValueError(f"samples are floats from -1 to 1, or int16; these are {array.dtype}")
    return array.astype("<i2").tobytes(), array.shape[1]


def _numpy(content: Any) -> Any:
    import numpy

    detach = getattr(content, "detach", None)  # a tensor of torch may be part of a graph, and on another device
    return numpy.asarray(detach().cpu() if callable(detach) else content)
