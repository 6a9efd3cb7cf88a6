"""Many pictures: jobs that survive crashes and go on where they were.

`plan` makes jobs from folders, patterns and tables; `batches` has them done and tells of each.
`processes` starts processes in which `work` does one job after another, with the `targets` that
they share; `cluster` sends jobs to other machines. What is finished or was broken off is found
again by `kept` and `manifest`.
"""
