"""What was written to a disk, as QEMU's driver blklogwrites logs it, and the disk that a power cut would have left."""

import struct

SECTOR = 512
FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8
JOURNAL, BY_FUA = 0xC03B3998, (2, 3, 4)  # jbd2's magic; a commit record and its superblocks


class Entry:
    """A write: `sector` and `count`, with its bytes at `data` of the log. Its end there is `end`."""

    def __init__(self, at, words):
        self.sector, self.count, self.flags, _ = words
        self.data = at + SECTOR
        self.end = self.data + (0 if self.flags & DISCARD else self.count * SECTOR)
        self.lasts = bool(self.flags & FUA)


def read_log(path):
    """The bytes of a log, and its entries, in the order in which they ended. The first sector counts entries, but only up to
    the last flush: it is not asked. Nothing follows where a header is zeros, or its data ends beyond the file: there the
    emulator was killed."""
    log, entries, at = path.read_bytes(), [], SECTOR
    assert struct.unpack_from("<Q", log)[0] == 0x6A736677736872 and struct.unpack_from("<I", log, 24)[0] == SECTOR
    while at + SECTOR <= len(log):
        entry = Entry(at, struct.unpack_from("<4Q", log, at))
        if entry.end > len(log) or not (entry.count or entry.flags):
            break
        # QEMU 10.0's NVMe controller ignores FUA: what Linux writes with it is known by its contents.
        if entry.count and entry.end > entry.data:
            magic, kind = struct.unpack_from(">2I", log, entry.data)
            entry.lasts |= magic == JOURNAL and kind in BY_FUA
        entries.append(entry)
        at = entry.end
    return log, entries


def write(disk, log, entry, keeps):
    """Those of its sectors of which keeps(number) is true."""
    if entry.flags & DISCARD:
        return  # what is there then is nobody's business
    for i in range(entry.count):
        if keeps(i):
            at, start = entry.data + i * SECTOR, (entry.sector + i) * SECTOR
            disk[start : start + SECTOR] = log[at : at + SECTOR]


class Replay:
    """A disk, blank at first, and cuts one after the other, each later than the one before."""

    def __init__(self, path, size):
        self.log, self.entries = read_log(path)
        self.disk, self.done = bytearray(size), 0  # all entries below `done` are on it, whole

    def cut(self, end, chance):
        """The disk if the power goes after `end` entries. What was written after the last flush before that has come to it, or
        not: of each write all, nothing, or some sectors, by `chance`. And how many writes that concerned."""
        flushed = max((i + 1 for i in range(self.done, end) if self.entries[i].flags & FLUSH), default=self.done)
        for entry in self.entries[self.done : flushed]:
            start, size = entry.sector * SECTOR, entry.end - entry.data
            self.disk[start : start + size] = self.log[entry.data : entry.end]
        self.done = flushed
        disk, part, open_writes = bytearray(self.disk), chance.random(), 0
        for entry in self.entries[flushed:end]:
            whole, torn = chance.random() < part, chance.random() < 0.5
            open_writes += not entry.lasts
            write(disk, self.log, entry, lambda _: entry.lasts or (chance.random() < part if torn else whole))
        return disk, open_writes
