"""Data: where pictures come from, and the tasks that are made of them.

`door` finds, checks and loads; `packs` builds what a reader has not got yet; the
other files are one task family each.
"""
