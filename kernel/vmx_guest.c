/* Intel VMX: what virt.h promises of exits and state, compiled with this vendor's accessors. */
#include <vmx.h>
#include <vcpu_exit.h>
#include <vcpu_state.h>

void vmx_exit(struct ec *ec) { guest_exit(ec); }
void vmx_show(struct ec *ec, struct exit_state *x, uint64_t mtd) { guest_show(ec, x, mtd); }
uint64_t vmx_take(struct ec *ec, const struct exit_state *x, uint64_t mtd)
{
    return guest_take(ec, x, mtd);
}
