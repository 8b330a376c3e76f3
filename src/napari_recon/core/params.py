"""Engine parameters: one frozen pydantic model per engine, from which form, CLI options, recipe and docs are made."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, Field, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from napari_recon.core.errors import InputError
from napari_recon.core.grid import Frozen


class EngineParams(Frozen):
    """Base of every engine's parameters."""

    @field_validator("*", mode="before")
    @classmethod
    def _flags_are_no_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        annotation = cls.model_fields[str(info.field_name)].annotation
        if isinstance(value, bool) and "bool" not in _type_names(annotation):
            raise ValueError("a number is expected, not yes or no")
        return value

    @field_validator("*", mode="before")
    @classmethod
    def _numbers_with_commas(cls, value: Any, info: ValidationInfo) -> Any:
        """Take ``"4,3,2"``, as on a command line, for a list, and a single number for a list of one."""
        kinds = set(_type_names(cls.model_fields[str(info.field_name)].annotation))
        if "tuple" not in kinds:
            return value
        if isinstance(value, str) and "," in value and "str" not in kinds:
            return [part.strip() for part in value.strip("[]() ").split(",")]
        if isinstance(value, int | float) and not isinstance(value, bool) and not kinds & {"int", "float"}:
            return [value]
        return value


P = TypeVar("P", bound=EngineParams)


def param(
    default: Any,
    description: str,
    *,
    unit: str = "",
    advanced: bool = False,
    file: tuple[str, ...] = (),
    live: bool = False,
    titles: Mapping[str, str] | None = None,
    **constraints: Any,
) -> Any:
    """Declare a parameter.

    Parameters
    ----------
    default : object
    description : str
        One sentence; also the tooltip and the command line's help.
    unit : str
        ``"um"``, ``"fine pixel"``, ``"counts"`` ...
    advanced : bool
        Folded away in the form.
    file : tuple of str
        The value may be a path with one of these suffixes; the form shows a Browse button.
    live : bool
        A live session may change it between frames.
    titles : mapping, optional
        Choice -> what the form calls it, where its name says little.
    **constraints
        Pydantic's ``ge``, ``gt``, ``le``, ``lt``, ``multiple_of`` ...
    """
    extra: dict[str, Any] = {"unit": unit, "advanced": advanced, "file": list(file), "live": live}
    if titles:
        extra["titles"] = dict(titles)
    return Field(default=default, description=description, json_schema_extra=extra, **constraints)


class ParameterInfo(Frozen):
    """One row of the parameter table."""

    name: str
    type: str
    unit: str
    default: Any
    range: str
    choices: tuple[Any, ...]
    description: str
    advanced: bool
    file: tuple[str, ...]
    live: bool


def describe_parameters(model: type[BaseModel], prefix: str = "") -> list[ParameterInfo]:
    """Return one row per parameter; nested models are flattened to dotted names."""
    rows: list[ParameterInfo] = []
    for name, info in model.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            rows += describe_parameters(info.annotation, f"{prefix}{name}.")
            continue
        extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
        default = info.get_default(call_default_factory=True)
        rows.append(
            ParameterInfo(
                name=prefix + name,
                type=" | ".join(_type_names(info.annotation)),
                unit=str(extra.get("unit", "")),
                default=None if default is PydanticUndefined else default,
                range=_range_text(info),
                choices=choices(info.annotation),
                description=info.description or "",
                advanced=bool(extra.get("advanced")),
                file=tuple(extra.get("file") or ()),  # type: ignore[arg-type]
                live=bool(extra.get("live")),
            )
        )
    return rows


