"""Many pictures: jobs that survive crashes and go on where they were.

`plan` makes jobs from folders, patterns and tables; `engine` has them done and tells of each, for
`batches` and for the sheets of `pynst.experiments`. `processes` starts processes in which `work`
does one job after another, with the `targets` that they share; `cluster` sends jobs to other
machines. What is finished or was broken off is found again by `kept`, `histories` and `manifest`.
"""
