"""Pictures written as text: base64, and data URIs."""

from __future__ import annotations

import base64
import binascii
import io
import re
import urllib.parse

from PIL import Image, UnidentifiedImageError

from registry.example import MalformedExample

SHORTEST = 32
"""Characters: no picture has fewer bytes than these say, and few names of files have as many without a dot."""

BASE64 = re.compile(r"[A-Za-z0-9+/_\s-]+={0,2}\s*")
"""Both alphabets: that of MIME, with line breaks, and that of addresses."""


def bytes_in_text(text: str) -> bytes | None:
    """The bytes of a picture's file that `text` spells out; None where it spells no picture: a path, most likely.

    >>> bytes_in_text("data:image/gif;base64,R0lGODlhAQABAAAAACw=")
    b'GIF89a\\x01\\x00\\x01\\x00\\x00\\x00\\x00,'
    >>> bytes_in_text("coco/train2014/COCO_train2014_000000000009.jpg")

    Raises:
        MalformedExample: a data URI that does not hold what it says.
    """
    if text[:5].lower() == "data:":
        return _from_uri(text)
    if len(text) < SHORTEST or not BASE64.fullmatch(text):
        return None
    try:
        data = _decode(text)
    except (ValueError, binascii.Error):
        return None
    return data if _begins_a_picture(data) else None


def _from_uri(uri: str) -> bytes:
    """RFC 2397: ``data:[type][;base64],content``."""
    head, comma, content = uri.partition(",")
    if not comma:
        raise MalformedExample(f"image is a data URI without content: {uri[:40]!r}")
    content = urllib.parse.unquote_to_bytes(content).decode("latin-1")
    if not head.lower().endswith(";base64"):
        return content.encode("latin-1")
    try:
        return _decode(content)
    except (ValueError, binascii.Error) as error:
        raise MalformedExample(f"image is a data URI ({head[:40]}) that is not base64: {error}") from error


def _decode(text: str) -> bytes:
    plain = re.sub(r"\s", "", text).rstrip("=").replace("-", "+").replace("_", "/")
    return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)


def _begins_a_picture(data: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(data)):
            return True
    except UnidentifiedImageError:
        return False
    except Exception:  # a picture that Pillow knows, and a damaged one: whoever decodes it says so
        return True
