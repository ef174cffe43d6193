"""The journal of an audit: what is asked of which picture, and what was found, in one SQLite file.

Whatever is written is written in one transaction with the mark that it is done, so an audit that is killed goes on
where it was, and nothing of a large dataset needs to be held in memory.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.errors import UsageError

_TABLES = """
CREATE TABLE asked (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE picture (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, is_done INTEGER NOT NULL DEFAULT 0);
CREATE TABLE caption (
    id INTEGER PRIMARY KEY, picture INTEGER NOT NULL REFERENCES picture, line INTEGER NOT NULL, text TEXT NOT NULL,
    score REAL, errors INTEGER, words INTEGER, found TEXT
);
CREATE INDEX caption_of_picture ON caption (picture);
CREATE INDEX open_picture ON picture (id) WHERE is_done = 0;
CREATE TABLE problem (id INTEGER PRIMARY KEY, line INTEGER, picture TEXT, caption TEXT, reason TEXT NOT NULL);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A caption that waits.

    Attributes:
        id: of the caption.
        line: of the file that it came from, from 1.
        text: the caption.
    """

    id: int
    line: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What was found in a caption.

    Attributes:
        id: of the caption.
        score: how suspicious it is, higher is worse.
        errors: how many of its words are called errors.
        words: how many words it has.
        detail: what the report says of it.
    """

    id: int
    score: float
    errors: int
    words: int
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What could not be audited, and why."""

    line: int | None
    picture: str | None
    caption: str | None
    reason: str

    def as_line(self) -> dict[str, Any]:
        """The problem as a line of a report, without what does not apply."""
        named = {"line": self.line, "image": self.picture, "caption": self.caption, "reason": self.reason}
        return {name: value for name, value in named.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A readable line of the captions file: a picture and its captions."""

    number: int
    picture: str
    captions: Sequence[str]


class Journal:
    """One audit's file; a context manager. Not for several threads."""

    def __init__(self, file: Path) -> None:
        """Open the file, or make it, and keep others from it.

        Raises:
            UsageError: another audit is at work on it, or it is none.
        """
        self._file = file
        self._db = sqlite3.connect(file, isolation_level=None, timeout=0)
        try:
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("BEGIN EXCLUSIVE")
            self._db.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            self._db.close()
            what = "another audit is at work on it" if "locked" in str(error) else f"it is no audit's journal ({error})"
            raise UsageError(f"{file} cannot be used: {what}; name another folder with --out.") from error

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def begin(self, asked: Mapping[str, str], lines: Iterable[Line | Problem]) -> None:
        """Take in all lines at once, unless an audit that was begun has them already.

        Args:
            asked: what the audit is of, by name: file, bundle, settings.
            lines: of the captions file; read only when they are not there yet.

        Raises:
            UsageError: the journal is of another audit.
        """
        try:
            begun = dict(self._db.execute("SELECT name, value FROM asked"))
        except sqlite3.OperationalError:  # there is no such table yet
            begun = {}
        if begun:
            self._refuse_another(begun, asked)
            return
        try:
            self._db.execute("BEGIN IMMEDIATE")
            for statement in filter(str.strip, _TABLES.split(";")):
                self._db.execute(statement)
            for line in lines:
                self._add(line)
            self._db.executemany("INSERT INTO asked VALUES (?, ?)", asked.items())
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _refuse_another(self, begun: Mapping[str, str], asked: Mapping[str, str]) -> None:
        for name, value in asked.items():
            if begun.get(name) != value:
                raise UsageError(
                    f"{self._file.parent} holds an audit of another {name} ({begun.get(name)}, not {value}); name "
                    "another folder with --out, or remove that one."
                )

    def _add(self, line: Line | Problem) -> None:
        if isinstance(line, Problem):
            self._add_problems([line])
            return
        self._db.execute("INSERT OR IGNORE INTO picture (name) VALUES (?)", (line.picture,))
        (picture,) = self._db.execute("SELECT id FROM picture WHERE name = ?", (line.picture,)).fetchone()
        self._db.executemany(
            "INSERT INTO caption (picture, line, text) VALUES (?, ?, ?)",
            [(picture, line.number, caption) for caption in line.captions],
        )

    def _add_problems(self, problems: Iterable[Problem]) -> None:
        self._db.executemany(
            "INSERT INTO problem (line, picture, caption, reason) VALUES (?, ?, ?, ?)",
            [(one.line, one.picture, one.caption, one.reason) for one in problems],
        )

    def next(self, count: int) -> dict[tuple[int, str], list[Asked]]:
        """The next pictures that wait, by id and name, each with its captions."""
        pictures = self._db.execute("SELECT id, name FROM picture WHERE is_done = 0 ORDER BY id LIMIT ?", (count,))
        captions = "SELECT id, line, text FROM caption WHERE picture = ? ORDER BY id"
        return {
            (at, name): [Asked(id=id, line=line, text=text) for id, line, text in self._db.execute(captions, (at,))]
            for at, name in pictures.fetchall()
        }

    def done(self, pictures: Iterable[int], found: Iterable[Found], problems: Iterable[Problem]) -> None:
        """Write down what was found of some pictures, and that they are done."""
        self._db.execute("BEGIN IMMEDIATE")
        self._db.executemany(
            "UPDATE caption SET score = ?, errors = ?, words = ?, found = ? WHERE id = ?",
            [(one.score, one.errors, one.words, json.dumps(one.detail, ensure_ascii=False), one.id) for one in found],
        )
        self._add_problems(problems)
        self._db.executemany("UPDATE picture SET is_done = 1 WHERE id = ?", [(picture,) for picture in pictures])
        self._db.execute("COMMIT")

    def progress(self) -> tuple[int, int]:
        """How many pictures are done, and of how many."""
        done, total = self._db.execute("SELECT COALESCE(SUM(is_done), 0), COUNT(*) FROM picture").fetchone()
        return int(done), int(total)

    def totals(self, *, least: float) -> dict[str, int]:
        """How much was audited and found; for `least` see `suspects`."""
        captions, words, suspects, errors = self._db.execute(
            "SELECT COUNT(score), COALESCE(SUM(words), 0), COALESCE(SUM(errors > 0 OR score >= ?), 0), "
            "COALESCE(SUM(errors), 0) FROM caption",
            (least,),
        ).fetchone()
        (problems,) = self._db.execute("SELECT COUNT(*) FROM problem").fetchone()
        return {"captions": captions, "words": words, "suspects": suspects, "errors": errors, "problems": problems}

    def suspects(self, *, least: float) -> Iterator[dict[str, Any]]:
        """The captions with a word that is called an error, or a score of at least this, the worst first."""
        rows = self._db.execute(
            "SELECT picture.name, line, text, score, found FROM caption JOIN picture ON picture.id = caption.picture "
            "WHERE errors > 0 OR score >= ? ORDER BY score DESC, caption.id",
            (least,),
        )
        for rank, (name, line, text, score, found) in enumerate(rows, start=1):
            yield {"rank": rank, "image": name, "line": line, "caption": text, "score": score, **json.loads(found)}

    def problems(self) -> Iterator[Problem]:
        """What could not be audited."""
        rows = self._db.execute("SELECT line, picture, caption, reason FROM problem ORDER BY id")
        for line, picture, caption, reason in rows:
            yield Problem(line=line, picture=picture, caption=caption, reason=reason)
