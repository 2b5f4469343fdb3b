"""A recursive network over expressions: the bucket key is the shape of a tree.

    python examples/tree_rnn.py

Here the networks of a bucketing differ in more than a length. An expression such as
``(a + b) * (c - d)`` is a binary tree: its leaves are the variables a to d, and an inner node puts
two subtrees together with one of the operators + - *. The network has the same tree: every leaf is
a vector, every inner node a small layer that makes one vector of two. All inner nodes of all trees
share the parameters of that layer, so what is learned from small trees holds for large ones.

``ast`` turns Python's text into trees. The question: with an int in a, a float in b, a str in c
and a list in d, what is the type of the result, or is it an error? Python itself gives the answers
to learn from. The network is not told what a variable holds or what an operator does.

What bucketing buys: expressions of one shape are one batch for one network, without any padding.
There are many shapes, so two things keep the number of networks small. First, shapes are made
canonical: the larger operand goes left, and the operator remembers where they were swapped. That
leaves 6 shapes of the 42 that six leaves can have, and 23 of 429 for eight. Second,
``max_executors`` bounds how many networks are kept ready at a time; the one that was not used for
longest makes room, and its parameters, being shared, stay.

Trained on trees of up to six leaves, the network is right for all held-out expressions, and for all
of the 2,000 with seven and eight leaves that it is asked about, whose shapes it has never seen.
"""

from __future__ import annotations

import argparse
import ast
import random
import re
import sys
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import symbucket as sb
from symbucket.apps.arguments import argument_parser, integer, positive, run_program

VALUES = {"a": 2, "b": 0.5, "c": "x", "d": [1]}
TYPES = ("int", "float", "str", "list", "error")
OPERATORS = ("+", "-", "*")
SYMBOLS = {ast.Add: 0, ast.Sub: 1, ast.Mult: 2}
# Which operands give a type; Python knows this, the network does not.
RULES = {
    "int": [(op, "int", "int") for op in OPERATORS],
    "float": [
        (op, left, right)
        for op in OPERATORS
        for left, right in (("float", "float"), ("int", "float"), ("float", "int"))
    ],
    "str": [("+", "str", "str"), ("*", "str", "int"), ("*", "int", "str")],
    "list": [("+", "list", "list"), ("*", "list", "int"), ("*", "int", "list")],
}


# Expressions -------------------------------------------------------------------------------------


def type_of(expression: str) -> str:
    """What Python says."""
    try:
        return type(eval(expression, {"__builtins__": {}}, VALUES)).__name__
    except TypeError:
        return "error"


def written(kind: str, leaves: int, rng: random.Random) -> str:
    """An expression of a type with so many leaves."""
    if leaves == 1:
        return {"int": "a", "float": "b", "str": "c", "list": "d"}[kind]
    op, left, right = rng.choice(RULES[kind])
    first = rng.randrange(1, leaves)
    return f"({written(left, first, rng)} {op} {written(right, leaves - first, rng)})"


def with_a_mistake(expression: str, rng: random.Random) -> str:
    """The expression with one variable or operator replaced, which may make it an error."""
    places = [i for i, c in enumerate(expression) if c in "abcd+-*"]
    place = rng.choice(places)
    others = "abcd" if expression[place] in "abcd" else "".join(OPERATORS)
    return expression[:place] + rng.choice(others) + expression[place + 1 :]


def expressions(count: int, sizes: range, rng: random.Random) -> list[str]:
    """Different expressions, as many of each type (and of errors), of sizes from a range."""
    by_type: dict[str, set[str]] = {kind: set() for kind in TYPES}
    share = count // len(TYPES)
    for _ in range(count * 50):  # small sizes have only so many expressions
        rarest = min(TYPES, key=lambda kind: len(by_type[kind]))
        if len(by_type[rarest]) == share:
            break
        kind = rng.choice(list(RULES)) if rarest == "error" else rarest
        text = written(kind, rng.choice(sizes), rng)
        if rarest == "error":
            text = with_a_mistake(text, rng)
        if len(by_type[type_of(text)]) < share:
            by_type[type_of(text)].add(text)
    texts = [text for kind in TYPES for text in sorted(by_type[kind])]
    rng.shuffle(texts)
    return texts


