"""Tickets for people: on a terminal a line each, or TSV, or JSON lines; in a pipe the documents themselves (docs/stages/queue.md).

TSV columns: ID, name, state, status, why. CIT_OUTPUT (table, tsv, json) is what a terminal shows; a pipe follows options only,
so that no setting of a person breaks a script.
"""

from __future__ import annotations

import os
import sys
from typing import Callable

from .cit_format import body, messages
from .cit_format.document import Document
from .cit_format.errors import CONFIG, CitError

TABLE, TSV, JSON, DOCUMENTS = "table", "tsv", "json", "documents"


def wanted(tsv: bool, json: bool, terminal: bool, configured: str) -> str:
    """The form that options, the terminal and CIT_OUTPUT ask for; 78 where CIT_OUTPUT is none."""
    if tsv or json:
        return TSV if tsv else JSON
    if not terminal:
        return DOCUMENTS
    if configured not in ("", TABLE, TSV, JSON):
        raise CitError(CONFIG, f"CIT_OUTPUT is {configured!r}", "it is table, tsv or json, or not set")
    return configured or TABLE


def tsv_line(ticket: Document) -> bytes:
    """ID, name, state, status and why."""
    said = ticket.table("ticket")
    return body.row(ticket.id, ticket.name, str(said["state"]), str(said.get("status", "")), str(said.get("why", "")))


def table_line(ticket: Document) -> bytes:
    """For eyes: the ID's last six characters, state, name, and why it was refused."""
    said = ticket.table("ticket")
    why = f"  {said['why']}" if "why" in said else ""
    return f"{ticket.id[-6:]}  {said['state']:<9}  {ticket.name}{messages.clean(why)}\n".encode()


def json_line(ticket: Document) -> bytes:
    """One JSON object: id, name and the ticket's keys."""
    import json

    return json.dumps({"id": ticket.id, "name": ticket.name, **ticket.table("ticket")}, ensure_ascii=False).encode() + b"\n"


def writer(tsv: bool = False, json: bool = False) -> Callable[[Document], bytes]:
    """How this run writes a ticket."""
    form = wanted(tsv, json, sys.stdout.isatty(), os.environ.get("CIT_OUTPUT", ""))
    return {TABLE: table_line, TSV: tsv_line, JSON: json_line, DOCUMENTS: lambda ticket: ticket.raw}[form]
