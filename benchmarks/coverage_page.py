"""The words around the table of benchmarks/coverage.py."""

PAGE = """# How often the intervals hold

Written by `{command}` on {date} ({machine}): the page is that script's output.

## The method

A verdict says that a candidate at a concurrency level is R times as fast as the baseline. R is the
baseline's wall clock ÷ the candidate's, over the frames that both answered in every block.

1. **Shares.** At every instant a cell's wall clock is divided equally among the requests in flight, so
   that each frame has a number of seconds that add up to the cell's wall clock, waves or not
   (`wall_shares`).
2. **Groups.** Frames in time order are cut into 4 to 8 groups: whole waves where there are enough of
   them, and never inside a run of neighbours that look alike by their hashes (`group_frames`). A group
   counts as one observation; groups of unequal size count as fewer (Kish).
3. **Variance.** log R is linearised (delta method) per block and group. A two-way analysis of variance
   with blocks and groups both random gives the variance of log R from the block means (V_b), from the
   group means (V_g), and from what neither explains (V_e). Since both sides have the same frames and
   blocks, what slows both alike cancels.
4. **Interval.** R · exp(± half), where half² is the larger of
   `t_b² V_b + t_g² max(V_g - V_e, 0)` and `t_g² V_g + t_b² max(V_b - V_e, 0)`,
   with the t quantiles t_b and t_g of the degrees of freedom of blocks and of groups. Each term carries
   its own quantile, as in modified large-sample intervals (Graybill and Wang 1980). One t quantile with
   Satterthwaite's degrees of freedom, the usual choice, is shown beside it.
5. **Choice of a level.** The simultaneous interval of each level is the same at 1 - 5 % ÷ levels
   (Bonferroni), over every candidate level that answered every frame. All of them hold together, so the
   level with the best lower bound may be chosen without picking the luckiest. With 2 degrees of freedom
   between blocks a method that uses how alike the levels are (max-t) would have to estimate that from
   three numbers; it is not used.

With one block nothing is known about differences between blocks, with one group (all frames look alike)
nothing about differences between frames: the table says so (`between_blocks_known`,
`between_groups_known`) and the interval holds for that block, or for those frames, only.

## The table

Each row: {runs} runs drawn from the scenario, each with a baseline and four candidate levels (1, 2, 4, 8
in flight). The truth is the ratio of expected wall clocks. *Coverage*: how often the 95 % interval held
it, over all levels, with its own Monte-Carlo interval. *Lowest level*: the level with the lowest
coverage. *Median width*: (high - low) ÷ estimate. *t over frames*: what an interval from all frames of
all blocks as if independent would cover. *Satterthwaite*: see 4. *All lower bounds together*: how often
the simultaneous lower bounds of all four levels lay below their truths (97.5 % is asked). *Chosen
level's bound*: the same for the level with the best lower bound, which a verdict would choose.

What to read from it:

- The interval covers what it says, or more. 93 to 97 % was aimed at; with two and three blocks, and with
  heavy tails, it is more, and the interval is wide: what so little data cannot tell it does not assume.
  Two blocks leave one degree of freedom (t = 12.7, and
  50.9 for four levels at once), three leave two (t = 4.3, and 8.9), five leave four (t = 2.8, and 4.3).
  Where blocks differ, five of them give little more than half the width of three, and for a choice among
  four levels less than half of it.
- Not reachable: runs of frames that are slow or fast together although their hashes do not show it. With
  16 frames in such runs of 4 there are only four scenes, and the interval takes them for up to eight;
  with 50 frames most of it is held. More frames, further apart, are the remedy, not more blocks.
"""

SUMMARY = """
Apart from hidden runs of like frames, coverage lies between {lowest:.1%} and {highest:.1%}; with five
blocks or more, between {lowest_5:.1%} and {highest_5:.1%}."""
