#include <root/hardware/clock.h>
#include <root/hardware/port.h>
#include <root/hardware/rate.h>
#include <root/slots.h>
#include <lib/bell.h>
#include <lib/hw/cpuid.h>
#include <lib/string.h>

enum cmos { CMOS_INDEX = 0x70, CMOS_DATA = 0x71 };
enum rtc { RTC_SECOND, RTC_MINUTE = 2, RTC_HOUR = 4, RTC_DAY = 7, RTC_MONTH, RTC_YEAR };
enum rtc_status { RTC_STATUS_A = 10, RTC_STATUS_B };
enum rtc_bit { A_UPDATING = 0x80, B_24_HOURS = 0x02, B_BINARY = 0x04, HOUR_PM = 0x80 };

struct date {
    uint8_t second, minute, hour, day, month, year; /* year: since 2000 */
};

static uint64_t hz = 1;
static uint16_t pm_timer;

static uint32_t read_timer(void) { return port_in32(pm_timer); }

static uint8_t rtc(uint8_t index)
{
    port_out8(CMOS_INDEX, index);
    return port_in8(CMOS_DATA);
}

/* Until an update is over, 2 ms at most: what is read meanwhile is undefined. */
static void rtc_wait(void)
{
    for (uint32_t tries = 0; tries < 100000 && rtc(RTC_STATUS_A) & A_UPDATING; tries++)
        ;
}

static struct date read_date(void)
{
    rtc_wait();
    return (struct date){rtc(RTC_SECOND), rtc(RTC_MINUTE), rtc(RTC_HOUR),
                         rtc(RTC_DAY),    rtc(RTC_MONTH),  rtc(RTC_YEAR)};
}

static uint8_t from_bcd(uint8_t value) { return (uint8_t)((value >> 4) * 10 + (value & 15)); }

static void decode(struct date *d, uint8_t status)
{
    bool pm = d->hour & HOUR_PM && !(status & B_24_HOURS);
    d->hour &= (uint8_t)~HOUR_PM;
    if (!(status & B_BINARY))
        *d = (struct date){from_bcd(d->second), from_bcd(d->minute), from_bcd(d->hour),
                           from_bcd(d->day),    from_bcd(d->month),  from_bcd(d->year)};
    if (!(status & B_24_HOURS))
        d->hour = (uint8_t)(d->hour % 12 + (pm ? 12 : 0));
}

/* Days from 1 January 1970 to the date. Gregorian; years 2000..2099, where every fourth is a leap
 * year. */
static uint64_t days(const struct date *d)
{
    static const uint16_t before[12] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    uint32_t month = d->month >= 1 && d->month <= 12 ? d->month - 1u : 0;
    uint32_t leap_days = (d->year + 3u) / 4 + (d->year % 4 == 0 && month >= 2);
    return 10957 + d->year * 365ull + leap_days + before[month] + (d->day ? d->day - 1u : 0);
}

static uint64_t wall_ns(void)
{
    struct date d = read_date(), again = read_date();
    for (uint32_t tries = 0; tries < 10 && memcmp(&d, &again, sizeof(d)) != 0; tries++) {
        d = again;
        again = read_date();
    }
    decode(&d, rtc(RTC_STATUS_B));
    return (((days(&d) * 24 + d.hour) * 60 + d.minute) * 60 + d.second) * 1000000000ull;
}

static uint32_t read_second(void)
{
    rtc_wait();
    uint8_t second = rtc(RTC_SECOND);
    return rtc(RTC_STATUS_B) & B_BINARY ? second : from_bcd(second);
}

/* What the processor says itself (CPUID 15h, SDM2); 0: nothing. */
static uint64_t told_rate(void)
{
    struct cpuid ratio = cpu_cpuid(0x15, 0);
    bool told = cpu_cpuid(0, 0).eax >= 0x15 && ratio.eax && ratio.ebx;
    return told ? (uint64_t)ratio.ecx * ratio.ebx / ratio.eax : 0;
}

uint64_t clock_init(const struct acpi *acpi, struct clock *clock)
{
    static const struct rate_source timer = {read_timer, tsc}, date = {read_second, tsc};
    pm_timer = acpi->pm_timer;
    uint64_t measured = pm_timer ? rate_measure(&timer) : 0;
    if (measured == 0)
        measured = told_rate();
    if (measured == 0)
        measured = rate_measure_seconds(&date);
    if (measured == 0)
        return BAD_ARG;
    clock->tsc_hz = hz = measured;
    clock->wall_ns = wall_ns();
    clock->wall_tsc = tsc();
    return OK;
}

uint64_t clock_ticks(uint64_t ms) { return hz / 1000 * ms; }

void clock_sleep(uint64_t until) { bell_wait(SLOT_SLEEP, until); }