def choices(annotation: Any) -> tuple[Any, ...]:
    """Return the literal values an annotation admits, e.g. ``("none", "upstream")``."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(c for part in get_args(annotation) for c in choices(part))
    return ()


def _type_names(annotation: Any) -> Iterator[str]:
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) is Literal:
        yield from (str(value) for value in get_args(annotation))
    elif get_origin(annotation) in (Union, types.UnionType):
        for part in get_args(annotation):
            yield from _type_names(part)
    else:
        yield "none" if annotation is type(None) else getattr(annotation, "__name__", str(annotation))


def bounds(info: FieldInfo) -> dict[str, Any]:
    """Return the numeric constraints of a field: any of ``ge gt le lt multiple_of``, also those of a union's members."""
    names = ("ge", "gt", "le", "lt", "multiple_of")
    limits = [*info.metadata, *_inner_metadata(info.annotation)]
    return {n: getattr(m, n) for m in limits for n in names if getattr(m, n, None) is not None}


def _inner_metadata(annotation: Any) -> Iterator[Any]:
    """Yield the constraints inside ``Annotated[int, Field(ge=1)] | Literal["auto"]``."""
    if get_origin(annotation) is Annotated:
        for item in get_args(annotation)[1:]:
            yield from item.metadata if isinstance(item, FieldInfo) else (item,)
    elif get_origin(annotation) in (Union, types.UnionType):
        for part in get_args(annotation):
            yield from _inner_metadata(part)


def _range_text(info: FieldInfo) -> str:
    signs = {"ge": ">= {}", "gt": "> {}", "le": "<= {}", "lt": "< {}", "multiple_of": "multiple of {}"}
    return ", ".join(signs[name].format(value) for name, value in bounds(info).items())


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``{"a.b": 1}`` as ``{"a": {"b": 1}}``."""
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        *path, leaf = name.split(".")
        branch = tree
        for part in path:
            branch = branch.setdefault(part, {})
        branch[leaf] = value
    return tree


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return ``{"a": {"b": 1}}`` as ``{"a.b": 1}``, so that later options override single values."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        inner = flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) and value else {f"{prefix}{name}": value}
        found |= inner
    return found


def make_params(model: type[P], values: Mapping[str, Any], engine: str = "") -> P:
    """Return validated parameters; dotted names reach nested settings.

    Raises
    ------
    InputError
        One sentence per wrong value, naming what is allowed.
    """
    try:
        return model.model_validate(nested(values))
    except ValidationError as error:
        raise InputError("; ".join(dict.fromkeys(_sentences(error, model, engine).values()))) from None


def problems(model: type[BaseModel], values: Mapping[str, Any], engine: str = "") -> dict[str, str]:
    """Return one sentence per wrong parameter (dotted name; empty for the parameters as a whole)."""
    try:
        model.model_validate(nested(values))
    except ValidationError as error:
        return _sentences(error, model, engine)
    except InputError as error:
        return {"": str(error)}
    return {}


def _sentences(errors: ValidationError, model: type[BaseModel], engine: str) -> dict[str, str]:
    known = {row.name: row for row in describe_parameters(model)}
    found: dict[str, str] = {}
    for error in errors.errors():
        located = [".".join(map(str, error["loc"][: n + 1])) for n in range(len(error["loc"]))]
        name = next((n for n in reversed(located) if n in known), located[-1] if located else "")
        found.setdefault(name, _sentence(error, name, known, engine))
    return found


def _sentence(error: Any, name: str, known: Mapping[str, ParameterInfo], engine: str) -> str:
    if error["type"] == "extra_forbidden":
        where = f" of {engine}" if engine else ""
        return f"{name} is not a parameter{where}; choose from {', '.join(known)}"
    row = known.get(name)
    expected = error["msg"][0].lower() + error["msg"][1:] if row is None else f"should be {row.type}"
    if row is not None and row.range:
        expected += f" ({row.range}{' ' + row.unit if row.unit else ''})"
    elif row is not None and "tuple" in row.type:  # how many numbers, and which, only the description says
        expected += f" ({row.description.split('. ')[0].rstrip('.')})"
    if not name:
        return str(error["msg"]).removeprefix("Value error, ")
    return f"parameter {name} {expected}, found {error['input']!r}; see the list of parameters"