# Trees and their canonical shapes ----------------------------------------------------------------


class Tree(NamedTuple):
    """An expression: a canonical shape, the leaves from left to right, the operators bottom-up.

    A shape is written ``.`` for a leaf and ``(LR)`` for an inner node. Operator 0 to 2 is + - *,
    and 3 to 5 the same with swapped operands.
    """

    shape: str
    leaves: list[int]
    operators: list[int]


def tree_of(expression: str | ast.expr) -> Tree:
    """The canonical tree of an expression."""
    node = ast.parse(expression, mode="eval").body if isinstance(expression, str) else expression
    if isinstance(node, ast.Name) and node.id in VALUES:
        return Tree(".", [sorted(VALUES).index(node.id)], [])
    if not isinstance(node, ast.BinOp) or type(node.op) not in SYMBOLS:
        raise sb.errors.DataError(
            f"{ast.unparse(node)!r} is not an expression of {', '.join(VALUES)} and the operators "
            f"{' '.join(OPERATORS)}"
        )
    left, right = tree_of(node.left), tree_of(node.right)
    operator = SYMBOLS[type(node.op)]
    if (len(left.shape), left.shape) < (len(right.shape), right.shape):
        left, right, operator = right, left, operator + len(OPERATORS)
    return Tree(
        f"({left.shape}{right.shape})",
        [*left.leaves, *right.leaves],
        [*left.operators, *right.operators, operator],
    )


# The network of a shape --------------------------------------------------------------------------


def tree_network(hidden: int):
    """``sym_gen``: the network whose bucket key is a shape."""

    def sym_gen(shape: str):
        count = shape.count(".")
        leaves = sb.sym.Embedding(
            sb.sym.Variable("leaves"), input_dim=len(VALUES), output_dim=hidden, name="leaf"
        )
        operators = sb.sym.Embedding(
            sb.sym.Variable("operators"),
            input_dim=2 * len(OPERATORS),
            output_dim=hidden,
            name="operator",
        )
        next_leaf = iter(sb.sym.split(leaves, num_outputs=count, axis=1, squeeze_axis=True))
        next_operator = iter(
            sb.sym.split(operators, num_outputs=count - 1, axis=1, squeeze_axis=True)
        )
        # Made once for the whole tree: every inner node applies these same parameters.
        weights = {
            name: sb.sym.Variable(name)
            for name in ("meet_weight", "meet_bias", "join_weight", "join_bias")
        }

        def inner(left: sb.Symbol, right: sb.Symbol, operator: sb.Symbol) -> sb.Symbol:
            """One vector of two and an operator."""
            met = sb.sym.FullyConnected(
                sb.sym.concat(left, right, operator, dim=1),
                weights["meet_weight"],
                weights["meet_bias"],
                num_hidden=2 * hidden,
            )
            joined = sb.sym.FullyConnected(
                sb.sym.relu(met), weights["join_weight"], weights["join_bias"], num_hidden=hidden
            )
            return sb.sym.tanh(joined)

        stack: list[sb.Symbol] = []
        for character in shape:
            if character == ".":
                stack.append(next(next_leaf))
            elif character == ")":
                right, left = stack.pop(), stack.pop()
                stack.append(inner(left, right, next(next_operator)))
        (root,) = stack
        scores = sb.sym.FullyConnected(root, num_hidden=len(TYPES), name="type")
        label = sb.sym.Variable("type_label")
        return (
            sb.sym.SoftmaxOutput(scores, label, name="softmax"),
            ["leaves", "operators"],
            ["type_label"],
        )

    return sym_gen


def batches(texts: Sequence[str], batch_size: int, seed: int) -> sb.io.KeyedIter:
    """Batches of expressions of one shape, in random order.

    The last batch of a shape repeats some of its expressions where it is too small, and ``pad``
    says how many, so that every batch of a shape runs on the same network.
    """
    trees = [tree_of(text) for text in texts]
    return sb.io.KeyedIter(
        [tree.shape for tree in trees],
        [{"leaves": tree.leaves, "operators": tree.operators} for tree in trees],
        [TYPES.index(type_of(text)) for text in texts],
        batch_size,
        label_name="type_label",
        last_batch="pad",
        seed=seed,
    )


