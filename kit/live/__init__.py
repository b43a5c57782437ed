"""The only room that reaches an account or a cluster: previews, applies, checks and undoes what a plan says, and nothing else.

Clients (connection) → one change each, with what it looks at, how it is done and undone (change, objects) → the changes of each action
(pods, isolation, bindings, workloads, service_accounts, exposure, …) → the engine that walks a plan (apply).
"""
