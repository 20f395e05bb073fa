/* ops/data/data.h - the commands that prepare data: `weir filter`, `weir dedup` (docs/data.md). */
#ifndef OPS_DATA_DATA_H
#define OPS_DATA_DATA_H

/* argv[0] is the word; the exit code of docs/exit-codes.md. */
int filter_command(int argc, char **argv);
int dedup_command(int argc, char **argv);

#endif
