"""Rows in and out: the text formats, streaming."""
