"""The loop that turns VCF lines into two-bit calls; compiled, so it is imported inside functions only."""

from __future__ import annotations

from typing import Any

import numpy as np

from genomics_assets.gwas.compilation import compiled

# Columns of the table of lines.
START, HEAD_END, END, FIRST_ROW, ALTS = range(5)
HANDED_BACK = -1

_TAB, _LINE_FEED, _RETURN, _COLON, _COMMA, _DOT, _SLASH, _BAR, _ZERO = 9, 10, 13, 58, 44, 46, 47, 124, 48
_MISSING, _NO_CALL = -1, -2
_MOST_ALTS = 9
# A call such as `0/1` and a tab, as a little-endian word: what is left without the bits that tell 0 from 1.
_CALL_BITS = 0xFFFEFFFE
_SLASHED, _BARRED = 0x09302F30, 0x09307C30


@compiled()
def scan_lines(
    text: Any, words: Any, shifted: Any, size: int, samples: int, out: Any, lines: Any, x_calls: Any
) -> tuple[int, int]:
    """Scan whole lines; returns how many lines there are and how many rows they gave.

    Lines that are not plain are handed back: their first row is `HANDED_BACK`.

    Args:
        text: bytes of the lines, each ending in a line feed, with 8 bytes to spare behind them.
        words: the bytes as little-endian words of 4 bytes.
        shifted: the words that begin 1, 2 and 3 bytes later.
        size: bytes of the lines.
        samples: calls of each line.
        out: uint8 (rows, row_bytes), zeroed; lines for which it has no room are handed back.
        lines: int64 (lines, 5), filled: start, end of the ALT column, end, first row, ALT alleles.
        x_calls: int64 (samples, 2), added to: calls of one and of two alleles on chrX.
    """
    at, line, row = 0, 0, 0
    tabs = np.empty(9, np.int64)
    while at < size:
        found, start = 0, at
        while text[at] != _LINE_FEED and found < 9:
            if text[at] == _TAB:
                tabs[found] = at
                found += 1
            at += 1
        alts = 0
        ended = -1
        if found == 9:
            alts = 1
            for i in range(tabs[3] + 1, tabs[4]):
                if text[i] == _COMMA:
                    alts += 1
            only_gt = tabs[8] - tabs[7] == 3
            is_gt = text[tabs[7] + 1] == 71 and text[tabs[7] + 2] == 84
            if (
                is_gt
                and (only_gt or text[tabs[7] + 3] == _COLON)
                and alts <= _MOST_ALTS
                and row + alts <= len(out)
            ):
                on_x = _is_x(text, start, tabs[0])
                plain = only_gt and alts == 1 and not on_x
                ended = _scan_calls(
                    text,
                    words,
                    shifted,
                    tabs[8] + 1,
                    samples,
                    alts,
                    plain,
                    out[row : row + alts],
                    on_x,
                    x_calls,
                )
        if ended < 0:
            if alts:
                out[row : min(row + alts, len(out))] = 0
            while text[at] != _LINE_FEED:
                at += 1
            ended = at
            lines[line, FIRST_ROW] = HANDED_BACK
        else:
            lines[line, FIRST_ROW] = row
            row += alts
        lines[line, START] = start
        lines[line, HEAD_END] = tabs[4] if found > 4 else ended
        lines[line, END] = ended
        lines[line, ALTS] = alts
        at = ended + 1
        line += 1
    return line, row


@compiled()
def _scan_calls(
    text: Any, words: Any, shifted: Any, at: int, samples: int, alts: int, plain: bool, out: Any, on_x: bool,
    x_calls: Any,
) -> int:  # fmt: skip
    """Fill the rows of a line's ALT alleles; returns the place of its line feed, -1 where a call is not plain."""
    sample = 0
    while sample < samples:
        if plain and sample & 3 == 0:
            shift = at & 3
            if shift == 0:
                done = _plain_calls(words, at >> 2, samples - sample, out[0], sample >> 2)
            elif shift == 1:
                done = _plain_calls(shifted[0], at >> 2, samples - sample, out[0], sample >> 2)
            elif shift == 2:
                done = _plain_calls(shifted[1], at >> 2, samples - sample, out[0], sample >> 2)
            else:
                done = _plain_calls(shifted[2], at >> 2, samples - sample, out[0], sample >> 2)
            sample += done
            at += 4 * done
            if sample >= samples:
                return -1  # a tab behind the last call: one column too many
        first, at = _allele(text, at)
        if at < 0:
            return -1
        second = _NO_CALL
        if text[at] == _SLASH or text[at] == _BAR:
            second, at = _allele(text, at + 1)
            if at < 0:
                return -1
        if first > alts or second > alts:
            return -1
        if on_x and first >= 0 and second != _MISSING:
            x_calls[sample, 0 if second == _NO_CALL else 1] += 1
        for alt in range(1, alts + 1):
            out[alt - 1, sample >> 2] |= _code(first, second, alt) << (2 * (sample & 3))
        if text[at] == _COLON:
            while text[at] != _TAB and text[at] != _LINE_FEED:
                at += 1
        if text[at] == _RETURN:
            at += 1
        sample += 1
        if text[at] == _LINE_FEED:
            return at if sample == samples else -1
        if text[at] != _TAB or text[at - 1] == _RETURN:
            return -1
        at += 1
    return -1


@compiled()
def _plain_calls(words: Any, at: int, samples: int, out: Any, place: int) -> int:
    """Calls `0/0` to `1/1`, each with a tab behind it, four at a time; returns how many samples they were."""
    done = 0
    while done + 4 <= samples:
        code = 0
        plain = True
        for i in range(4):
            word = words[at + done + i]
            kind = word & _CALL_BITS
            plain = plain and (kind == _SLASHED or kind == _BARRED)  # noqa: SIM109 - compiled
            copies = (word & 1) + ((word >> 16) & 1)
            # 0, 1 and 2 copies are written 3, 2 and 0.
            code |= (3 - copies - (copies >> 1)) << (2 * i)
        if not plain:
            break
        out[place + (done >> 2)] = code
        done += 4
    return done


@compiled()
def _allele(text: Any, at: int) -> tuple[int, int]:
    """An allele's number and the place behind it; -1 for the place where there is none."""
    if text[at] == _DOT:
        return _MISSING, at + 1
    number, begin = 0, at
    while 0 <= text[at] - _ZERO <= 9 and at - begin < 3:
        number = 10 * number + text[at] - _ZERO
        at += 1
    return (number, at) if at > begin else (number, -1)


@compiled()
def _code(first: int, second: int, alt: int) -> int:
    if first == _MISSING or second == _MISSING:
        return 1
    if second == _NO_CALL:
        return 0 if first == alt else 3
    copies = (1 if first == alt else 0) + (1 if second == alt else 0)
    return 3 - copies - (copies >> 1)


@compiled()
def _is_x(text: Any, start: int, end: int) -> bool:
    """Whether a contig is called X, x, chrX or CHRX."""
    return (
        end > start
        and (text[end - 1] == 88 or text[end - 1] == 120)
        and (end - start == 1 or end - start == 4)
    )
