"""Pictures as tables hold them -> RGB images."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from registry.example import MalformedExample, Size
from registry.replay.encoded import bytes_in_text


def load_images(
    value: Any, folder: Path | None, max_side: int | None = None
) -> tuple[tuple[Image.Image, ...], tuple[Size, ...]]:
    """The pictures of one row, and their sizes as published.

    Args:
        value: a picture or a list of pictures; each is the bytes of a file, a ``{bytes, path}`` mapping as the Image
            feature of `datasets` stores it or one with ``image`` or ``url`` as chats have it, a path, base64 text, a data URI,
            a PIL image or an array. None, empty text and nan mean
            that there is none: such a row is asked in text alone.
        folder: where relative paths start.
        max_side: a larger picture is shrunk until its longer side has this many pixels; None leaves it as it is.

    Returns:
        RGB images, upright (the rotation that a camera noted is applied, as `datasets` does), with transparency over white
        and 16 bits scaled to 8; and (width, height) of each, upright but before shrinking.

    Raises:
        MalformedExample: a picture that cannot be found or decoded.
    """
    values = value if isinstance(value, list | tuple) else [value]
    images = [_open(value, folder) for value in values if not _is_none(value)]
    sizes = tuple(image.size for image in images)
    if max_side is not None:
        for image in images:
            image.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)  # in place; never enlarges
    return tuple(images), sizes


def _is_none(value: Any) -> bool:
    """Whether a table holds no picture here, as Arrow (null), JSON (null, ""), pandas (nan) and `datasets` write it."""
    if isinstance(value, Mapping):
        return all(_is_none(held) for held in value.values())
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or (isinstance(value, str) and not value)


def _open(value: Any, folder: Path | None) -> Image.Image:
    if isinstance(value, Mapping):
        return _open(_held(value), folder)
    if isinstance(value, np.ndarray):
        value = _of_array(value)
    if isinstance(value, Image.Image):
        try:
            return _as_rgb(value)
        except OSError as error:  # opened by a converter, and decoded only now
            raise MalformedExample(f"image cannot be decoded: {error}") from error
    shown = f"{value[:80]!r}" if isinstance(value, str) else ""
    if isinstance(value, str):
        spelt = bytes_in_text(value)
        value, shown = (value, shown) if spelt is None else (spelt, "")
    file: io.BytesIO | Path
    if isinstance(value, bytes | bytearray):
        file = io.BytesIO(_unwrapped(value))
    elif isinstance(value, str):
        file = _find(value, folder)
    else:
        raise MalformedExample(f"image is {type(value).__name__}, neither bytes nor a path")
    try:
        with Image.open(file) as image:
            return _as_rgb(image)
    except MalformedExample:
        raise
    except Exception as error:  # Pillow's decoders raise whatever they stumble over, from struct.error to SyntaxError
        reason = str(error) if shown else type(error).__name__  # without the address of a buffer
        raise MalformedExample(f"image ({shown or f'{len(value)} bytes'}) cannot be decoded: {reason}") from error


def _held(value: Mapping[str, Any]) -> Any:
    """What a mapping holds, as `datasets`, chat messages and verl's tables spell it. Raises: MalformedExample."""
    for key in ("bytes", "path", "image", "url", "image_url", "file_name", "data"):
        if not _is_none(value.get(key)) and value[key] != b"":
            return value[key]
    raise MalformedExample(f"image has the keys {', '.join(map(str, value))[:80]}: neither bytes nor path nor url")


def _of_array(value: np.ndarray[Any, Any]) -> Image.Image:
    try:
        return Image.fromarray(value)
    except (TypeError, ValueError) as error:
        raise MalformedExample(f"image is an array of {value.dtype} and shape {value.shape}: {error}") from error


def _unwrapped(data: bytes | bytearray) -> bytes:
    """The bytes of a file, which some tables hold as the bytes of its base64 text."""
    raw = bytes(data)
    if not raw.isascii():  # as every file of a picture is
        return raw
    return bytes_in_text(raw.decode("ascii")) or raw


def _find(path: str, folder: Path | None) -> Path:
    if "://" in path[:12]:
        raise MalformedExample(
            f"image {path[:80]!r} is an address: download the pictures first, nothing is fetched here"
        )
    file = Path(path)
    shown = f"{path[:80]!r}"
    if not file.is_absolute():
        if folder is None:
            raise MalformedExample(f"image is a path, {shown}: set image_root to the folder where it starts")
        file = folder / file
    try:
        exists = file.is_file()
    except (OSError, ValueError) as error:  # too long for a name, or a NUL in it: not a path at all
        raise MalformedExample(f"image is text, {shown}, that is neither a path nor a picture in base64") from error
    if not exists:
        raise MalformedExample(f"image {shown} does not exist" + (f" in {folder}" if folder is not None else ""))
    return file


def _as_rgb(image: Image.Image) -> Image.Image:
    image = _eight_bits(ImageOps.exif_transpose(image))
    if image.has_transparency_data:  # black writing on nothing would become black on black
        canvas = Image.new("RGBA", image.size, "white")
        canvas.alpha_composite(image.convert("RGBA"))
        image = canvas
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits, or of numbers, as grey of 8 bits; Pillow itself would cut every value above 255 off.

    Modes I;16* hold 0 to 65,535. Those of numbers (I, F) do not say what is white: 1 where none is larger and they are
    fractions, else 255 or 65,535, the first that suffices.
    """
    if not image.mode.startswith("I") and image.mode != "F":
        return image
    grey = np.asarray(image, dtype=np.float64)
    low, high = float(grey.min()), float(grey.max())
    if image.mode.startswith("I;16"):
        white = 65535.0
    else:
        white = next(
            (white for white in ((1.0,) if image.mode == "F" else ()) + (255.0, 65535.0) if high <= white), 0.0
        )
    if not (low >= 0 and white):
        raise MalformedExample(
            f"image of mode {image.mode} has values from {low:g} to {high:g}, which are no grey of 16 bits"
        )
    return Image.fromarray(np.rint(grey * (255 / white)).astype(np.uint8))
