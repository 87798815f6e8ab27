"""Did it learn the voice, does it still reason, does it still see: base against tuned.

__main__   the command line                suites      the questions of each suite, from files
run        what is asked of which model    benchmarks  those of public sets
ask        the asking, with kept replies   programs    those answered in code, and running it
judge      points of design answers        scorers     what a final answer is worth
results    from scores to result.json      statistics  intervals and paired comparisons
gates      what a tuned model must show    report      report.md; charts, its pictures
index      the table of recipes            track       the run in W&B
"""
