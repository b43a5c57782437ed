"""The questions that playbooks ask. Each module holds those of one topic; importing this package makes them known."""

from kit.questions import aws, calls, configuration, identity, incident, workloads
from kit.questions.question import QUESTIONS, Question

__all__ = ["QUESTIONS", "Question", "aws", "calls", "configuration", "identity", "incident", "workloads"]
