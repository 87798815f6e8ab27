"""Asking models: one client through Inspect, one store of replies, one ledger of what they cost.

    Client.ask          a reply of an endpoint, tried again where that helps     client.py, retries.py
    PaidClient.ask      the same from the store, or paid for and kept            paid.py
    Ledger, Replies     two tables of one SQLite file                            ledger.py, replies.py, database.py
"""
