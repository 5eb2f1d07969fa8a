"""What a cell depends on, among the cells as they were executed."""

from __future__ import annotations

import pytest

from mlops_nb.names import names_of
from mlops_nb.slices import upstream


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["a = 1", "b = 2", "a + b"], {0, 1}),
        (["a = 1", "b = a", "c = 3", "b"], {0, 1}),
        (["a = 1", "a = 2", "a"], {1}),
        (["a = 1", "a = a + 1", "a"], {0, 1}),
        (["a = 1", "print('x')", "c = 1"], set()),
        (["def f():\n    return rate", "rate = 1", "f()"], {0, 1}),
        (["rate = 1", "def f():\n    return rate", "f()"], {0, 1}),
        (["from m import *", "a = 1", "a + b"], {0, 1}),
        (["id = 3", "id(x)"], {0}),
        (["x = 1", "def f():\n    x = 2", "f()"], {1}),
    ],
)
def test_a_cell_depends_on_the_last_definitions_above_it(
    cells: list[str], expected: set[int]
) -> None:
    assert upstream([names_of(cell) for cell in cells], len(cells) - 1) == expected


def test_a_cell_that_cannot_be_read_is_passed_over() -> None:
    assert upstream([names_of("a = 1"), None, names_of("a")], 2) == {0}
    assert upstream([names_of("a = 1"), None], 1) == set()
