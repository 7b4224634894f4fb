/*
 * Quotas: from any state of the pool and of the object table, what a PD has
 * left and what it uses add up to the same before and after; a frame or slot
 * that is handed out was nobody's; nobody else's account moves.
 */
#include "small.h"
#include <object.c>
#include <frame.h>

struct frame pool[POOL_FRAMES];

#include <frame.c>
#include "../invariant/look.c"

enum { A = 2, B };

uint64_t cpu_pa(const void *p) { return (uint64_t)p; }
void *cpu_pool_address(uint64_t pa) { return (void *)pa; }
void cpu_zero_page(void *page) { check((uint64_t)page % PAGE_SIZE == (uint64_t)pool % PAGE_SIZE); }

/* Free frames, and no others, are on the stack, each once. */
static bool pool_is_sound(void)
{
    uint32_t free = 0;
    for (uint32_t i = 0; i < POOL_FRAMES; i++)
        free += !frame_owner[i];
    bool sound = free == frame_count && counters.frames_free == free;
    for (uint32_t i = 0; i < POOL_FRAMES && sound; i++) {
        sound = i >= frame_count || (frame_stack[i] < POOL_FRAMES && !frame_owner[frame_stack[i]]);
        for (uint32_t k = 0; k < i && sound; k++)
            sound = i >= frame_count || frame_stack[i] != frame_stack[k];
    }
    return sound;
}

static void any_pool(void)
{
    counters.frames = POOL_FRAMES;
    for (uint32_t i = 0; i < POOL_FRAMES; i++) {
        frame_owner[i] = (uint16_t)one_of(A, B, 0);
        frame_stack[i] = (uint16_t)any();
    }
    frame_count = counters.frames_free = (uint32_t)any();
    assume(pool_is_sound());
    for (uint32_t i = A; i <= B; i++) {
        objects[i].pd.frames_left = (uint32_t)any();
        assume(objects[i].pd.frames_left < 1u << 20);
    }
}

static uint32_t account(uint32_t i)
{
    return objects[i].pd.frames_left + frame_count_of(&objects[i].pd);
}

void frames_taken(void)
{
    any_pool();
    uint32_t a = account(A), b = account(B), left = objects[A].pd.frames_left, free = frame_count;
    uint16_t owner_before[POOL_FRAMES];
    for (uint32_t i = 0; i < POOL_FRAMES; i++)
        owner_before[i] = frame_owner[i];
    const struct frame *f = frame_new(&objects[A].pd);
    check(pool_is_sound() && account(A) == a && account(B) == b);
    check((f != 0) == (left && free));
    check(!f || (!owner_before[f - pool] && frame_payer(f) == A &&
                 objects[A].pd.frames_left == left - 1));
}

void frames_given(void)
{
    any_pool();
    uint32_t a = account(A), b = account(B);
    frame_free_all(&objects[A].pd);
    check(!frame_count_of(&objects[A].pd) && pool_is_sound() && account(A) == a && account(B) == b);
}

static uint32_t owned_by(uint32_t pd)
{
    uint32_t count = objects[pd].pd.objects_left;
    for (uint32_t i = B + 1; i < OBJECTS; i++)
        count += objects[i].head.type != OBJ_NONE && objects[i].head.owner == pd;
    return count;
}

/* Slots 4 and up hold anything; then one is taken, and one that was there is given back. */
void slots(void)
{
    for (uint32_t i = 1; i < OBJECTS; i++) {
        uint64_t type = any();
        assume(type < OBJ_COUNT);
        objects[i].head = (struct head){
            .type = i <= B ? OBJ_PD : (uint8_t)type, .owner = any() & 1 ? A : B, .gen = any()};
        objects[i].head.next = any() & (OBJECTS - 1);
        objects[i].head.prev = any() & (OBJECTS - 1);
    }
    objects[A].pd.owned = any() & (OBJECTS - 1);
    objects[B].pd.owned = any() & (OBJECTS - 1);
    free_slots = any() & (OBJECTS - 1);
    objects_end = (uint32_t)any();
    assume(objects_end > B && objects_end <= OBJECTS && objects[free_slots].head.type == OBJ_NONE &&
           (objects_end == OBJECTS || objects[objects_end].head.type == OBJ_NONE));
    objects[A].pd.objects_left = (uint32_t)any();
    objects[B].pd.objects_left = (uint32_t)any();
    assume(objects[A].pd.objects_left < OBJECTS && objects[B].pd.objects_left < OBJECTS);
    uint32_t a = owned_by(A), b = owned_by(B);
    uint64_t gen[OBJECTS];
    for (uint32_t i = 0; i < OBJECTS; i++)
        gen[i] = objects[i].head.type == OBJ_NONE ? objects[i].head.gen : 0;
    const struct head *fresh = object_new(OBJ_SM, &objects[A].pd);
    check(owned_by(A) == a && owned_by(B) == b);
    for (uint32_t i = B + 1; i < OBJECTS; i++)
        check(fresh != &objects[i].head ||
              (fresh->gen == gen[i] + 1 && fresh->owner == A && !fresh->dead));
    if (objects[OBJECTS - 1].head.type != OBJ_NONE)
        object_free(&objects[OBJECTS - 1]);
    check(owned_by(A) == a && owned_by(B) == b);
}
