"""One network compiled twice, with its steps rolled up and unrolled, and the numbers of both."""

import numpy as np

import symbucket as sb
from symbucket.compiler import CompilerOptions, compile_inference, compile_training, output_names
from symbucket.runtime import NDArray, Session
from symbucket.runtime.noise import draw
from tests.compiler.verify_graph import nodes_of

UNROLLED = CompilerOptions(disable={"roll-loops"})
ROLLED = CompilerOptions()
APART = CompilerOptions(disable={"join-equal-loops"})


def draw_arrays(net, shapes, seed=0, dtype=np.float32):
    """Random arguments by name; those named ``label`` or ``lengths`` hold small whole numbers."""
    rng = np.random.default_rng(seed)
    found = {}
    for name, shape in zip(net.list_arguments(), net.infer_shape(**shapes)[0]):
        if name in ("label", "lengths", "words"):
            found[name] = rng.integers(1, 4, shape).astype(dtype)
        else:
            found[name] = (rng.normal(size=shape) * 0.5).astype(dtype)
    return found


def run_program(program, arrays):
    """Outputs of a finished model by name."""
    session = Session(program.model, sb.cpu(), "rolled")
    inputs = {
        t.name: NDArray.of(arrays[t.name], sb.cpu())
        if t.name in arrays
        else NDArray.empty(t.shape, t.dtype)
        for t in program.inputs
    }
    for noise in program.noise:
        draw(noise, inputs[noise.name], ("rolled",))
    session.bind_inputs(inputs)
    outputs = {t.name: NDArray.empty(t.shape, t.dtype) for t in program.outputs}
    session.bind_outputs(outputs)
    session.run()
    return {n: a.asnumpy() for n, a in outputs.items()}


def run_training(made, arrays, net, shapes):
    """Outputs and gradients of a step, whole or cut in two; head gradients are random."""
    if made.step is not None:
        return run_program(made.step, arrays)
    forward = run_program(made.forward, arrays)
    rng = np.random.default_rng(7)
    sizes = dict(zip(output_names(net), net.infer_shape(**shapes)[1]))
    # Also for outputs that need no head if they are unrolled, as those of a state of zeros.
    heads = {f"{n}.head": rng.normal(size=size).astype(np.float32) for n, size in sizes.items()}
    return {**forward, **run_program(made.backward, {**arrays, **forward, **heads})}


def scans_in(program):
    """The Scan nodes of a model."""
    return [n for n in program.proto().graph.node if n.op_type == "Scan"]


def agree(found, wanted, tolerance=2e-5):
    """All but the stash, whose values differ in name, relative to the largest of each array.

    A sum may be much smaller than its terms, which are about 1 and rounded to 1e-7.
    """

    def public(names):
        return {n for n in names if not n.startswith("stash/")}

    assert public(found) == public(wanted)
    for name in public(wanted):
        scale = max(1e-2, np.abs(wanted[name]).max(initial=0))
        np.testing.assert_allclose(
            found[name], wanted[name], rtol=0, atol=tolerance * scale, err_msg=name
        )


def train_both(
    net, shapes, wanted=None, arrays=None, dtypes=None, tolerance=2e-5, options=ROLLED, **given
):
    """Compile and run a training step both ways; gives the rolled programs and the numbers."""
    arrays = draw_arrays(net, shapes) if arrays is None else arrays
    data = {"label", "lengths", "words", *(("data",) if wanted is None else ())}
    wanted = [n for n in net.list_arguments() if n not in data] if wanted is None else wanted

    def made(chosen):
        return compile_training(net, shapes, dtypes, wanted=wanted, options=chosen, **given)

    rolled, unrolled = made(options), made(UNROLLED)
    numbers = run_training(rolled, arrays, net, shapes)
    agree(numbers, run_training(unrolled, arrays, net, shapes), tolerance)
    for program in unrolled.models:
        assert not scans_in(program)
    return rolled, numbers


def infer_both(net, shapes, arrays=None):
    """The same for inference."""
    arrays = draw_arrays(net, shapes) if arrays is None else arrays
    rolled = compile_inference(net, shapes, options=ROLLED)
    unrolled = compile_inference(net, shapes, options=UNROLLED)
    agree(run_program(rolled, arrays), run_program(unrolled, arrays))
    return rolled


def rolled_nodes(programs):
    """How many nodes all models of a training step have, those in bodies among them."""
    return sum(len(nodes_of(p.proto())) for p in programs.models)
