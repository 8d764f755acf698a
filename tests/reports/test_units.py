import pytest

from reports.plain_text import plain
from reports.units import duration, factor, moment, percent, plural, seconds, significant, size


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (1234.6, "1235"),
        (12.345, "12.3"),
        (1.0, "1.00"),
        (9.996, "10.0"),
        (0.08342, "0.0834"),
        (-2.5, "-2.50"),
        (float("inf"), "+inf"),
        (float("nan"), "not a number"),
    ],
)
def test_three_significant_digits_without_exponents(value: float, text: str) -> None:
    assert significant(value) == text


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0.000074, "74 ns"),
        (0.000416, "416 ns"),
        (0.00421, "4.21 µs"),
        (0.623, "623 µs"),
        (12.34, "12.3 ms"),
        (2400.0, "2.40 s"),
    ],
)
def test_a_duration_takes_the_unit_that_fits(milliseconds: float, text: str) -> None:
    assert duration(milliseconds) == text


def test_longer_times_sizes_shares_and_counts() -> None:
    assert [seconds(value) for value in (0.42, 12.34, 612.4, 4320.0)] == [
        "0.42 s",
        "12.3 s",
        "10 min 12 s",
        "1 h 12 min",
    ]
    assert [size(value) for value in (812, 35_942, 14_889_779, 8 << 30)] == [
        "812 B",
        "35.1 KiB",
        "14.2 MiB",
        "8.00 GiB",
    ]
    assert (percent(0.9956), factor(1.9), factor(12.34)) == ("99.6 %", "1.90x", "12.3x")
    assert (plural(1, "case"), plural(2, "case")) == ("1 case", "2 cases")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("two\r\n lines\tand a tab", "two lines and a tab"),
        ("\x1b[31mred\x1b[0m", "[31mred[0m"),
        ("a\x00b\x07c\x9bd", "abcd"),
        ("txt.\u202eexe\u2069", "txt.exe"),
        ("half \ud800 pair", "half pair"),
        ("größe µs 模型", "größe µs 模型"),
        ("x" * 3000, "x" * 1999 + "…"),
    ],
)
def test_text_of_strangers_becomes_one_plain_line(text: str, shown: str) -> None:
    assert plain(text) == shown


@pytest.mark.parametrize(
    ("unix_seconds", "text"),
    [
        (1795298400.0, "2026-11-21 22:00:00 UTC"),
        (-86400.0, "1969-12-31 00:00:00 UTC"),
        (9.2e18, "9200000000000000000 s after 1970"),
    ],
)
def test_a_moment_of_a_clock_that_is_wrong_is_told_all_the_same(unix_seconds: float, text: str) -> None:
    assert moment(unix_seconds) == text
