"""An emulated machine's screen, read back by the font that draws it, and its monitor."""

import json
import re
import socket

import rig


def glyphs():
    """{rows of dots: character} of lib/font.h."""
    text = (rig.SOURCE / "lib/font.h").read_text()
    codes = [int(code, 16) for code in re.findall(r"\b(0x[0-9a-f]{10}),", text)]
    assert len(codes) == 95
    return {tuple(code >> 35 - y // 2 * 5 & 31 for y in range(16)): chr(0x20 + i) for i, code in enumerate(codes)}


def read_picture(path):
    """The lines of text on a screenshot (a PPM), by cells of 8 by 16; what is no glyph is a ?."""
    kind, width, height, _, pixels = re.fullmatch(rb"(P6)\s(\d+)\s(\d+)\s(\d+)\s(.*)", path.read_bytes(), re.DOTALL).groups()
    assert kind == b"P6"
    width, height, known, lines = int(width), int(height), glyphs(), []
    lit = [pixels[i] > 127 for i in range(0, 3 * width * height, 3)]
    for top in range(0, height - 15, 16):
        line = ""
        for left in range(0, width - 7, 8):
            rows = [lit[(top + y) * width + left : (top + y) * width + left + 8] for y in range(16)]
            bits = tuple(sum(row[1 + x] << 4 - x for x in range(5)) for row in rows)
            line += "?" if any(row[0] or row[6] or row[7] for row in rows) else known.get(bits, "?")
        lines.append(line.rstrip())
    return lines


def monitor(path, command):
    """What the human monitor answers."""
    with socket.socket(socket.AF_UNIX) as door:
        door.connect(str(path))
        lines = door.makefile("rw")
        for request in {"execute": "qmp_capabilities"}, {"execute": "human-monitor-command", "arguments": {"command-line": command}}:
            print(json.dumps(request), file=lines, flush=True)
            while "return" not in (answer := json.loads(lines.readline())):
                assert "error" not in answer, answer
        return answer["return"]


def picture(door, folder):
    """The lines on the screen."""
    monitor(door, f"screendump {folder}/picture")
    return read_picture(folder / "picture")
