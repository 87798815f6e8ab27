"""Asking models: one client through Inspect, one store of replies, one ledger of what they cost.

Client.ask brings a reply of an endpoint, tried again where that helps (client, retries).
PaidClient.ask brings it from the store, or pays for it and keeps it (paid), with Replies and Ledger
as tables of one SQLite file (replies, ledger, database).
"""
