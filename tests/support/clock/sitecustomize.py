"""Clock skew: on PYTHONPATH, this shifts the wall clock of a Python process by CLOCK_SKEW_S seconds."""

import datetime
import os
import time

_SKEW_S = float(os.environ.get("CLOCK_SKEW_S", "0"))
_real, _time, _time_ns = datetime.datetime, time.time, time.time_ns


class _Told(type):
    """Treats ordinary datetimes as instances too."""

    def __instancecheck__(cls, one):
        return isinstance(one, _real)


class Datetime(datetime.datetime, metaclass=_Told):
    """A datetime whose `now` is shifted."""

    @classmethod
    def now(cls, tz=None):
        return _real.fromtimestamp(time.time(), tz)

    @classmethod
    def utcnow(cls):
        return cls.now(datetime.UTC).replace(tzinfo=None)


if _SKEW_S:
    time.time = lambda: _time() + _SKEW_S
    time.time_ns = lambda: _time_ns() + round(_SKEW_S * 1e9)
    vars(datetime)["datetime"] = Datetime
