"""Training: labs on recordings of real attacks, their questions, marks and what a learner has done.

To add: a lab → its folder in `labs` with one `lab.toml`; right answers come from the ground truth of its case, never from the lab.
A question → a function in `about_family`, `about_case`, `about_evidence` or `about_acting`, which labs name; another kind of question → a class in `kinds`.
A further name that tells whose case it is → a pattern of `redaction`; a further file of evidence in a lab of one's own → a method of `own_evidence`.
"""
