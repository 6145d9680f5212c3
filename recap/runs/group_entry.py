"""A group of completions as an entry of the queue to MLflow; made off the training thread, as pictures take time."""

from __future__ import annotations

import base64
from dataclasses import asdict
from io import BytesIO
from typing import TYPE_CHECKING, Any

from recap.data.prompts import Prompt
from recap.runs.sampled_groups import SampledGroup
from recap.runs.spill import Entry

if TYPE_CHECKING:
    from PIL.Image import Image

LONG_SIDE = 1024  # pixels: pictures are logged to be looked at


def group_entry(group: SampledGroup, at: int) -> Entry:
    """All that MLflow is told of a group; JSON.

    Args:
        at: when, in milliseconds.
    """
    prompt = group.prompt
    return {
        "group": {
            "step": group.step,
            "at": at,
            "domain": group.domain,
            "example": prompt.example.id,
            "occurrence": prompt.example.occurrence,
            **packed(prompt),
            "prompt_tokens": group.prompt_tokens,
            "weights": dict(group.weights),
            "completions": [asdict(completion) for completion in group.completions],
        }
    }


def packed(prompt: Prompt) -> dict[str, Any]:
    """What was asked, with its pictures, and the reference; JSON."""
    return {
        "question": prompt.text,
        "system": prompt.system,
        "shots": [list(shot) for shot in prompt.shots],
        "pictures": [_png(image) for image in prompt.example.images],
        "reference": prompt.example.answer,
    }


def _png(image: Image) -> str:
    """Base64; a large picture is made smaller."""
    if max(image.size) > LONG_SIDE:
        image = image.copy()
        image.thumbnail((LONG_SIDE, LONG_SIDE))
    file = BytesIO()
    (image if image.mode in ("1", "L", "P", "RGB", "RGBA") else image.convert("RGB")).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
