"""An OpenAI-compatible server that answers at once: python stand_in.py PORT

Its replies tell what it was asked, in the chat format of the model, piece by piece. "cut" in a
message gets a reply that ends in its reasoning.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from common import chat


def reply_to(body: dict) -> tuple[str, str]:
    """(text, finish_reason) of the reply to a request."""
    messages = body["messages"]
    last = messages[-1]["content"]
    texts = [part["text"] for part in last if part["type"] == "text"]
    pictures = sum(part["type"] == "image_url" for part in last)
    persona = "with" if messages[0]["role"] == "system" else "without"
    earlier = [m["content"] for m in messages if m["role"] == "assistant"]
    reasoning = f"I am {body['model']}.\nIt asks: {' '.join(texts)}"
    if "cut" in " ".join(texts):
        return f"{chat.REASONING}\n{reasoning}", "length"
    answer = f"{body['model']}: {pictures} pictures, {persona} a prompt, earlier {earlier}"
    return f"{chat.compose(reasoning, answer)}\n{chat.END_OF_TURN}\n", "stop"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        self._begin("application/json")
        models = [{"id": name} for name in ("plain", "voiced")]
        self.wfile.write(json.dumps({"data": models}).encode())

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        text, finish = reply_to(body)
        self._begin("text/event-stream")
        for start in range(0, len(text), 12):
            self._piece({"choices": [{"delta": {"content": text[start : start + 12]}}]})
        self._piece({"choices": [{"delta": {}, "finish_reason": finish}]})
        self._piece({"choices": [], "usage": {"completion_tokens": len(text) // 4}})
        self.wfile.write(b"data: [DONE]\n\n")

    def _begin(self, kind):
        self.send_response(200)
        self.send_header("content-type", kind)
        self.end_headers()

    def _piece(self, piece):
        self.wfile.write(f"data: {json.dumps(piece)}\n\n".encode())


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
