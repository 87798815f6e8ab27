"""A server with canned replies behind OpenAI's chat completions, for the tests of the evaluation; standard library only.

As a script it stands for vLLM: `vllm serve MODEL --port N`, with a child process of its own as vLLM has workers.
"""

import contextlib
import json
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def final(answer: str, reasoning: str = "I think.") -> str:
    return f"Here are my reasoning steps:\n{reasoning}\n[BEGIN FINAL RESPONSE]\n{answer}\n[END FINAL RESPONSE]"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send(
            {"status": "ok"}
            if self.path == "/health"
            else {"data": [{"id": id_} for id_ in self.server.models]}
        )

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        content = body["messages"][-1]["content"]
        text = (
            content
            if isinstance(content, str)
            else "".join(part.get("text", "") for part in content)
        )
        persona = body["messages"][0]["role"] == "system"
        self.server.asked.append((body["model"], text, persona, body))
        time.sleep(self.server.delay)
        said = self.server.reply(body["model"], text, persona)
        reply, stop = said if isinstance(said, tuple) else (said, "stop")
        message = {"role": "assistant", "content": reply}
        choice = {"index": 0, "message": message, "finish_reason": stop}
        usage = {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}
        self.send(
            {
                "id": "x",
                "object": "chat.completion",
                "created": 0,
                "model": body["model"],
                "choices": [choice],
                "usage": usage,
            }
        )

    def send(self, what: dict):
        data = json.dumps(what).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        return


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        return  # a client that was killed in the middle


@contextlib.contextmanager
def serve(reply, models, delay=0.0, port=0):
    """A server that answers `reply(model, last user text, whether there is a system prompt)`: a text, or (text, finish reason)."""
    server = Server(("127.0.0.1", port), Handler)
    server.reply, server.models, server.delay, server.asked = reply, models, delay, []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


if __name__ == "__main__":
    model, port = sys.argv[2], int(sys.argv[sys.argv.index("--port") + 1])
    if model == "broken":
        sys.exit("ValueError: no such architecture")
    worker = subprocess.Popen(["sleep", "600"])
    print("worker", worker.pid, flush=True)
    with serve(lambda *_: final("Answer: 1"), [model], port=port):
        time.sleep(600)
