/* The object table. */
#include <object.h>

struct object objects[OBJECTS];
struct kernel_stat stat;

static void *object_free_slot(void)
{
    for (uint32_t i = 1; i < OBJECTS; i++)
        if (objects[i].head.type == OBJ_NONE)
            return &objects[i];
    return 0;
}

void *object_new(enum object_type type, struct pd *payer)
{
    struct object *o = payer->objects_left ? object_free_slot() : 0;
    if (!o)
        return 0;
    uint64_t gen = o->head.gen;
    *o = (struct object){.size = {0}}; /* all of it: naming another member would leave what lies beyond that one unsaid */
    o->head.owner = object_index(payer);
    o->head.gen = gen + 1;
    __atomic_store_n(&o->head.type, (uint8_t)type, __ATOMIC_RELEASE); /* last: a stale capability fits neither before nor after */
    payer->objects_left--;
    stat.objects_free--;
    return o;
}

void object_free(void *object)
{
    struct object *o = object;
    objects[o->head.owner].pd.objects_left++;
    stat.objects_free++;
    o->head.type = OBJ_NONE;
}
