"""Running measures of a model's outputs, as ``mx.metric``.

A metric keeps ``(sum_metric, num_inst)``. ``update`` adds a batch's labels and outputs to them;
``update_sums`` adds sums that were computed elsewhere, such as inside the training graph.
"""

from symbucket.metric.arrays import check_label_shapes
from symbucket.metric.base import EvalMetric, alias, register
from symbucket.metric.binary import F1
from symbucket.metric.classification import Accuracy, TopKAccuracy
from symbucket.metric.composite import CompositeEvalMetric, create
from symbucket.metric.correlation import MCC, PCC, PearsonCorrelation
from symbucket.metric.custom import CustomMetric, np
from symbucket.metric.graph_metric import GraphMetric
from symbucket.metric.likelihood import CrossEntropy, NegativeLogLikelihood, Perplexity
from symbucket.metric.regression import MAE, MSE, RMSE, Caffe, Loss, Torch

__all__ = [
    "F1",
    "MAE",
    "MCC",
    "MSE",
    "PCC",
    "RMSE",
    "Accuracy",
    "Caffe",
    "CompositeEvalMetric",
    "CrossEntropy",
    "CustomMetric",
    "EvalMetric",
    "GraphMetric",
    "Loss",
    "NegativeLogLikelihood",
    "PearsonCorrelation",
    "Perplexity",
    "TopKAccuracy",
    "Torch",
    "alias",
    "check_label_shapes",
    "create",
    "np",
    "register",
]
