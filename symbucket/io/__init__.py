"""Data for training: batches, their descriptions, and iterators that make them."""

from __future__ import annotations

from symbucket.io.array_iter import NDArrayIter
from symbucket.io.batch import DataBatch
from symbucket.io.bucket_choice import plan_buckets
from symbucket.io.bucket_plan import BucketPlan
from symbucket.io.bucket_table import BucketRow, format_bucket_table
from symbucket.io.desc import DataDesc, normalize_descs
from symbucket.io.field import Field
from symbucket.io.file_iters import CSVIter, ImageRecordIter, LibSVMIter, MNISTIter
from symbucket.io.iterator import DataIter
from symbucket.io.keyed_iter import KeyedIter
from symbucket.io.part_iter import PartIter
from symbucket.io.prefetch_iter import PrefetchingIter
from symbucket.io.resize_iter import ResizeIter
from symbucket.io.sentence_iter import BucketSentenceIter, encode_sentences
from symbucket.io.sources import Source
from symbucket.io.step_iter import StepSentenceIter
from symbucket.io.stream_iter import StreamIter

__all__ = [
    "BucketPlan",
    "BucketRow",
    "BucketSentenceIter",
    "CSVIter",
    "DataBatch",
    "DataDesc",
    "DataIter",
    "Field",
    "ImageRecordIter",
    "KeyedIter",
    "LibSVMIter",
    "MNISTIter",
    "NDArrayIter",
    "PartIter",
    "PrefetchingIter",
    "ResizeIter",
    "Source",
    "StepSentenceIter",
    "StreamIter",
    "encode_sentences",
    "format_bucket_table",
    "normalize_descs",
    "plan_buckets",
]
