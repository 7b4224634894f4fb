/* A VM's memory: its RAM, and its store, which is all beside that. */
#ifndef ROOT_STORE_H
#define ROOT_STORE_H

#include <root/vm/vm.h>

/* Take the VM's memory, RAM and store, for good: no other VM gets a frame of it, in no life. Once,
 * before anything is mapped. NO_MEMORY: the machine has not enough; the console says so. */
uint64_t store_take(struct vm *vm) WARN_UNUSED;
/* Map the store, not the RAM, into root's own space, for good. BAD_ARG: it could not be mapped. */
uint64_t store_open(struct vm *vm) WARN_UNUSED;
/* For a VM that is created later: the sizes of all its pieces, of `store.size` bytes together, and
 * then, once store.base is known, the places of its files; its ports, before a switch has them. */
void store_lay_out(struct vm *vm);
void store_place_copies(struct vm *vm);
void store_clear_ports(const struct vm *vm);
/* Make the store as new, for the next life: everything but the copies of files, what of the
 * LAN's rings is the switch's, and what it said on its console. No domain of the VM is alive. */
void store_fill(struct vm *vm);
/* Clear RAM that was another VM's. Then copy the volatile disks anew from their modules, or once
 * all files of a VM that was created, from byte `vm->copied` on. As long as the turn lasts. True:
 * done.
 */
bool store_copy_files(struct vm *vm);
/* Has it all that it starts with? A VM that was created has it once that was copied: what it was
 * uploaded to may be another's by then. */
static inline bool store_is_whole(const struct vm *vm)
{
    return !vm->created || vm->file[FILE_KERNEL].source == vm->file[FILE_KERNEL].base;
}
/* LAN frames lost in this life: those that it sent, and those for it. Counted by the VMM and the
 * switch, which both may lie. Without a LAN both are 0. */
void store_lost(const struct vm *vm, uint64_t *sent, uint64_t *received);
/* Map pieces and files of this VM into its VMM's PD: files and configuration read-only, disks in
 * memory and the other pieces to write too, nothing to execute. The status of the first call that
 * failed. */
uint64_t store_map(const struct vm *vm) WARN_UNUSED;

#endif
