/* The object table. */
#include <object.h>

struct object objects[OBJECTS];
struct kernel_stat counters;

static void *object_free_slot(void)
{
    for (uint32_t i = 1; i < OBJECTS; i++)
        if (objects[i].head.type == OBJ_NONE)
            return &objects[i];
    return 0;
}

void *object_new(enum object_type type, struct pd *payer)
{
    check_that(has_graph_lock() && !payer->head.dead);
    struct object *o = payer->objects_left ? object_free_slot() : 0;
    if (!o)
        return 0;
    uint64_t gen = o->head.gen;
    /* `size` is the whole slot (object.h asserts it): all bytes become zero. */
    *o = (struct object){.size = {0}};
    o->head.owner = object_index(payer);
    /* mutant: object-generation */
    o->head.gen = gen + 1;
    /* Last: cap_find() reads the type first, then the generation. */
    __atomic_store_n(&o->head.type, (uint8_t)type, __ATOMIC_RELEASE);
    /* mutant: object-quota */
    payer->objects_left--;
    counters.objects_free--;
    return o;
}

void object_free(void *object)
{
    check_that(has_graph_lock());
    struct object *o = object;
    objects[o->head.owner].pd.objects_left++;
    counters.objects_free++;
    o->head.type = OBJ_NONE;
}
