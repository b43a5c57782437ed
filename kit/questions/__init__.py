"""The questions that playbooks ask. Each module holds those of one topic; importing this package makes them known."""

from kit.question import QUESTIONS, Question
from kit.questions import aws, calls, configuration, identity, incident, workloads

__all__ = ["QUESTIONS", "Question", "aws", "calls", "configuration", "identity", "incident", "workloads"]
