"""Values of an OPC UA server, asyncua's own, become events; nothing is written to it."""

import asyncio

import pytest
from asyncua import Server, ua
from rig import PASSWORD, REDIS, fresh, rig, running, until

from common import events
from common.servers import free_port

pytestmark = [
    pytest.mark.slow,  # asyncua's server takes its time to start
    pytest.mark.skipif(not REDIS, reason="no redis-server here (apt: redis-server)"),
]


async def plant(port, fresh):
    """A server with a temperature that changes, goes bad and comes back."""
    server = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/plant")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    space = await server.register_namespace("plant")
    tag = await server.nodes.objects.add_variable(ua.NodeId("TT204", space), "TT204", 20.5)
    found = []
    async with server:
        for value in (21.5, None, 22.5):
            seen = len(found)
            bad = ua.DataValue(ua.Variant(0.0), ua.StatusCode(ua.StatusCodes.BadSensorFailure))
            for _ in range(600):
                found = fresh.events()
                if len(found) > seen or value is not None and "left out" in fresh.said():
                    break
                await asyncio.sleep(0.05)
            await tag.write_value(bad if value is None else value)
        await asyncio.sleep(1.5)


def test_values_become_events_and_bad_ones_are_counted(fresh):
    fresh.settings()
    port = free_port()
    address = f"opc.tcp://127.0.0.1:{port}/plant"
    words = ["PLANT", "--site", "press3", "--nodes", "ns=2;s=TT204"]
    with running(fresh.run("serving.watch.opcua", *words, PLANT=address)):
        until(lambda: "again in 5 s" in fresh.said())
        asyncio.run(plant(port, fresh))
        found = fresh.events()
    assert [event["data"]["value"] for event in found] == ["20.5", "21.5", "22.5"]
    assert {event["type"] for event in found} == {events.VALUE}
    assert found[0]["source"] == "plc/press3/ns%3D2%3Bs%3DTT204"
    assert "ns=2;s=TT204: no good value with a time; 1 left out" in fresh.said()
    assert PASSWORD not in fresh.said()
