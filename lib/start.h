/* Stack of a program whose first thread has none (root): the program defines `root_stack`, of so
 * many bytes, 16-aligned, and start.S loads it. */
#ifndef LIB_START_H
#define LIB_START_H

#define ROOT_STACK_SIZE 0x4000

#endif
