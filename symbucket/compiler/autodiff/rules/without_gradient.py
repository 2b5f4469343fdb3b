"""Standard operators through which nothing flows back, and why that is right."""

from symbucket.ir import no_gradient

no_gradient("Ceil", "Floor", "Hardmax", "Round", "Sign", because="is piecewise constant")
no_gradient("And", "Not", "Or", "Xor", because="returns booleans")
no_gradient("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", because="returns booleans")
no_gradient("IsInf", "IsNaN", because="returns booleans")
no_gradient("ArgMax", "ArgMin", "NonZero", because="returns positions")
no_gradient("Shape", "Size", because="returns sizes, which do not depend on the elements")
no_gradient("ConstantOfShape", "EyeLike", because="does not depend on the elements of its input")
no_gradient("Range", because="has a static shape only if its inputs are constants")
no_gradient(
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
    because="draws random numbers",
)
