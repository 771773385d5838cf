"""The second runtime: the same operator on Apache Flink, where one machine ends.

`reading` and `updates` do the work and know nothing of Flink; `job` hangs them into a PyFlink job; `control` submits,
watches, stops and resumes that job through Flink's own command and REST interface, without PyFlink being installed
beside it; `cluster` starts Flink on this machine.
"""
