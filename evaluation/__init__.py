"""Did it learn the voice, does it still reason, does it still see: base against tuned.

__main__   the command line                suites      the questions of each suite, from files
run        what is asked of which model    benchmarks  those of public sets
question   what is asked                   programs    those answered in code, and running it
ask        the asking, with kept replies   scorers     what a final answer is worth
replies    the store of what was said      statistics  intervals and paired comparisons
judge      points of design answers        report      report.md; charts, its pictures
results    from scores to result.json      index       the table of recipes
gates      what a tuned model must show    track       the run in W&B
"""
