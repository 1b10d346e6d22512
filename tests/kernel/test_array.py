from __future__ import annotations

import io
import wave
from typing import Any

import pytest

from jupyter_sse import task
from jupyter_sse.kernel import array, preview

numpy = pytest.importorskip("numpy")
Image = pytest.importorskip("PIL.Image")
LIMIT = 1 << 20


def opened(content: Any) -> Any:
    return Image.open(io.BytesIO(array.png(content)))


@pytest.mark.parametrize(("channels", "mode"), [(None, "L"), (1, "L"), (2, "LA"), (3, "RGB"), (4, "RGBA")])
def test_every_pixel_is_where_it_was(channels: int | None, mode: str) -> None:
    shape = (7, 5) if channels is None else (7, 5, channels)
    pixels = numpy.random.default_rng(1).integers(0, 256, shape, dtype=numpy.uint8)
    image = opened(pixels)
    assert (image.mode, image.size) == (mode, (5, 7))
    assert (numpy.asarray(image) == pixels.squeeze()).all()


def test_floats_booleans_and_channels_that_come_first() -> None:
    floats = numpy.array([[0.0, 0.5], [1.0, float("nan")]], dtype=numpy.float32)
    assert numpy.asarray(opened(floats)).tolist() == [[0, 128], [255, 0]]
    assert numpy.asarray(opened(numpy.array([[True, False]]))).tolist() == [[255, 0]]
    assert numpy.asarray(opened(numpy.array([[0, 255]], dtype=numpy.int64))).tolist() == [[0, 255]]
    first = numpy.zeros((3, 8, 6))
    first[0] = 1
    assert (opened(first).size, opened(first).getpixel((0, 0))) == ((6, 8), (255, 0, 0))


def test_what_is_no_picture_says_why() -> None:
    for content, reason in (
        (numpy.zeros(5), r"shape \(5,\) and type float64 is no picture.*for sound say `rate=`"),
        (numpy.zeros((2, 2, 7)), "is no picture"),
        (numpy.zeros((0, 5)), "is no picture"),
        (numpy.array([[-1.0, 7.5]]), "float64 from -1 to 7.5: scale them"),
        (numpy.array([[0, 4095]]), "from 0 to 4095: scale them"),
        (numpy.array([["a"]]), "type <U1 is no picture"),
    ):
        with pytest.raises(ValueError, match=reason):
            array.png(content)


@pytest.mark.parametrize("shape", [(800,), (800, 2), (2, 800)])
def test_sound(shape: tuple[int, ...]) -> None:
    samples = numpy.full(shape, 0.5)
    event = preview.event(samples, rate=16_000, limit=LIMIT)
    assert event.mime == "audio/wav"
    with wave.open(io.BytesIO(array.wav(samples, 16_000))) as file:
        assert (file.getframerate(), file.getnframes(), file.getnchannels()) == (16_000, 800, len(shape))
        assert numpy.frombuffer(file.readframes(1), "<i2").tolist() == [16384] * len(shape)
    with pytest.raises(ValueError, match="int16; these are int64"):
        array.wav(numpy.zeros(8, dtype=numpy.int64), 8000)


def test_a_tensor_is_an_array() -> None:
    class Tensor:
        dtype, ndim, shape = "float32", 2, (2, 2)

        def detach(self) -> Tensor:
            return self

        def cpu(self) -> Any:
            return numpy.ones((2, 2))

        def __array__(self) -> Any:
            raise TypeError("Can't call numpy() on Tensor that requires grad")

    assert preview.event(Tensor(), limit=LIMIT).mime == "image/png"


def test_in_a_task() -> None:
    with task("Pictures") as t:
        t.preview(numpy.zeros((4, 4)), key="image")
        t.preview(numpy.zeros(400), key="sound", rate=8000)
    assert [shown.mime for shown in t.snapshot.previews] == ["image/png", "audio/wav"]
