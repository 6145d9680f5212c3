import base64
import io

import numpy as np
import pytest
from PIL import Image

from registry.example import MalformedExample
from registry.replay.pictures import load_images


def encoded(image, **options):
    stream = io.BytesIO()
    image.save(stream, **{"format": "PNG", **options})
    return stream.getvalue()


RED = Image.new("RGB", (40, 20), "red")
DATA_URI = f"data:image/png;base64,{base64.b64encode(encoded(RED)).decode()}"


@pytest.mark.parametrize(
    "form",
    [
        "bytes",
        "mapping",
        "path in mapping",
        "path",
        "image",
        "list",
        "array",
        "of a chat",
        "url",
        "nested url",
        "no bytes",
    ],
)
def test_every_form_of_a_picture(form, tmp_path):
    (tmp_path / "red.png").write_bytes(encoded(RED))
    value = {
        "bytes": encoded(RED),
        "mapping": {"bytes": encoded(RED), "path": None},
        "path in mapping": {"bytes": None, "path": str(tmp_path / "red.png")},
        "path": "red.png",
        "image": RED,
        "list": [encoded(RED)],
        "array": np.asarray(RED),
        "of a chat": {"type": "image", "image": "red.png"},
        "url": {"url": DATA_URI},
        "nested url": {"type": "image_url", "image_url": {"url": DATA_URI}},
        "no bytes": {"bytes": b"", "path": "red.png"},
    }[form]
    assert load_images(value, tmp_path) == ((RED,), ((40, 20),))


def test_shrinking_keeps_the_published_size():
    images, sizes = load_images([encoded(RED), encoded(RED.resize((8, 4)))], None, max_side=10)
    assert [image.size for image in images] == [(10, 5), (8, 4)], "smaller ones stay as they are"
    assert sizes == ((40, 20), (8, 4))


@pytest.mark.parametrize("mode", ["L", "P", "1", "CMYK"])
def test_modes_become_rgb(mode):
    assert load_images(RED.convert(mode), None)[0][0].mode == "RGB"


def grey(values, dtype):
    return Image.fromarray(np.array(values, dtype=dtype).reshape(1, -1))


@pytest.mark.parametrize("form", ["PNG", "TIFF", "image"])
def test_grey_of_sixteen_bits_is_scaled(form):
    ramp = grey(np.arange(0, 65_536, 257), np.uint16)
    ((image,), _) = load_images(ramp if form == "image" else encoded(ramp, format=form), None)
    assert [image.getpixel((x, 0)) for x in range(256)] == [(x, x, x) for x in range(256)]


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([0, 65_535, 32_768], np.int32, [0, 255, 128]),
        ([0, 255, 7], np.int32, [0, 255, 7]),
        ([0.0, 1.0, 0.5], np.float32, [0, 255, 128]),
        ([0.0, 255.0, 7.0], np.float32, [0, 255, 7]),
    ],
)
def test_grey_of_numbers(values, dtype, expected):
    ((image,), _) = load_images(encoded(grey(values, dtype), format="TIFF"), None)
    assert [image.getpixel((x, 0))[0] for x in range(3)] == expected


@pytest.mark.parametrize("value", [-1.0, 70_000.0, float("nan")])
def test_numbers_that_are_no_grey(value):
    with pytest.raises(MalformedExample, match="no grey of 16 bits"):
        load_images(encoded(grey([0, value], np.float32), format="TIFF"), None)


@pytest.mark.parametrize("value", [None, [], "", float("nan"), [None], {"bytes": None, "path": None}])
def test_no_picture(value):
    assert load_images(value, None) == ((), ())


def test_bytes_of_base64():
    assert load_images(base64.b64encode(encoded(RED)), None)[0] == (RED,)


def test_transparency_lies_over_white():
    writing = Image.new("RGBA", (3, 1), (0, 0, 0, 0))
    writing.putpixel((1, 0), (0, 0, 0, 255))
    (image,), _ = load_images(encoded(writing), None)
    assert [image.getpixel((x, 0)) for x in range(3)] == [(255,) * 3, (0,) * 3, (255,) * 3]


def test_rotation_noted_by_the_camera_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    images, sizes = load_images(encoded(RED, format="JPEG", exif=exif), None)
    assert images[0].size == sizes[0] == (20, 40)


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ({"format": "png", "size": 3}, "image has the keys format, size: neither bytes nor path nor url"),
        (np.zeros((2, 2, 7)), "image is an array of float64"),
        (b"", "cannot be decoded"),
        (b"\x89PNG\r\n\x1a\n and then nothing", "cannot be decoded"),
        (encoded(Image.effect_noise((64, 64), 50))[:1000], "cannot be decoded"),  # cut off
        ("gone.png", "'gone.png' does not exist in"),
        (7, "image is int"),
    ],
)
def test_refused(value, complaint, tmp_path):
    with pytest.raises(MalformedExample, match=complaint):
        load_images(value, tmp_path)


def test_a_path_needs_a_folder():
    with pytest.raises(MalformedExample, match="set image_root"):
        load_images("red.png", None)


def test_a_picture_that_a_converter_opened_and_nobody_can_decode(tmp_path):
    (tmp_path / "cut.png").write_bytes(encoded(Image.effect_noise((64, 64), 50))[:1000])
    with Image.open(tmp_path / "cut.png") as image, pytest.raises(MalformedExample, match="cannot be decoded"):
        load_images(image, None)
