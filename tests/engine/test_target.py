"""What the compiler is told of the device of a context."""

import symbucket as sb
from symbucket.runtime.target import target_of


def test_the_target_of_a_context():
    assert target_of(sb.cpu()).supports_scan
    assert target_of(sb.cpu()) == target_of(sb.cpu(1))
    assert not target_of(sb.gpu()).supports_scan
    assert target_of(sb.gpu()).name == "CUDAExecutionProvider"
