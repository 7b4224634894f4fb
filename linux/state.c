/* As in the UEFI stub. */
#include <boot/uefi/state.c>
