"""Any causal or image-text-to-text model that transformers loads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry import model_backends
from registry.backends.base import Backend, LoadedModel, weights_in
from registry.backends.pixels import limit_pixels
from registry.shipped import shipped_root

if TYPE_CHECKING:
    from transformers import PretrainedConfig

CONFIGS = shipped_root() / "experiments" / "models" / "configs"


@model_backends.register("huggingface")
class HuggingFace(Backend):
    """A causal LM or image-text-to-text model from the Hugging Face Hub or a local directory.

    Args:
        path: Hub id or directory, e.g. ``Qwen/Qwen2.5-VL-7B-Instruct``.
        revision: branch, tag or commit on the Hub.
        dtype: of the weights: 'float32', 'bfloat16' or 'auto' (as published, mostly bfloat16). Weights that are trained want
            float32, whatever precision the arithmetic has: in bfloat16, of 8 bits, a step of Adam at 1e-6 is rounded away.
            Frozen ones are held in the precision of the arithmetic anyway (`train.mixed_precision`); under an adapter 'auto'
            spares the memory for loading them.
        attention: 'sdpa', 'flash_attention_2', 'eager'; None leaves the choice to transformers.
        max_pixels: pixels that an image is shrunk to (the paper: 401,408), an error with a processor that knows no such
            limit; None: the processor's own limit.
        freeze_vision: whether the vision tower stays as it is (the paper trains it).
    """

    def __init__(
        self,
        path: str,
        revision: str | None = None,
        dtype: str = "float32",
        attention: str | None = None,
        max_pixels: int | None = None,
        freeze_vision: bool = False,
    ) -> None:
        if not path:
            raise ValueError("backends.huggingface.path is empty: give a Hub id or a directory")
        if dtype not in ("auto", "float32", "bfloat16"):
            raise ValueError(f"backends.huggingface.dtype must be 'auto', 'float32' or 'bfloat16'; it is {dtype!r}")
        self.path = path
        self.revision = revision
        self.dtype = dtype
        self.attention = attention
        self.max_pixels = max_pixels
        self.freeze_vision = freeze_vision

    @property
    def sees_images(self) -> bool | None:
        return None

    @property
    def weights_dtype(self) -> str | None:
        if self.dtype != "auto":
            return self.dtype
        declared = getattr(self.configuration(), "dtype", None)
        return None if declared is None else str(declared).removeprefix("torch.")

    def weights_files(self) -> list[Path]:
        directory = Path(self.path).expanduser()
        return weights_in(directory) if directory.is_dir() else []

    def check(self) -> None:
        looks_local = self.path.startswith((".", "/", "~")) or self.path.count("/") > 1
        if looks_local and not (Path(self.path).expanduser() / "config.json").is_file():
            raise ValueError(f"backends.huggingface.path: no model directory {self.path!r} (no config.json in it)")

    def at_hand(self) -> bool | None:
        from huggingface_hub import snapshot_download
        from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME, WEIGHTS_INDEX_NAME, WEIGHTS_NAME

        folder = Path(self.path).expanduser()
        if not folder.is_dir():
            try:
                folder = Path(snapshot_download(self.path, revision=self.revision, local_files_only=True))
            except (OSError, ValueError):  # nothing of it is in the cache
                return False
        for index in (SAFE_WEIGHTS_INDEX_NAME, WEIGHTS_INDEX_NAME):
            if (folder / index).is_file():  # of weights in several files
                files = json.loads((folder / index).read_text())["weight_map"].values()
                return all((folder / name).is_file() for name in files)
        return any((folder / name).is_file() for name in (SAFE_WEIGHTS_NAME, WEIGHTS_NAME))

    def configuration(self) -> PretrainedConfig | None:
        """From the directory, or what the Hub has left in the local cache, or a file of `experiments/models/configs/`."""
        from transformers import AutoConfig

        path = Path(self.path).expanduser()
        try:
            return AutoConfig.from_pretrained(
                str(path) if path.is_dir() else self.path, revision=self.revision, local_files_only=True
            )
        except (OSError, ValueError):
            known = CONFIGS / f"{path.name}.json"
            return AutoConfig.for_model(**json.loads(known.read_text())) if known.is_file() else None

    def tokenizer(self) -> Any:
        """From the directory, or what the Hub has left in the local cache."""
        from transformers import AutoTokenizer

        path = Path(self.path).expanduser()
        try:
            where = str(path) if path.is_dir() else self.path
            return AutoTokenizer.from_pretrained(where, revision=self.revision, local_files_only=True)
        except Exception:  # not here, or one that only its own processor can open
            return None

    def load(self) -> LoadedModel:
        import transformers

        self.check()
        path = str(Path(self.path).expanduser()) if Path(self.path).expanduser().is_dir() else self.path
        try:
            config = transformers.AutoConfig.from_pretrained(path, revision=self.revision)
        except OSError as error:
            raise ValueError(f"backends.huggingface.path: cannot load {self.path!r}: {error}") from error
        sees = type(config) in transformers.AutoModelForImageTextToText._model_mapping
        kind = transformers.AutoModelForImageTextToText if sees else transformers.AutoModelForCausalLM
        options: dict[str, Any] = {"revision": self.revision, "dtype": self.dtype}
        if self.attention:
            options["attn_implementation"] = self.attention
        model = kind.from_pretrained(path, **options)
        processor = _load_processor(path, self.revision) if sees else _load_tokenizer(path, self.revision)
        if self.max_pixels is not None and hasattr(processor, "image_processor"):
            limit_pixels(processor.image_processor, self.max_pixels)
        if self.freeze_vision:
            _freeze_vision(model)
        return LoadedModel(model, processor, self.path, max_pixels=self.max_pixels if sees else None)


def _load_tokenizer(path: str, revision: str | None) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(path, revision=revision)


def _load_processor(path: str, revision: str | None) -> Any:
    """The checkpoint's processor; a model saved from the built-in tiny one has a processor of its own."""
    from transformers import AutoProcessor

    from registry.backends.tiny_processor import TinyProcessor

    if TinyProcessor.wrote(path):
        return TinyProcessor.from_pretrained(path)
    try:
        return AutoProcessor.from_pretrained(path, revision=revision)
    except ImportError as error:
        raise ValueError(
            f"the processor of {path!r} needs a package that is missing ({error});"
            ' for real vision-language checkpoints: pip install "recap-rlvr[vision]"'
        ) from error


def _freeze_vision(model: Any) -> None:
    visual = getattr(model.base_model, "visual", None) or getattr(model.base_model, "vision_tower", None)
    if visual is None:
        raise ValueError("backends.huggingface.freeze_vision: this model has no vision tower that could be found")
    visual.requires_grad_(False)
