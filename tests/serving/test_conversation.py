"""What both models are asked, what of a conversation is kept, and what is refused."""

import json

import pytest

from common import chat, rows
from serving.conversation import BASE, TUNED, Exchange, KeptError, asked, keep, prefer
from serving.talk import Reply

WHOLE = Reply(f"{chat.compose('So.', 'Therefore.')}\n<|end|>\n", tokens=9, finish="stop")
SPLIT = Reply(
    "Thus.", thought="Because.", finish="stop"
)  # as a server gives it that takes it apart
CUT = Reply(f"{chat.REASONING}\nSo", finish="length")


def exchange(text="Why?", base=WHOLE, tuned=SPLIT, **others):
    return Exchange(text, replies={BASE: base, TUNED: tuned}, **others)


def lines(folder, name):
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def test_a_reply_reads_the_same_whoever_takes_it_apart():
    assert (WHOLE.reasoning, WHOLE.answer, WHOLE.whole) == ("So.", "Therefore.", True)
    assert (SPLIT.reasoning, SPLIT.answer, SPLIT.whole) == ("Because.", "Thus.", True)
    assert WHOLE.written == chat.compose("So.", "Therefore.")
    assert (CUT.reasoning, CUT.answer, CUT.whole) == ("So", "", False)
    half = Reply("", thought="Becau", finish="length")
    assert not half.whole and half.written == f"{chat.REASONING}\nBecau"


def test_both_are_asked_the_same_with_the_chosen_answers_alone():
    past = [exchange("One?"), exchange("Two?", chosen=BASE)]
    messages = asked([*past, Exchange("Three?", pictures=(b"png",), system="Be kind.")])
    assert [m["role"] for m in messages] == [
        "system", "user", "assistant", "user", "assistant", "user",
    ]  # fmt: skip
    assert [m["content"] for m in messages if m["role"] != "user"] == [
        "Be kind.", "Thus.", "Therefore.",
    ]  # fmt: skip
    assert [part["type"] for part in messages[-1]["content"]] == ["image_url", "text"]


def test_a_row_and_a_pair_keep_the_contract_and_stand_once(tmp_path):
    talk = [exchange("One?", system="S"), exchange("Two?", base=CUT, system="S")]
    assert keep(tmp_path, talk, TUNED).endswith("1 in all")
    assert keep(tmp_path, talk, TUNED).startswith("kept before")
    prefer(tmp_path, talk, TUNED, " Wrong. ")
    [row] = lines(tmp_path, "rows.jsonl")
    [pair] = lines(tmp_path, "pairs.jsonl")
    for kept in (row, pair):
        rows.check(kept)
        assert rows.text_of(kept["messages"][-1]) == chat.compose("Because.", "Thus.")
        assert [m.get("weight") for m in kept["messages"]] == [None, None, 0, None, 1]
    assert pair["rejected"] == {"content": [{"type": "text", "text": CUT.written}], "why": "Wrong."}


@pytest.mark.parametrize(
    ("talk", "side", "problem"),
    [
        (exchange(tuned=CUT), TUNED, "it ended with 'length'"),
        (exchange(tuned=Reply(problem="HTTP 500: no")), TUNED, "HTTP 500: no"),
        (exchange(tuned=Reply("Here")), TUNED, "it has not ended"),
        (exchange("What is [IMG]?"), TUNED, r"a message contains \[IMG\]"),
        (exchange(base=Reply()), TUNED, "nothing that this is better than"),
        (exchange(base=SPLIT), TUNED, "the same"),
    ],
)
def test_what_cannot_be_kept_is_told_and_nothing_is_written(tmp_path, talk, side, problem):
    with pytest.raises(KeptError, match=problem):
        prefer(tmp_path, [talk], side, "")
    assert not list(tmp_path.iterdir())
