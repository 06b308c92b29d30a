"""Which trials of a plan break the constraints of its space, before anything runs.

An expression of ``where`` is data, never code: names, numbers, text, lists, comparisons, and / or /
not / in, and arithmetic on numbers. It is read once by Python's own parser, held against this list,
and worked out by simpleeval, whose own operators and functions are not offered. Its length and its
number of terms are bounded, and there are no powers: so are time and memory.
"""

from __future__ import annotations

import ast
import operator
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from simpleeval import EvalWithCompoundTypes

from sweep.registry import ATTENTION
from sweep.spec.plain_yaml import Place
from sweep.spec.recipes import Recipe
from sweep.spec.schema import Constraints
from sweep.spec.trial import Trial
from sweep.spec.wording import not_known, shown

OF_A_TRIAL = (
    *("backbone", "attention", "placement", "stem", "image_size"),
    *("params_m", "macs_g"),
    *Recipe.model_fields,
)
"""Names beside the hyperparameters; params_m is in millions, macs_g in billions, as in the plan."""

MOST_CHARACTERS, MOST_TERMS = 300, 200
EXAMPLE = "such as kernel_size * num_groups <= 128"


class UndecidedError(ValueError):
    """An expression that has no answer for a trial; ``place`` is where it stands."""

    def __init__(self, index: int, message: str) -> None:
        self.place: Place = ("constraints", "where", index)
        super().__init__(message)


def check_expression(text: str) -> None:
    """Check that an expression can be worked out wherever its names have values.

    Raises:
        ValueError: it cannot; the text says what is allowed, with the nearest name.
    """
    condition = _parsed(text)
    known = [*OF_A_TRIAL, *_hyperparameters()]
    for name in _names(condition):
        if name not in known:
            raise ValueError(f"{not_known(name, known)}; text is written in quotes")


def broken(constraints: Constraints, trial: Trial, *, params: int, macs: int) -> str:
    """Return which constraints a trial breaks, with its values; empty if it keeps all.

    An expression with a hyperparameter that the trial's module does not have says nothing of it.

    Args:
        constraints: of the space; its expressions are checked.
        trial: of any seed.
        params: all parameters of its model.
        macs: of one image.

    Raises:
        UndecidedError: an expression compares text with a number, or divides by 0.
    """
    reasons = []
    for what, count, name in (
        ("M parameters", params / 1e6, "max_params_m"),
        ("G MACs", macs / 1e9, "max_macs_g"),
    ):
        most = getattr(constraints, name)
        if most is not None and count > most:
            reasons.append(f"{count:.10g} {what}, more than {name} = {most:.10g}")
    values = _values(trial, params, macs)
    for index, text in enumerate(constraints.where):
        condition = _parsed(text)
        named = {name: values[name] for name in _names(condition) if name in values}
        if len(named) == len(_names(condition)) and not _holds(condition, named, index, text):
            reasons.append(f"where[{index}]: {text} does not hold for {_said(named)}")
    return "; ".join(reasons)


def _hyperparameters() -> list[str]:
    """Return the names of the hyperparameters of all modules, each once."""
    configs = (ATTENTION[name].Config for name in ATTENTION.names())
    return list(dict.fromkeys(field for config in configs for field in config.model_fields))


def _values(trial: Trial, params: int, macs: int) -> dict[str, Any]:
    """Return what the names mean for a trial; a baseline has no placement."""
    return {
        **trial.hyperparameters,
        "backbone": trial.backbone.name,
        "attention": trial.attention,
        **({"placement": trial.placement} if trial.sites else {}),
        "stem": trial.backbone.stem,
        "image_size": trial.dataset_settings["image_size"],
        **trial.recipe.model_dump(mode="json"),
        "params_m": params / 1e6,
        "macs_g": macs / 1e9,
    }


def _said(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {shown(value)}" for name, value in values.items())


# Expressions -----------------------------------------------------------------------------------


def _of_numbers(operation: Callable[..., Any]) -> Callable[..., Any]:
    """Return an operation for numbers only: Python has its own meaning for text, and no bound."""

    def apply(*values: Any) -> Any:
        if not all(isinstance(value, int | float) for value in values):
            raise TypeError("arithmetic is for numbers")
        return operation(*values)

    return apply


OPERATORS: Mapping[type[ast.AST], Callable[..., Any]] = {
    ast.Add: _of_numbers(operator.add),
    ast.Sub: _of_numbers(operator.sub),
    ast.Mult: _of_numbers(operator.mul),
    ast.Div: _of_numbers(operator.truediv),
    ast.FloorDiv: _of_numbers(operator.floordiv),
    ast.Mod: _of_numbers(operator.mod),
    ast.USub: _of_numbers(operator.neg),
    ast.Not: operator.not_,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda value, among: value in among,
    ast.NotIn: lambda value, among: value not in among,
}
ALLOWED = "names, numbers, text, lists, comparisons, and, or, not, in, + - * / // %"


def _parsed(text: str) -> ast.expr:
    """Return an expression of allowed terms.

    Raises:
        ValueError: it is none.
    """
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"{shown(text)} is longer than {MOST_CHARACTERS} characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what Python's parser frowns at is a mistake here
            condition = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise ValueError(f"{shown(text)} is no expression: {error.msg}; {EXAMPLE}") from None
    except (ValueError, MemoryError, RecursionError):
        raise ValueError(f"{shown(text)} is no expression, {EXAMPLE}") from None
    terms = list(ast.walk(condition))
    if len(terms) > MOST_TERMS:
        raise ValueError(f"{shown(text)} has too many terms")
    for term in terms:
        if isinstance(term, ast.expr) and not _is_allowed(term):
            raise ValueError(f"{ast.unparse(term)!r} is not allowed. Allowed: {ALLOWED}")
    if not _is_condition(condition):
        raise ValueError(f"{shown(text)} is neither true nor false; write a comparison, {EXAMPLE}")
    return condition


def _is_allowed(term: ast.expr) -> bool:
    match term:
        case ast.BoolOp() | ast.Name() | ast.List() | ast.Tuple():
            return True
        case ast.Constant(value=value):
            return value is None or isinstance(value, bool | int | float | str)
        case ast.UnaryOp(op=used) | ast.BinOp(op=used):
            return type(used) in OPERATORS
        case ast.Compare(ops=several):
            return all(type(used) in OPERATORS for used in several)
        case _:
            return False


def _is_condition(expression: ast.expr) -> bool:
    """Return whether it is true or false by its form; a lone name may be of a switch."""
    negation = isinstance(expression, ast.UnaryOp) and isinstance(expression.op, ast.Not)
    return negation or isinstance(expression, ast.Compare | ast.BoolOp | ast.Name)


def _names(condition: ast.expr) -> list[str]:
    """Return the names of an expression, each once, as they stand from left to right."""
    found = [term for term in ast.walk(condition) if isinstance(term, ast.Name)]
    return list(dict.fromkeys(n.id for n in sorted(found, key=lambda n: (n.lineno, n.col_offset))))


def _holds(condition: ast.expr, values: Mapping[str, Any], index: int, text: str) -> bool:
    """Return whether a condition is true of the values of its names."""
    evaluator = EvalWithCompoundTypes(operators=OPERATORS, functions={}, names=values)
    try:
        return bool(evaluator.eval(text, previously_parsed=condition))
    except (TypeError, ArithmeticError) as error:
        why = "it compares text with a number" if isinstance(error, TypeError) else str(error)
        raise UndecidedError(index, f"{text} cannot be told for {_said(values)}: {why}") from None
