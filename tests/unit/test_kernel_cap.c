#include "rig.h"
static void hello(void **state)
{
    (void)state;
    uint64_t pd, t = make_thread(0, 5, &pd);
    assert_ptr_equal(current(), object_at(t));
    assert_int_equal(call(current(), CALL_NOP, 0, 0), OK);
}
int main(void)
{
    const struct CMUnitTest all[] = {RIG_TEST(hello)};
    return RIG_RUN(all);
}
