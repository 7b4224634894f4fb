/* The frame pool. */
#include <frame.h>

uint16_t frame_owner[POOL_MOST];        /* object index of the PD that pays; 0: free */
static uint16_t frame_stack[POOL_MOST]; /* the free ones */
static uint32_t frame_count;

void frame_init(uint32_t more)
{
    counters.frames = counters.frames_free = frame_count = POOL_FRAMES + more;
    for (uint32_t i = 0; i < frame_count; i++)
        frame_stack[i] = (uint16_t)(frame_count - 1 - i);
}

void *frame_new(struct pd *payer)
{
    check_that(has_graph_lock() && !payer->head.dead);
    if (!payer->frames_left || !frame_count)
        return 0;
    uint16_t i = frame_stack[--frame_count];
    frame_owner[i] = object_index(payer);
    /* mutant: frame-taken */
    payer->frames_left--;
    counters.frames_free = frame_count;
    cpu_zero_page(&pool[i]);
    return &pool[i];
}

/* Where `frames` free ones lie together; POOL_MOST: nowhere. */
static uint32_t find_run(uint32_t frames)
{
    uint32_t run = 0, end = 0;
    for (; run < frames && end < counters.frames; end++)
        run = frame_owner[end] ? 0 : run + 1;
    return run == frames ? end - frames : POOL_MOST;
}

void *frame_run(struct pd *payer, uint32_t frames)
{
    uint32_t first = find_run(frames), left = 0;
    if (first == POOL_MOST || frames > payer->frames_left)
        return 0;
    for (uint32_t i = first; i < first + frames; i++) {
        frame_owner[i] = object_index(payer);
        cpu_zero_page(&pool[i]);
    }
    for (uint32_t i = 0; i < frame_count; i++)
        if (!frame_owner[frame_stack[i]])
            frame_stack[left++] = frame_stack[i];
    payer->frames_left -= frames;
    counters.frames_free = frame_count = left;
    return &pool[first];
}

void frame_free(void *frame)
{
    uint16_t i = (uint16_t)((struct frame *)frame - pool);
    objects[frame_owner[i]].pd.frames_left++;
    /* mutant: frame-given */
    frame_owner[i] = 0;
    frame_stack[frame_count++] = i;
    counters.frames_free = frame_count;
}

void frame_free_all(struct pd *owner)
{
    for (uint32_t i = 0; i < counters.frames; i++)
        if (frame_owner[i] == object_index(owner))
            frame_free(&pool[i]);
}

uint64_t *frame_table(uint64_t entry) { return cpu_pool_address(entry & 0x000ffffffffff000ull); }
