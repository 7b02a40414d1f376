"""The tables of the store, version by version (docs/batch.md says what they mean).

`PRAGMA user_version` counts the steps that a file has seen.  A step never changes once it is released; a new version
is a new step at the end.  All steps that are missing are taken in one transaction, so that a store is of one version.
"""

from __future__ import annotations

import sqlite3

APPLICATION_ID = 0x46_52_4B_53  # "FRKS"

_FIRST = """
CREATE TABLE environment (
    digest TEXT PRIMARY KEY, content TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE run (
    id TEXT PRIMARY KEY, suite TEXT NOT NULL, options TEXT NOT NULL, environment TEXT NOT NULL,
    started REAL NOT NULL, ended REAL, state TEXT NOT NULL, driver TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE instance (
    run TEXT NOT NULL, number INTEGER NOT NULL, category TEXT NOT NULL, onnx TEXT NOT NULL, vnnlib TEXT NOT NULL,
    folder TEXT NOT NULL, timeout_s REAL NOT NULL, expected TEXT NOT NULL, question TEXT, attempt TEXT,
    reused INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (run, number)
) WITHOUT ROWID;
CREATE TABLE question (
    key TEXT PRIMARY KEY, content TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE attempt (
    id TEXT PRIMARY KEY, question TEXT, run TEXT NOT NULL, number INTEGER NOT NULL, started REAL NOT NULL,
    timeout_s REAL NOT NULL, memory_bytes INTEGER, code TEXT NOT NULL, verdict TEXT NOT NULL, reason TEXT NOT NULL,
    evidence TEXT NOT NULL, semantics TEXT NOT NULL, wall_s REAL NOT NULL, cpu_s REAL NOT NULL,
    peak_bytes INTEGER NOT NULL, message TEXT NOT NULL, details TEXT NOT NULL, digest TEXT NOT NULL
);
CREATE INDEX attempt_by_question ON attempt (question);
CREATE INDEX attempt_by_run ON attempt (run);
CREATE TABLE bound (
    attempt TEXT NOT NULL, time_s REAL NOT NULL, bound REAL, boxes INTEGER NOT NULL, leaves INTEGER NOT NULL,
    open INTEGER NOT NULL
);
CREATE INDEX bound_by_attempt ON bound (attempt);
CREATE TABLE file (
    attempt TEXT NOT NULL, kind TEXT NOT NULL, sha256 TEXT NOT NULL, bytes INTEGER NOT NULL,
    PRIMARY KEY (attempt, kind)
) WITHOUT ROWID;
CREATE TABLE claim (
    question TEXT PRIMARY KEY, driver TEXT NOT NULL, run TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE journal (
    place INTEGER NOT NULL
);
INSERT INTO journal VALUES (0);
CREATE VIEW contradiction AS
    SELECT question, count(DISTINCT verdict) AS verdicts FROM attempt
    WHERE verdict IN ('sat', 'unsat') AND question IS NOT NULL
    GROUP BY question HAVING count(DISTINCT verdict) > 1;
CREATE VIEW result AS
    SELECT i.run, i.number, i.category, i.onnx, i.vnnlib, i.folder, i.timeout_s, i.expected, i.question, i.reused,
           a.id AS attempt, a.verdict, a.reason, a.evidence, a.semantics, a.wall_s, a.cpu_s, a.peak_bytes, a.message,
           a.details, a.run AS solved_in, a.started, a.code
    FROM instance i LEFT JOIN attempt a ON a.id = i.attempt;
"""

STEPS = (_FIRST,)
VERSION = len(STEPS)


class NewerStore(Exception):
    """The file was written by a later version."""


def migrate(connection: sqlite3.Connection) -> None:
    """Brings a store to the present version; raises NewerStore, and sqlite3.DatabaseError for what is no store."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (found,) = connection.execute("PRAGMA user_version").fetchone()
        if application not in (0, APPLICATION_ID):
            raise NewerStore(f"its application id is {application:#x}, that of a store is {APPLICATION_ID:#x}")
        if application == 0 and connection.execute("SELECT count(*) FROM sqlite_master").fetchone() != (0,):
            raise NewerStore("it is a database of something else")
        if found > VERSION:
            raise NewerStore(f"its schema has version {found}, this program knows {VERSION}; update Farkas")
        for step in STEPS[found:]:
            for statement in filter(str.strip, step.split(";\n")):
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
