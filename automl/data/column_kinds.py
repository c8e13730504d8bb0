"""What the columns of a table hold: found over all rows, chunk by chunk, and how each kind becomes an array."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from automl.data.raw import Array
from automl.dataset_spec import Column, ColumnKind

if TYPE_CHECKING:
    import pandas as pd

_BOOLEAN_TEXTS = {"true": 1.0, "yes": 1.0, "false": 0.0, "no": 0.0}
_ISO = "ISO8601"
_ISO_START = r"\d{4}-\d{1,2}-\d{1,2}"
_DAYS = ("%Y/%m/%d", "%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%d-%b-%Y")
_DATE_FORMATS = (_ISO, *(day + time for day in _DAYS for time in ("", " %H:%M", " %H:%M:%S")))
_MICROSECONDS_A_DAY = 86_400e6

_TRIED_TEXTS = 100  # where fewer than half of these are dates, the column is none
_COUNTED_TEXTS = 1_000_000  # beyond this many different texts they are no longer counted
_TEXT_WORDS = 3.0
_TEXT_DISTINCT = 0.5
_FEWEST_IDS = 10


class ColumnScan:
    """What is known of one column after the chunks that were added.

    Attributes:
        name: Its name.
        rows: Number of rows seen.
        missing: How many of them have no value.
    """

    def __init__(self, name: str) -> None:
        """Begin with no rows."""
        self.name = name
        self.rows = 0
        self.missing = 0
        self._numbers = 0
        self._booleans = 0
        self._stamps = 0
        self._low, self._high = np.inf, -np.inf
        self._is_category = False
        self._texts = _TextScan()

    def add(self, series: pd.Series) -> None:
        """Add the column's values in the next rows."""
        from pandas.api import types

        values = series.dropna()
        self.rows += len(series)
        self.missing += len(series) - len(values)
        if types.is_bool_dtype(series.dtype) and not isinstance(series.dtype, types.CategoricalDtype):
            self._booleans += len(values)
            self._add_range(values.to_numpy(dtype=np.float64))
        elif types.is_numeric_dtype(series.dtype):
            self._numbers += len(values)
            self._add_range(values.to_numpy(dtype=np.float64))
        elif types.is_datetime64_any_dtype(series.dtype):
            self._stamps += len(values)
            self._add_range(_days(values))
        else:
            self._is_category |= isinstance(series.dtype, types.CategoricalDtype)
            self._texts.add(values)

    def column(self) -> Column:
        """Return what the column holds."""
        return Column(name=self.name, kind=self.kind, date_format=self._texts.date_format if self._is_date else "")

    @property
    def kind(self) -> ColumnKind:
        """What the column holds."""
        if self._is_category:
            return ColumnKind.CATEGORY
        if self._numbers == self.present:
            return ColumnKind.NUMBER
        if self._booleans + self._texts.rows == self.present and self._texts.is_boolean:
            return ColumnKind.BOOLEAN
        if self._is_date:
            return ColumnKind.DATE
        return ColumnKind.TEXT if self._texts.is_prose else ColumnKind.CATEGORY

    @property
    def present(self) -> int:
        """Number of rows that have a value."""
        return self.rows - self.missing

    @property
    def is_constant(self) -> bool:
        """True when every row has the same value."""
        if self.missing or self.rows < 2:
            return False
        if self._texts.rows:
            return self._texts.rows == self.rows and self._texts.distinct == 1
        return self._low == self._high

    @property
    def is_id(self) -> bool:
        """True when every row has a short text of its own."""
        return self.kind is ColumnKind.CATEGORY and self.present >= _FEWEST_IDS and self.has_distinct_texts

    @property
    def has_distinct_texts(self) -> bool:
        """True when every row that has a value has another text."""
        return self._texts.rows == self.present > 0 and self._texts.all_distinct

    @property
    def doubt(self) -> str:
        """Why the column is no date although it looks like one; empty where it does not."""
        if self._is_category or self._is_date or self._texts.rows != self.present or not self.present:
            return ""
        return self._texts.doubt

    @property
    def _is_date(self) -> bool:
        written = self._texts.rows > 0 and bool(self._texts.date_format)
        return self.present > 0 and self._stamps + (self._texts.rows if written else 0) == self.present

    def _add_range(self, values: npt.NDArray[np.float64]) -> None:
        if len(values):
            self._low = min(self._low, float(values.min()))
            self._high = max(self._high, float(values.max()))


