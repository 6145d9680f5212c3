"""What a model is asked, as messages."""

from __future__ import annotations

from registry.chat import Chat, with_pictures, without_template

A, B = {"type": "image", "image": "a"}, {"type": "image", "image": "b"}


def text(of: str) -> dict[str, str]:
    return {"type": "text", "text": of}


def test_a_question_alone_is_one_turn() -> None:
    assert Chat("1+1=?").messages([], in_parts=False) == [{"role": "user", "content": "1+1=?"}]
    assert Chat("1+1=?").messages([], in_parts=True) == [{"role": "user", "content": [text("1+1=?")]}]


def test_system_prompt_and_shots_come_before_it() -> None:
    chat = Chat("3+3=?", system="Be brief.", shots=(("1+1=?", "2"), ("2+2=?", "4")))
    assert chat.messages([], in_parts=False) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "1+1=?"},
        {"role": "assistant", "content": "2"},
        {"role": "user", "content": "2+2=?"},
        {"role": "assistant", "content": "4"},
        {"role": "user", "content": "3+3=?"},
    ]
    assert chat.texts == ["Be brief.", "1+1=?", "2", "2+2=?", "4", "3+3=?"]


def test_pictures_stand_where_their_markers_are() -> None:
    assert with_pictures("Is <image> left of <image>?", [A, B]) == [text("Is "), A, text(" left of "), B, text("?")]
    assert with_pictures("<image><image>", [A, B]) == [A, B]


def test_pictures_come_first_where_markers_and_pictures_are_not_as_many() -> None:
    for asked in ("Which?", "Is <image> it?", "<image> <image> <image>", ""):
        assert with_pictures(asked, [A, B]) == [A, B, text(asked)]
    assert with_pictures("What does <image> mean in HTML?", []) == [text("What does <image> mean in HTML?")]


def test_markers_of_shots_are_text() -> None:
    chat = Chat("<image>?", shots=(("<image>", "a tag"),))
    shot, answer, asked = (message["content"] for message in chat.messages([A], in_parts=True))
    assert (shot, answer, asked) == ([text("<image>")], [text("a tag")], [A, text("?")])


def test_without_a_chat_format() -> None:
    chat = Chat("Q: 3+3\nA:", system="Sums.", shots=(("Q: 1+1\nA:", " 2"),))
    assert without_template(chat.messages([], in_parts=False)) == "Sums.\n\nQ: 1+1\nA: 2\n\nQ: 3+3\nA:"
    assert without_template(Chat("1+1=?").messages([], in_parts=False)) == "1+1=?"
