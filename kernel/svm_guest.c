/* AMD SVM: what virt.h promises of exits and state, compiled with this vendor's accessors. */
#include <svm.h>
#include <vcpu_exit.h>
#include <vcpu_state.h>

void svm_exit(struct ec *ec) { guest_exit(ec); }
void svm_show(struct ec *ec, struct exit_state *x, uint64_t mtd) { guest_show(ec, x, mtd); }
uint64_t svm_take(struct ec *ec, const struct exit_state *x, uint64_t mtd)
{
    return guest_take(ec, x, mtd);
}
