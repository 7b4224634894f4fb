/* The VMs' console rings, a little of each in turn. */
#ifndef ROOT_OUTPUT_H
#define ROOT_OUTPUT_H

#include <root/vm/vm.h>

/* Take console output of all VMs in turn, as much as the line can hold; true: there is more. All
   but `focus` and those that end must wait (NULL: none). */
bool output_turn(const struct vm *focus);
/* What is typed for it; how many of the `n` bytes it took. None, where it has no VMM that reads. */
uint32_t output_type(const struct vm *vm, const char *bytes, uint32_t n);
/* All that an ended VM had said is in the queue. */
bool output_done(const struct vm *vm);
/* End lines that have stood unfinished for 400 ms. */
void output_flush(uint64_t now, const struct vm *focus);

#endif
