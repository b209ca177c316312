"""The tree of errors: drawn as it is, and brought back over the wire by name."""

from __future__ import annotations

import re

import pytest

from sluice import errors
from sluice.errors import SluiceError, SourceMissingError, TrustError, UnreachableError, error_from_code

CLASSES = {cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, SluiceError)}


def test_the_docstring_draws_every_error_and_no_other() -> None:
    drawing = (errors.__doc__ or "").split("::")[1].split("Rules:")[0]
    assert set(re.findall(r"\b\w+Error\b", drawing)) == {cls.__name__ for cls in CLASSES}


def test_nothing_below_trust_is_retryable() -> None:
    assert [cls for cls in CLASSES if issubclass(cls, TrustError) and cls.retryable] == []


def test_an_error_comes_back_by_its_name() -> None:
    found = error_from_code("UnreachableError", "nothing answers", "start it")
    assert type(found) is UnreachableError
    assert (str(found), found.retryable) == ("nothing answers: start it", True)
    assert (found.is_reported, UnreachableError("here").is_reported) == (True, False)


@pytest.mark.parametrize("code", ["NoSuchError", "BlueprintError", "SiteError", "", "Exception"])
def test_a_name_that_cant_travel_becomes_a_plain_error(code: str) -> None:
    assert type(error_from_code(code, "what")) is SluiceError


def test_a_message_can_be_encoded_whatever_name_it_quotes() -> None:
    error = SourceMissingError("/srv/\udcff can't be read", remedy="exclude \udcff")
    assert str(error).encode() == rb"/srv/\udcff can't be read: exclude \udcff"
