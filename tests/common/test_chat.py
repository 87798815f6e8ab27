"""Replies composed and taken apart, also damaged ones."""

import pytest

from common import chat, facts

COMPOSED = (
    "Here are my reasoning steps:\nA.\n\nB.\n[BEGIN FINAL RESPONSE]\nC.\n[END FINAL RESPONSE]"
)


def test_compose_and_split_are_inverse():
    assert chat.compose("A.\n\nB.", "C.") == COMPOSED
    assert chat.split(COMPOSED) == chat.Reply(chat.COMPLETE, "A.\n\nB.", "C.")
    assert chat.split(COMPOSED + "\n<|end|>\n</s>") == chat.Reply(chat.COMPLETE, "A.\n\nB.", "C.")
    assert chat.final_only(COMPOSED) == "C." and chat.final_only("plain") == "plain"


@pytest.mark.parametrize(
    ("reasoning", "answer"),
    [("", "x"), ("x", " \n"), ("x [IMG]", "y"), ("x", "<|end|>"), (chat.BEGIN_FINAL, "y")],
)
def test_compose_refuses_what_could_not_be_split_back(reasoning, answer):
    with pytest.raises(ValueError):
        chat.compose(reasoning, answer)


@pytest.mark.parametrize(
    ("text", "status", "answer", "problem"),
    [
        ("", chat.UNANSWERED, None, "does not begin"),
        ("Here are my reasoning steps:\nonly this", chat.UNANSWERED, None, None),
        (
            "Here are my reasoning steps:\nA\n[BEGIN FINAL RESPONSE]\nhalf an ans",
            chat.TRUNCATED,
            "half an ans",
            None,
        ),
        (
            "A\n[BEGIN FINAL RESPONSE]\nB\n[END FINAL RESPONSE]",
            chat.COMPLETE,
            "B",
            "does not begin",
        ),
        (COMPOSED + COMPOSED.replace("C.", "D."), chat.COMPLETE, "D.", "more than one"),
        (COMPOSED + " and more", chat.COMPLETE, "C.", "text after"),
        ("[END FINAL RESPONSE] x [BEGIN FINAL RESPONSE]y", chat.TRUNCATED, "y", "ends before"),
        (COMPOSED + "\n<|end|>\n<|user|>\nhi", chat.COMPLETE, "C.", "goes on after"),
        (
            f"{chat.REASONING}\nx{chat.BEGIN_FINAL}  {chat.END_FINAL}",
            chat.COMPLETE,
            "",
            "empty final",
        ),
    ],
)
def test_split_damaged(text, status, answer, problem):
    reply = chat.split(text)
    assert (reply.status, reply.answer) == (status, answer)
    assert problem is None or any(problem in p for p in reply.problems), reply.problems


def test_split_is_linear_on_degenerate_replies():
    reply = chat.split("[BEGIN FINAL RESPONSE]" * 50_000)
    assert reply.status == chat.TRUNCATED and "more than one final response" in reply.problems


def test_facts_agree_with_the_published_size():
    assert round(facts.APRIEL_15B.parameters / 1e9, 2) == 14.86
    assert facts.image_tokens(1024, 1024) == 4160  # 64 rows of 64 patches and a break
    assert facts.image_tokens(2048, 512) == 16 * 65  # scaled to 1024 x 256
    assert facts.image_tokens(1, 1) == 2
