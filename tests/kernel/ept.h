/*
 * A kernel with this before its ptab.c makes guests' tables in Intel's format (EPT) on any
 * processor. AMD's reads them, too, where a guest has all rights: the bits to read, write and
 * execute stand where its own for present, writable and user are. VT-d reads the same table.
 */
#include <virt.h>

#define virt_vmx true
