import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fedk_client.errors import AppError
from fedk_client.failure import describe

HERE = Path(__file__).name


def caught(work: Callable[[], object]) -> Exception:
    with pytest.raises(Exception) as info:  # noqa: PT011 — any
        work()
    return info.value


def test_type_and_place_are_told_the_text_is_not() -> None:
    error = caught(lambda: int("patient 17"))
    line = describe(error, share=False)
    assert line.startswith(f"ValueError at {HERE}:")
    assert "patient" not in line


def test_the_place_is_the_users_line_not_the_librarys_where_it_was_raised() -> None:
    for error in (caught(lambda: json.loads("{")), caught(lambda: np.linalg.inv(np.zeros((2, 3))))):
        assert f" at {HERE}:" in describe(error, share=False)


def test_the_text_is_sent_where_it_is_shared() -> None:
    assert describe(caught(lambda: int("17a")), share=True).endswith(": invalid literal for int() with base 10: '17a'")


def test_the_librarys_own_sentences_quote_no_data_and_are_sent() -> None:
    assert describe(AppError("train returned NoneType"), share=False) == "train returned NoneType"
