"""Networks from PyTorch: modules read as symbols, trained parameters given back.

PyTorch is imported when a function here is called, and nothing else of symbucket needs it.
"""

from symbucket.pytorch.network import TorchNetwork, from_torch
from symbucket.pytorch.state_dict import torch_state_dict

__all__ = ["TorchNetwork", "from_torch", "torch_state_dict"]
