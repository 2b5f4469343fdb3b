"""Aligned columns of text."""

from symbucket.tables import format_table


def test_columns_are_aligned():
    rows = [("key", "ms", "note"), ("10", "1,234.5", ""), ("(3, 4)", "7.0", "cold")]
    assert format_table(rows, left=[2], indent="  ").splitlines() == [
        "     key       ms  note",
        "      10  1,234.5",
        "  (3, 4)      7.0  cold",
    ]


def test_no_rows_are_no_lines():
    assert format_table([]) == ""
