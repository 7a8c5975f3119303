"""How a configuration field is declared: its title, unit, bounds and help stand beside its default."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError


def setting(default: Any, title: str, help: str, *, unit: str = "", usual: str = "", **bounds: Any) -> Any:
    """A pydantic Field with the extras a form needs: `unit` stands beside the input, `usual` below it."""
    return Field(default, title=title, description=help, json_schema_extra={"unit": unit, "usual": usual}, **bounds)


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True, validate_default=True)


def refuse(kind: str, message: str, **values: Any) -> PydanticCustomError:
    """A validation error whose text is a whole sentence, without pydantic's "Value error," in front.

    A check between sections names in `at` the field of its own section that the message belongs to.
    """
    return PydanticCustomError(kind, message, values)
