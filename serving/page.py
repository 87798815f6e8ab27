"""The page of `make chat`: two models side by side on the same message, in Gradio.

It reaches nothing but this machine: the browser is told so (ONLY_HERE), fonts are the system's.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from common import pictures
from common.servers import LOOPBACK, Endpoint, ServeError
from serving.conversation import BASE, TUNED, WHY, Exchange, KeptError, asked, keep, prefer
from serving.talk import Reply, together

SIDES = (BASE, TUNED)
ONLY_HERE = (
    b"default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    b"style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    b"connect-src 'self'; frame-ancestors 'none'"
)
CSS = Path(__file__).with_name("page.css")


class OnlyHere:
    """Tells the browser with every answer to load nothing from elsewhere."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                policy = (b"content-security-policy", ONLY_HERE)
                message["headers"] = [*message["headers"], policy]
            await send(message)

        await self.app(scope, receive, told)


@dataclass(frozen=True)
class Talk:
    """What a page talks about.

    Args:
        title: The recipe's id.
        endpoints: Who answers on each side.
        names: What each side is called.
        persona: The short system prompt; "" where there is none.
        folder: Where rows and pairs are kept.
        max_tokens: Of a reply, to begin with.
    """

    title: str
    endpoints: dict[str, Endpoint]
    names: dict[str, str]
    persona: str
    folder: Path
    max_tokens: int


def show(talk: Talk, port: int) -> str:
    """Show the page on this machine, and return its address. It runs until the process ends.

    Raises ServeError where the port is taken.
    """
    theme = gr.themes.Base(
        primary_hue="teal",
        neutral_hue="stone",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
        text_size="sm",
        spacing_size="sm",
    )
    try:
        _, url, _ = _page(talk).launch(
            server_name=LOOPBACK,
            server_port=port or None,
            prevent_thread_lock=True,
            share=False,
            quiet=True,
            ssr_mode=False,
            run_history=False,
            enable_monitoring=False,
            footer_links=[],
            theme=theme,
            css_paths=CSS,
            app_kwargs={"middleware": [Middleware(OnlyHere)]},
        )
    except OSError:
        raise ServeError(
            f"port {port} is taken by another program; stop it, or give PORT="
        ) from None
    return url


def _page(talk: Talk) -> gr.Blocks:
    """The page's parts, and what happens at each click."""
    with gr.Blocks(title=f"{talk.title}: chat", analytics_enabled=False, fill_width=True) as page:
        exchanges = gr.State([])
        with gr.Row(elem_id="head"):
            gr.Markdown(f"## {talk.title}", elem_id="title")
            fresh = gr.Button("New conversation", size="sm", elem_id="fresh")
        panes: list[Any] = []
        clicks = {}
        with gr.Row(equal_height=True):
            for side in SIDES:
                with gr.Column():
                    panes.append(_pane(side, talk.names[side]))
                    with gr.Row(elem_classes="under"):
                        panes.append(gr.Markdown(elem_id=f"meter-{side}", elem_classes="meter"))
                        clicks[side] = _buttons(side)
        status = gr.Markdown(elem_id="status")
        box = gr.MultimodalTextbox(
            placeholder="Ask both. Pictures can be dropped here.",
            file_types=["image"],
            file_count="multiple",
            show_label=False,
            stop_btn=True,
            autofocus=True,
            elem_id="message",
        )
        with gr.Row(elem_id="settings"):
            persona, budget, why = _settings(talk)
        _wire(talk, exchanges, panes, box, persona, budget, status)
        for side, (kept, better) in clicks.items():
            kept.click(_keeper(talk, side), exchanges, status)
            better.click(_preferrer(talk, side), [exchanges, why], [exchanges, why, status])
        everything = [exchanges, *panes, status]
        fresh.click(lambda: ([], None, "", None, "", ""), None, everything)
    return page


def _pane(side: str, name: str) -> gr.Chatbot:
    return gr.Chatbot(
        label=name,
        height="calc(100vh - 21rem)",
        layout="bubble",
        buttons=["copy"],
        feedback_options=None,
        placeholder=f"### {name}",
        elem_id=f"pane-{side}",
    )


def _buttons(side: str) -> tuple[gr.Button, gr.Button]:
    kept = gr.Button("Keep this answer", size="sm", min_width=130, elem_id=f"keep-{side}")
    better = gr.Button(
        "This one is better", "primary", size="sm", min_width=130, elem_id=f"better-{side}"
    )
    return kept, better


def _settings(talk: Talk) -> tuple[gr.Checkbox, gr.Number, gr.Textbox]:
    persona = gr.Checkbox(
        bool(talk.persona),
        label="Short system prompt",
        info=f"{talk.persona.strip()[:44]} …" if talk.persona else "the dataset has none",
        interactive=bool(talk.persona),
        elem_id="persona",
    )
    budget = gr.Number(
        talk.max_tokens, label="Tokens a reply", minimum=1, precision=0, elem_id="budget"
    )
    why = gr.Textbox(
        label="What is wrong with the other one (goes into the pair)",
        placeholder=WHY,
        elem_id="why",
    )
    return persona, budget, why