class _TextScan:
    """What is known of a column's texts. What is counted are the different texts of each chunk."""

    def __init__(self) -> None:
        self.rows = 0
        self.is_boolean = True
        self._unique = 0
        self._words = 0
        self._dates = dict.fromkeys(_DATE_FORMATS, 0)
        self._hashes: npt.NDArray[np.uint64] = np.empty(0, np.uint64)
        self._counted_rows = 0

    def add(self, values: pd.Series) -> None:
        import pandas as pd

        if not len(values):
            return
        texts = pd.Series(values.astype("str").unique(), dtype="str")
        self.rows += len(values)
        self._unique += len(texts)
        self._words += _count_words(texts)
        self.is_boolean = self.is_boolean and bool(texts.str.strip().str.lower().isin(list(_BOOLEAN_TEXTS)).all())
        self._count_distinct(texts, len(values))
        self._count_dates(texts)

    @property
    def distinct(self) -> int:
        return len(self._hashes)

    @property
    def all_distinct(self) -> bool:
        return self.distinct == self._counted_rows

    @property
    def is_prose(self) -> bool:
        """Free text: several words, and mostly another text in each row."""
        return self._words >= _TEXT_WORDS * self._unique and self.distinct > _TEXT_DISTINCT * self._counted_rows

    @property
    def date_format(self) -> str:
        """The format that reads every text as a date; empty where none does, or where two do that disagree."""
        complete = self._complete_formats()
        return "" if not complete or _swapped(complete[0]) in complete else complete[0]

    @property
    def doubt(self) -> str:
        if self._complete_formats():
            return "may be day/month or month/day"
        most = max(self._dates.values(), default=0)
        return f"is a date in only {most} of {self._unique} different values" if most > self._unique / 2 else ""

    def _complete_formats(self) -> list[str]:
        return [date_format for date_format, count in self._dates.items() if count == self._unique > 0]

    def _count_distinct(self, texts: pd.Series, rows: int) -> None:
        import pandas as pd

        if self.distinct < _COUNTED_TEXTS:
            hashes = pd.util.hash_array(texts.to_numpy(dtype=object), categorize=False)
            self._hashes = pd.unique(np.concatenate([self._hashes, hashes]))  # ten times as fast as union1d
            self._counted_rows += rows

    def _count_dates(self, texts: pd.Series) -> None:
        for date_format in tuple(self._dates):
            first = texts.head(_TRIED_TEXTS)
            if 2 * np.isfinite(parse_dates(first, date_format)).sum() < len(first):
                del self._dates[date_format]
            else:
                self._dates[date_format] += int(np.isfinite(parse_dates(texts, date_format)).sum())


def parse_dates(texts: pd.Series, date_format: str) -> npt.NDArray[np.float64]:
    """Return days since 1970-01-01, shape (rows,); NaN where a text is no date of that format."""
    import pandas as pd

    if date_format == _ISO:  # pandas would also take 2020 or 20200102
        texts = texts.where(texts.str.match(_ISO_START).fillna(False).astype(bool))
    return _days(pd.to_datetime(texts, format=date_format, errors="coerce", utc=True))


def to_array(series: pd.Series, column: Column) -> Array:
    """Return a column's values as a `Batch` holds them: (rows,) float64 with NaN where missing, or object with `""`."""
    import pandas as pd
    from pandas.api import types

    if column.kind in (ColumnKind.CATEGORY, ColumnKind.TEXT):
        return texts_of(series)
    if column.kind is ColumnKind.DATE:
        if types.is_datetime64_any_dtype(series.dtype):
            return _days(series)
        return parse_dates(series.astype("str"), column.date_format or _ISO)
    if types.is_numeric_dtype(series.dtype) or types.is_bool_dtype(series.dtype):
        return series.to_numpy(dtype=np.float64, na_value=np.nan)
    texts_or_missing = series.astype("str").str.strip()
    if column.kind is ColumnKind.BOOLEAN:
        words = texts_or_missing.str.lower().map(_BOOLEAN_TEXTS)
        numbers = pd.to_numeric(texts_or_missing, errors="coerce")  # 0 and 1 are booleans too
        return words.fillna(numbers.where(numbers.isin([0, 1]))).to_numpy(dtype=np.float64, na_value=np.nan)
    parsed: Array = pd.to_numeric(texts_or_missing, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    return parsed


def texts_of(series: pd.Series) -> Array:
    """Return a column's values as text, shape (rows,), object holding `str`; `""` where missing."""
    import pandas as pd

    present = series if isinstance(series.dtype, pd.StringDtype) else series.astype(object).astype("str")
    texts: Array = present.fillna("").to_numpy(dtype=object)
    return texts


def _count_words(texts: pd.Series) -> int:
    """Return the number of words in all texts; pyarrow counts them far faster than pandas."""
    import pyarrow as pa
    import pyarrow.compute as pc

    gaps = pc.sum(pc.count_substring_regex(pa.array(texts.to_numpy(dtype=object), pa.large_string()), r"\s+"))
    return len(texts) + int(gaps.as_py())


def _days(stamps: pd.Series) -> npt.NDArray[np.float64]:
    naive = stamps.dt.tz_convert("UTC").dt.tz_localize(None) if stamps.dt.tz is not None else stamps
    instants = naive.to_numpy(dtype="datetime64[us]")
    days = instants.astype(np.int64) / _MICROSECONDS_A_DAY
    return np.where(np.isnat(instants), np.nan, days)


def _swapped(date_format: str) -> str:
    """Return the format with day and month exchanged, where both are numbers between slashes; else `""`."""
    return date_format.replace("%m/%d/", "%d/%m/") if date_format.startswith("%m/%d/") else ""
