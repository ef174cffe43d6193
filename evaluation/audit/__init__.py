"""Audit: which captions of a dataset have words that disagree with their picture?

`journal` holds what was asked and found, `run` does the work, `page` shows the worst.
"""

from evaluation.audit.run import Summary, audit

__all__ = ["Summary", "audit"]
