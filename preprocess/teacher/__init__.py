"""The teacher: a strong model multiplies the seeds into rows that pass a proof each, and no reply
is paid for twice.
"""
