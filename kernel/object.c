/* The object table. */
#include <object.h>

struct object objects[OBJECTS];
struct kernel_stat counters;

/* Slots that were used before and are free, by head.next. */
static uint16_t free_slots;
uint32_t objects_end = 2;

static void *object_free_slot(void)
{
    struct object *o = &objects[free_slots ? free_slots : objects_end];
    if (free_slots)
        free_slots = o->head.next;
    else if (objects_end == OBJECTS)
        return 0;
    else
        objects_end++;
    return o;
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
    o->head.next = payer->owned;
    if (payer->owned)
        objects[payer->owned].head.prev = object_index(o);
    payer->owned = object_index(o);
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
    struct pd *owner = &objects[o->head.owner].pd;
    *(o->head.prev ? &objects[o->head.prev].head.next : &owner->owned) = o->head.next;
    if (o->head.next)
        objects[o->head.next].head.prev = o->head.prev;
    owner->objects_left++;
    counters.objects_free++;
    o->head.type = OBJ_NONE;
    o->head.next = free_slots;
    free_slots = object_index(o);
}
