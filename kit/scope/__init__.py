"""What is affected, each subject with its why; who did it; and what the evidence does not reach.

To add: a way from a finding to pods → `pods`; what follows from something affected → `reach`, each with a case and its benign twin; a
limit → `limits`, with a variation in tests/test_scope.py or tests/test_degradation.py.
"""
