"""The rooms of the kit, from the ground up; tests/test_house.py holds the order, docs/rooms.md describes them."""

from __future__ import annotations

# A room imports only rooms before it in this list; those without a folder keep their place for what comes.
ROOMS = (
    "model",
    "store",
    "evidence",
    "inventory",
    "identities",
    "attribution",
    "scope",
    "actions",
    "questions",
    "playbooks",
    "statements",
    "plan",
    "case",
    "live",
    "exports",
    "show",
    "report",
    "training",
    "cli",
)
GROUND = ("errors", "whole_file", "lenient", "words")  # what lies at the top, in this order: every room may use it