def accuracy(module: sb.mod.BucketingModule, texts: Sequence[str], args) -> float:
    """Share of expressions whose type the network knows."""
    right = total = 0
    for outputs, _, batch in module.iter_predict(batches(texts, args.batch_size, args.seed)):
        kinds = outputs[0].asnumpy().argmax(axis=1)  # without padding
        right += int((kinds == batch.label[0].asnumpy()[: len(kinds)]).sum())
        total += len(kinds)
    return right / total


def answers(module: sb.mod.BucketingModule, texts: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(expression, its type as the network sees it)."""
    for text in texts:
        module.forward(batches([text], 1, 0).next(), is_train=False)
        yield text, TYPES[int(module.get_outputs()[0].asnumpy().argmax())]


def run(args: argparse.Namespace) -> None:
    sb.random.seed(args.seed)
    rng = random.Random(args.seed)
    texts = expressions(args.expressions, range(2, args.leaves + 1), rng)
    cut = len(texts) * 9 // 10
    texts, held_out = texts[:cut], texts[cut:]
    larger = expressions(args.expressions // 5, range(args.leaves + 1, args.leaves + 3), rng)
    train = batches(texts, args.batch_size, args.seed)
    shapes = {tree_of(text).shape for text in texts}
    raw = {re.sub(r"[a-d]", ".", re.sub(r" . ", "", text)) for text in texts}
    print(
        f"{len(texts):,} expressions of 2 to {args.leaves} leaves to learn from, "
        f"{len(held_out):,} held out; {len(raw)} shapes, {len(shapes)} canonical ones\n"
        f"Each of the {len(TYPES)} answers is right about equally often."
    )
    module = sb.mod.BucketingModule(
        tree_network(args.num_hidden), train.default_bucket_key, max_executors=args.max_executors
    )
    began = time.perf_counter()

    def tell(epoch: int, *_: object) -> None:
        print(
            f"epoch {epoch + 1}: {time.perf_counter() - began:.1f} s, held-out accuracy "
            f"{accuracy(module, held_out, args):.2%}",
            flush=True,
        )

    module.fit(
        train,
        eval_metric="acc",
        epoch_end_callback=tell,
        initializer=sb.init.Xavier(),
        optimizer="adam",
        optimizer_params={"learning_rate": args.lr},
        num_epoch=args.num_epochs,
    )
    # Shapes that were never trained: their networks are new, all of their parameters are not.
    new = {tree_of(text).shape for text in larger}
    print(
        f"Larger expressions, of {len(new)} shapes that it never saw: "
        f"{accuracy(module, larger, args):.2%} of {len(larger):,} right\n"
        f"Networks kept ready: {len(module.executor_stats().keys)} of {len(shapes | new)}\n"
    )
    for text, kind in answers(module, ["a + a * b", "c * a + c", "(d + d) * a", "c + a * b"]):
        print(f"  {text:<14} {kind}")


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argument_parser(
        "tree_rnn.py", "Learn the types of Python expressions with a network over their trees."
    )
    add = parser.add_argument
    add("--expressions", type=integer(50), default=10_000, help="how many to make")
    add("--leaves", type=integer(2), default=6, help="leaves of the largest one to learn from")
    add("--num-hidden", type=integer(1), default=32, help="size of the vector of a subtree")
    add("--batch-size", type=integer(1), default=32, help="expressions in a batch")
    add("--num-epochs", type=integer(1), default=6, help="times through the expressions")
    add("--max-executors", type=integer(1), default=16, help="networks kept ready at a time")
    add("--lr", type=positive, default=0.003, help="learning rate of Adam")
    add("--seed", type=int, default=1, help="the same one repeats a run exactly")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    return run_program("tree_rnn.py", run, parse_arguments(argv))


if __name__ == "__main__":
    sys.exit(main())
