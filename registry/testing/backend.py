"""What every model backend promises, as functions for tests.

>>> check_backend(lambda: MyBackend("some/model"))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from registry.example import Example

if TYPE_CHECKING:
    from torch import Tensor

    from registry.backends.base import Backend, LoadedModel

Factory = Callable[[], "Backend"]

TEXTS = ("how many?", "7+8=?", "what is to be seen in this picture, and how many of them are there?")
"""Prompts of several lengths, so that some are padded."""


def check_backend(make: Factory, texts: Sequence[str] = TEXTS, tolerance: float = 2e-3) -> None:
    """All properties, for the backends that `make` builds with the same parameters each time.

    Loads the model twice, on the CPU.

    Args:
        make: builds a backend; it should be of a small model.
        texts: prompts of several lengths, of characters that its tokenizer knows.
        tolerance: by how much logits may differ between two ways to the same one.
    """
    backend = make()
    assert_cheap_answers(backend)
    loaded = backend.load()
    assert_agrees_with_what_was_said(backend, loaded)
    assert_special_tokens(loaded)
    assert_chat(loaded, texts)
    assert_completions_round_trip(loaded, texts)
    assert_padding_changes_nothing(loaded, texts, tolerance)
    assert_positions_continue(loaded, texts, tolerance)
    assert_pictures(loaded, texts, tolerance)
    assert_same_weights(loaded, make().load())


def assert_cheap_answers(backend: Backend) -> None:
    """What `recap check` asks before anything is loaded is answered, and the same twice."""
    backend.check()
    for ask in (lambda: backend.sees_images, lambda: backend.weights_dtype, backend.weights_files):
        assert ask() == ask(), "an answer changes from call to call"
    missing = [file for file in backend.weights_files() if not file.is_file()]
    assert not missing, f"weights_files names {missing}, which are not there"


def assert_agrees_with_what_was_said(backend: Backend, loaded: LoadedModel) -> None:
    """`sees_images`, `weights_dtype` and `configuration` say of the model what it is once loaded; where they say anything."""
    assert backend.sees_images in (None, loaded.sees_images), "sees_images is not what the processor says"
    dtypes = {str(parameter.dtype).removeprefix("torch.") for parameter in loaded.model.parameters()}
    assert backend.weights_dtype in (None, *dtypes), (
        f"weights_dtype is {backend.weights_dtype}, the weights are {dtypes}"
    )
    said = backend.configuration()
    if said is not None:
        sizes = [(c.get_text_config().hidden_size, c.get_text_config().vocab_size) for c in (said, loaded.model.config)]
        assert sizes[0] == sizes[1], f"configuration() has hidden and vocabulary size {sizes[0]}, the model {sizes[1]}"
    assert loaded.description, "description is empty"


def assert_same_weights(loaded: LoadedModel, again: LoadedModel) -> None:
    """Two processes that load it have the same weights."""
    other = dict(again.model.named_parameters())
    for name, parameter in loaded.model.named_parameters():
        assert name in other, f"{name} is not there the second time"
        assert bool((parameter == other[name]).all()), f"{name} differs from one load to the next"


def assert_special_tokens(loaded: LoadedModel) -> None:
    """Its end, padding and forbidden tokens are tokens of its vocabulary, and no end is forbidden."""
    vocabulary = loaded.model.get_input_embeddings().weight.shape[0]
    assert loaded.eos_token_ids, "no end token: no completion would ever end"
    for index in (*loaded.eos_token_ids, *loaded.forbidden_token_ids, loaded.pad_token_id):
        assert 0 <= index < vocabulary, f"token {index} is outside the vocabulary of {vocabulary}"
    assert not set(loaded.eos_token_ids) & set(loaded.forbidden_token_ids), "an end token is forbidden"


def assert_chat(loaded: LoadedModel, texts: Sequence[str]) -> None:
    """The prompt stands in the chat as it is, and two prompts make two chats."""
    for text in texts:
        assert text in loaded.chat(text, 0), f"the prompt {text!r} is not in its chat {loaded.chat(text, 0)!r}"
    assert len({loaded.chat(text, 0) for text in texts}) == len(set(texts))


def assert_completions_round_trip(loaded: LoadedModel, texts: Sequence[str]) -> None:
    """A completion to imitate decodes to its text, and ends with an end token, once."""
    for text, ids in zip(texts, loaded.encode_completions(texts), strict=True):
        assert ids[-1] in loaded.eos_token_ids, f"{text!r} does not end with an end token"
        assert not set(ids[:-1]) & set(loaded.eos_token_ids), f"{text!r} ends before its end"
        decoded = loaded.decode([ids])[0]
        assert decoded == text, f"{text!r} comes back as {decoded!r}"


def assert_padding_changes_nothing(loaded: LoadedModel, texts: Sequence[str], tolerance: float) -> None:
    """Prompts are padded on the left, and each says the same alone and in a batch."""
    together = _last_logits(loaded, texts, [_example(text) for text in texts])
    for row, text in enumerate(texts):
        alone = _last_logits(loaded, [text], [_example(text)])[0]
        gap = float((together[row] - alone).abs().max())
        assert gap <= tolerance, f"the logits behind {text!r} differ by {gap:.2g} in a batch: padding or positions"


def assert_positions_continue(loaded: LoadedModel, texts: Sequence[str], tolerance: float) -> None:
    """`next_position` is where a completion goes on: a token behind a cached prompt says what the model says by itself."""
    import torch

    token = torch.tensor([loaded.encode_completions(texts[:1])[0][:1]])
    for text in texts:
        prompt = loaded.encode([text], [_example(text)], torch.device("cpu"))
        mask = torch.cat([prompt.attention_mask, torch.ones_like(token)], 1)
        position = prompt.next_position[:, None].expand(*prompt.position_ids.shape[:-1], 1)
        with torch.no_grad():
            model = loaded.model.eval()
            cached = model(**prompt.inputs, position_ids=prompt.position_ids, use_cache=True).past_key_values
            step = model(input_ids=token, attention_mask=mask, position_ids=position, past_key_values=cached).logits
            own = model(input_ids=torch.cat([prompt.inputs["input_ids"], token], 1), attention_mask=mask).logits
        gap = float((step[:, -1] - own[:, -1]).abs().max())
        assert gap <= tolerance, (
            f"a token behind the cached prompt {text!r} differs by {gap:.2g} from the whole at once"
        )


def assert_pictures(loaded: LoadedModel, texts: Sequence[str], tolerance: float) -> None:
    """A model that sees tells pictures apart and knows their size; one that does not, refuses them."""
    import torch
    from PIL import Image

    red, blue = (_example(texts[0], Image.new("RGB", (60, 40), colour)) for colour in ("red", "blue"))
    if not loaded.sees_images:
        refusal = _refusal(loaded, texts[0], red)
        assert refusal is not None, "a model that does not see took a picture without a word"
        assert red.id in refusal, f"the refusal does not name the example {red.id!r}: {refusal}"
        return
    encoded = loaded.encode([texts[0]] * 2, [red, _example(texts[0])], torch.device("cpu"))
    sizes = encoded.processed_sizes
    assert len(sizes) == 2, f"processed_sizes has {len(sizes)} entries for 2 prompts"
    assert sizes[1] is None, "a prompt without picture has a processed size"
    assert sizes[0] is None or min(sizes[0]) > 0
    logits = _last_logits(loaded, [texts[0]] * 2, [red, blue])
    assert float((logits[0] - logits[1]).abs().max()) > tolerance, "a red and a blue picture say the same"


def _example(text: str, *images: object) -> Example:
    return Example(id=f"check/{text[:20]}", question=text, answer="1", images=images)  # type: ignore[arg-type]


def _refusal(loaded: LoadedModel, text: str, example: Example) -> str | None:
    import torch

    try:
        loaded.encode([text], [example], torch.device("cpu"))
    except ValueError as error:
        return str(error)
    return None


def _last_logits(loaded: LoadedModel, texts: Sequence[str], examples: Sequence[Example]) -> Tensor:
    """[P, V], of the token that follows each prompt."""
    import torch

    prompts = loaded.encode(texts, examples, torch.device("cpu"))
    with torch.no_grad():
        logits: Tensor = loaded.model.eval()(**prompts.inputs, position_ids=prompts.position_ids).logits[:, -1]
    return logits