def _wire(
    talk: Talk,
    exchanges: gr.State,
    panes: list[Any],
    box: gr.MultimodalTextbox,
    persona: gr.Checkbox,
    budget: gr.Number,
    status: gr.Markdown,
) -> None:
    """Sending a message, and stopping the replies."""

    def send(
        message: dict, past: list[Exchange], with_persona: bool, tokens: int
    ) -> Iterator[tuple[Any, ...]]:
        files = message["files"]
        if not message["text"].strip() and not files:
            raise gr.Error("Write something, or drop a picture.", print_exception=False)
        try:
            shown = tuple(pictures.png(pictures.decode(Path(file))) for file in files)
        except pictures.PictureError as error:
            raise gr.Error(str(error), print_exception=False) from None
        past = [exchange for exchange in past if exchange.reply(exchange.chosen).answer]
        system = talk.persona if with_persona else ""
        exchange = Exchange(message["text"].strip(), shown, tuple(files), system)
        messages = asked([*past, exchange])
        questions = {side: (endpoint, messages) for side, endpoint in talk.endpoints.items()}
        waiting = gr.MultimodalTextbox(value=None, interactive=False)
        now = [*past, exchange]
        for replies in together(questions, int(tokens)):
            now = [*past, replace(exchange, replies=replies)]
            yield now, *_shown(now), waiting, ""
        yield now, *_shown(now), gr.MultimodalTextbox(interactive=True), ""

    sending = box.submit(
        send,
        [box, exchanges, persona, budget],
        [exchanges, *panes, box, status],
        show_progress="hidden",
    )
    box.stop(lambda: gr.MultimodalTextbox(interactive=True), None, box, cancels=[sending])


def _shown(exchanges: list[Exchange]) -> list[Any]:
    """Each side's conversation and meter."""
    found: list[Any] = []
    for side in SIDES:
        messages = []
        for number, exchange in enumerate(exchanges, 1):
            last = number == len(exchanges)
            reply = exchange.reply(side if last else exchange.chosen)
            messages += _messages(exchange, reply, "" if last else exchange.chosen)
        found += [messages, _meter(exchanges[-1].reply(side))]
    return found


def _messages(exchange: Exchange, reply: Reply, chosen: str) -> list[dict]:
    """An exchange as Gradio shows it: pictures, message, folded reasoning, answer.

    `chosen` names the side on whose answer an earlier exchange went on.
    """
    messages: list[dict] = [{"role": "user", "content": {"path": path}} for path in exchange.shown]
    if exchange.text:
        messages.append({"role": "user", "content": exchange.text})
    if reply.reasoning:
        words = len(reply.reasoning.split())
        ended = bool(reply.finish or reply.answer or chosen)
        title = f"Reasoning, {words:,} words" + (f", of the {chosen} model" if chosen else "")
        fold = {"title": title, "status": "done" if ended else "pending"}
        messages.append({"role": "assistant", "content": reply.reasoning, "metadata": fold})
    if reply.answer:
        messages.append({"role": "assistant", "content": reply.answer})
    if reply.problem:
        messages.append({"role": "assistant", "content": f"**No reply.** {reply.problem}"})
    return messages


def _meter(reply: Reply) -> str:
    """Tokens, seconds, and how a reply ended."""
    if not reply.finish:
        return f"{reply.seconds:.1f} s …" if reply.first else ""
    tokens = "tokens not reported" if reply.tokens is None else f"{reply.tokens:,} tokens"
    end = "whole" if reply.whole else f"not whole ({reply.finish})"
    return f"{tokens} · {reply.seconds:.1f} s · first after {reply.first:.1f} s · {end}"


def _keeper(talk: Talk, side: str) -> Any:
    def click(exchanges: list[Exchange]) -> str:
        try:
            return keep(talk.folder, _asked_once(exchanges), side)
        except KeptError as error:
            return f"Not kept: {error}."

    return click


def _preferrer(talk: Talk, side: str) -> Any:
    def click(exchanges: list[Exchange], why: str) -> tuple[list[Exchange], str, str]:
        try:
            said = prefer(talk.folder, _asked_once(exchanges), side, why)
        except KeptError as error:
            return exchanges, why, f"Not kept: {error}."
        going_on = [*exchanges[:-1], replace(exchanges[-1], chosen=side)]
        return going_on, "", f"{said}; the conversation goes on with the {side} model's answer"

    return click


def _asked_once(exchanges: list[Exchange]) -> list[Exchange]:
    if not exchanges:
        raise KeptError("nothing was asked yet")
    return exchanges
