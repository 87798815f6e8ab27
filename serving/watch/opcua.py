"""Values of an OPC UA server into the events, as they change; it reads and never writes.

python -m serving.watch.opcua PRESS3_OPCUA_URL --site press3 --nodes "ns=2;s=TT204 ns=2;s=PT101"
"""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any

from asyncua import Client, Node, ua

from common import alarms
from common.errors import command
from common.options import parser_of
from serving.watch import settings
from serving.watch.log import event_of, site_of
from serving.watch.streams import Streams

PERIOD_MS = 500
AGAIN_SECONDS = 5


class Taken:
    """What a subscription gives: good values become events, others are counted."""

    def __init__(self, site: str, streams: Streams):
        self.site = site
        self.streams = streams
        self.left_out = 0

    def datachange_notification(self, node: Node, value: Any, data: Any) -> None:
        """Called by asyncua for each value."""
        name = node.nodeid.to_string()
        found = data.monitored_item.Value
        at = found.SourceTimestamp or found.ServerTimestamp
        if not found.StatusCode.is_good() or at is None:
            self.left_out += 1
            print(f"{name}: no good value with a time; {self.left_out:,} left out", flush=True)
            return
        record = alarms.Record(at, name, "", str(value), 0)
        self.streams.add(self.site, [event_of(record, self.site)])


async def follow(url: str, nodes: list[str], taken: Taken) -> None:
    """Take values until the connection fails. Raises OSError or UaError."""
    async with Client(url) as client:
        subscription = await client.create_subscription(PERIOD_MS, taken)
        await subscription.subscribe_data_change([client.get_node(name) for name in nodes])
        print(f"following {len(nodes)} nodes of {taken.site}", flush=True)
        while True:
            await client.check_connection()
            await asyncio.sleep(1)


def main() -> int:
    """Follow a server until Ctrl-C."""
    parser = parser_of(__doc__)
    parser.add_argument("variable", help="the environment variable with the server's address")
    parser.add_argument("--site", nargs="*", default=[])
    parser.add_argument("--nodes", required=True, help="ids, with blanks between them")
    options = parser.parse_args()
    logging.getLogger("asyncua").setLevel(logging.CRITICAL)  # it would write addresses
    url = settings.address_in(options.variable, "OPC UA")
    taken = Taken(site_of(options.site), Streams(settings.read().keep_days))
    while True:
        try:
            asyncio.run(follow(url, options.nodes.split(), taken))
        except (OSError, ua.UaError) as error:
            problem = type(error).__name__
            print(f"{taken.site}: {problem}; again in {AGAIN_SECONDS} s", file=sys.stderr)
        asyncio.run(asyncio.sleep(AGAIN_SECONDS))


if __name__ == "__main__":
    sys.exit(command(main))
