/* What the machine has, as records for the tool: one line `probe ...` each. */
#ifndef ROOT_PROBE_H
#define ROOT_PROBE_H

void probe_report(void);

#endif
