/* clock.h: the clock of the loops, which only goes forward: when to look at the caller, when a
 * limit of time is over. */
#ifndef GD_CLOCK_H
#define GD_CLOCK_H

double gd_seconds(void);

#endif
