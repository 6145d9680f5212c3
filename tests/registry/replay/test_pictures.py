import io

import pytest
from PIL import Image

from registry.example import MalformedExample
from registry.replay.pictures import load_images


def encoded(image, **options):
    stream = io.BytesIO()
    image.save(stream, **{"format": "PNG", **options})
    return stream.getvalue()


RED = Image.new("RGB", (40, 20), "red")


@pytest.mark.parametrize("form", ["bytes", "mapping", "path in mapping", "path", "image", "list"])
def test_every_form_of_a_picture(form, tmp_path):
    (tmp_path / "red.png").write_bytes(encoded(RED))
    value = {
        "bytes": encoded(RED),
        "mapping": {"bytes": encoded(RED), "path": None},
        "path in mapping": {"bytes": None, "path": str(tmp_path / "red.png")},
        "path": "red.png",
        "image": RED,
        "list": [encoded(RED)],
    }[form]
    images, file_size = load_images(value, tmp_path)
    assert images == (RED,)
    assert file_size == (40, 20)


def test_shrinking_keeps_the_published_size():
    images, file_size = load_images([encoded(RED), encoded(RED.resize((8, 4)))], None, max_side=10)
    assert [image.size for image in images] == [(10, 5), (8, 4)], "smaller ones stay as they are"
    assert file_size == (40, 20)


@pytest.mark.parametrize("mode", ["L", "P", "1", "CMYK"])
def test_modes_become_rgb(mode):
    assert load_images(RED.convert(mode), None)[0][0].mode == "RGB"


def test_transparency_lies_over_white():
    writing = Image.new("RGBA", (3, 1), (0, 0, 0, 0))
    writing.putpixel((1, 0), (0, 0, 0, 255))
    (image,), _ = load_images(encoded(writing), None)
    assert [image.getpixel((x, 0)) for x in range(3)] == [(255,) * 3, (0,) * 3, (255,) * 3]


def test_rotation_noted_by_the_camera_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    images, file_size = load_images(encoded(RED, format="JPEG", exif=exif), None)
    assert images[0].size == file_size == (20, 40)


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (None, "image is NoneType"),
        ([], "empty list"),
        (b"", "cannot be decoded"),
        (b"\x89PNG\r\n\x1a\n and then nothing", "cannot be decoded"),
        (encoded(Image.effect_noise((64, 64), 50))[:1000], "cannot be decoded"),  # cut off
        ({"bytes": None, "path": None}, "image is NoneType"),
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
