"""Pictures: of networks, of memory plans, of buckets; and a symbol as a table.

``draw`` makes SVG, PNG, PDF or one HTML page; it lays out with Graphviz. ``plan_picture`` and
``bucket_picture`` plot with matplotlib. Nothing of that is needed to import this.
"""

from symbucket.ir import to_networkx
from symbucket.visualization.bucket_picture import BucketShare, bucket_picture, bucket_shares
from symbucket.visualization.draw import draw
from symbucket.visualization.plan_picture import plan_picture
from symbucket.visualization.plot_network import open_in_netron, plot_network
from symbucket.visualization.summary import (
    Summary,
    SummaryRow,
    format_summary,
    print_summary,
    summarize,
)

__all__ = [
    "BucketShare",
    "Summary",
    "SummaryRow",
    "bucket_picture",
    "bucket_shares",
    "draw",
    "format_summary",
    "open_in_netron",
    "plan_picture",
    "plot_network",
    "print_summary",
    "summarize",
    "to_networkx",
]
