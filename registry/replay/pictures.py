"""Pictures as tables hold them -> RGB images."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from registry.example import MalformedExample, Size


def load_images(value: Any, folder: Path | None, max_side: int | None = None) -> tuple[tuple[Image.Image, ...], Size]:
    """The pictures of one row, and the size of the first as published.

    Args:
        value: a picture or a list of pictures; each is the bytes of a file, a ``{bytes, path}`` mapping as the Image
            feature of `datasets` stores it, a path, or a PIL image.
        folder: where relative paths start.
        max_side: a larger picture is shrunk until its longer side has this many pixels; None leaves it as it is.

    Returns:
        RGB images, upright (the rotation that a camera noted is applied, as `datasets` does) and with transparency over
        white; and (width, height) of the first, upright but before shrinking.

    Raises:
        MalformedExample: no picture, or one that cannot be found or decoded.
    """
    values = value if isinstance(value, list | tuple) else [value]
    if not values:
        raise MalformedExample("image is an empty list")
    images = [_open(value, folder) for value in values]
    file_size = images[0].size
    if max_side is not None:
        for image in images:
            image.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)  # in place; never enlarges
    return tuple(images), file_size


def _open(value: Any, folder: Path | None) -> Image.Image:
    if isinstance(value, Image.Image):
        return _as_rgb(value)
    if isinstance(value, Mapping):
        value = value["bytes"] if value.get("bytes") is not None else value.get("path")
    file: io.BytesIO | Path
    if isinstance(value, bytes):
        file = io.BytesIO(value)
    elif isinstance(value, str):
        file = _find(value, folder)
    else:
        raise MalformedExample(f"image is {type(value).__name__}, neither bytes nor a path")
    try:
        with Image.open(file) as image:
            return _as_rgb(image)
    except Exception as error:  # Pillow's decoders raise whatever they stumble over, from struct.error to SyntaxError
        shown = value if isinstance(value, str) else f"{len(value)} bytes"
        reason = str(error) if isinstance(value, str) else type(error).__name__  # without the address of a buffer
        raise MalformedExample(f"image ({shown}) cannot be decoded: {reason}") from error


def _find(path: str, folder: Path | None) -> Path:
    file = Path(path)
    if not file.is_absolute():
        if folder is None:
            raise MalformedExample(f"image is a path, {path!r}: set image_root to the folder where it starts")
        file = folder / file
    if not file.is_file():
        raise MalformedExample(f"image {path!r} does not exist" + (f" in {folder}" if folder is not None else ""))
    return file


def _as_rgb(image: Image.Image) -> Image.Image:
    image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:  # black writing on nothing would become black on black
        canvas = Image.new("RGBA", image.size, "white")
        canvas.alpha_composite(image.convert("RGBA"))
        image = canvas
    return image.convert("RGB")
