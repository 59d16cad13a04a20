/** What is read back from a disk or put together from parts, held against plain models with whatever may come. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { SpanFill } from "../../../src/cache/span-fill.ts";
import { formatMark, parseMark } from "../../../src/cache/store/disk-mark.ts";
import { decodeRecord, encodeRecord } from "../../../src/cache/store/disk-record.ts";
import { RangeSource } from "../../../src/edge/phases/ranges.ts";
import type { BodyReader } from "../../../src/http/body.ts";
import { multipartOutline } from "../../../src/http/byteranges.ts";
import { Fields } from "../../../src/http/fields.ts";
import type { ByteRange } from "../../../src/http/range.ts";
import { hostileText } from "../http/hostile.ts";

const RUNS = 400;
const encoder = new TextEncoder();

/** A body that comes in pieces of these sizes, again and again; it breaks off after `bytes` when they are fewer. */
function inPieces(content: Uint8Array, sizes: readonly number[], breaksAt = Number.POSITIVE_INFINITY) {
  let at = 0;
  let turn = 0;
  const state = { cancelled: false, asked: 0 };
  const body: BodyReader = {
    async read() {
      state.asked++;
      if (at >= breaksAt) throw new Error("it broke off");
      if (at >= content.byteLength) return null;
      const size = sizes[turn++ % sizes.length] ?? 1;
      const piece = content.subarray(at, Math.min(content.byteLength, breaksAt, at + size));
      at += piece.byteLength;
      return piece;
    },
    cancel() {
      state.cancelled = true;
    },
  };
  return { body, state };
}

/** Sizes of pieces, of which not all are empty. */
const pieceSizes = fc
  .array(fc.nat(40), { minLength: 1, maxLength: 6 })
  .filter((sizes) => sizes.some((size) => size > 0));

const numbered = (length: number) => Uint8Array.from({ length }, (_, i) => (i * 7 + (i >> 5)) & 255);

describe("a record", () => {
  const time = fc.integer({ min: 0, max: 2 ** 43 });
  const record = fc.record({
    status: fc.integer({ min: 200, max: 599 }),
    fields: fc
      .array(
        fc.tuple(
          fc.constantFrom("etag", "date", "x-one", "set-cookie"),
          hostileText(6).map((text) => text.replaceAll("\n", "")),
        ),
      )
      .map((list) => new Fields(list.flat())),
    coding: fc.constantFrom("identity", "gzip", "br", "zstd" as const),
    negotiable: fc.boolean(),
    freshness: fc.record({
      source: fc.constantFrom("edge-ttl", "max-age", "heuristic" as const),
      explicit: fc.boolean(),
      bornMs: time,
      freshUntilMs: time,
      whileRevalidateUntilMs: time,
      ifErrorUntilMs: time,
      mustRevalidate: fc.boolean(),
    }),
    validLocal: fc.nat(),
    dateMs: time,
    storedAtMs: time,
  });

  test("comes back as it was", () => {
    fc.assert(
      fc.property(record, (given) => {
        const wellFormed = given.fields.pack().isWellFormed();
        const back = decodeRecord(encodeRecord(given as Parameters<typeof encodeRecord>[0]));
        if (!wellFormed) return;
        const { fields, ...rest } = given;
        expect(back).toMatchObject(rest);
        expect([...(back?.fields.entries() ?? [])]).toEqual([...fields.entries()]);
        expect(back?.etag ?? null).toBe(fields.get("etag"));
      }),
      { numRuns: RUNS },
    );
  });

  test("that is anything else is none, or one that can be answered", () => {
    const member = fc.oneof(
      fc.jsonValue(),
      fc.double(),
      fc.constantFrom(1, 0, -1, 200, 1e308, "", "a\nb", "a\n", "a\nb\nc"),
    );
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      hostileText().map((text) => encoder.encode(text)),
      fc.array(member, { maxLength: 20 }).map((list) => encoder.encode(JSON.stringify(list))),
      // A good one with one member changed, or cut, or with a bit of it turned.
      fc.tuple(record, fc.nat(14), member).map(([good, index, value]) => {
        const list = JSON.parse(
          new TextDecoder().decode(encodeRecord(good as Parameters<typeof encodeRecord>[0])),
        );
        list[index] = value;
        return encoder.encode(JSON.stringify(list));
      }),
      fc.tuple(record, fc.nat(500), fc.nat(7), fc.boolean()).map(([good, at, bit, cut]) => {
        const made = encodeRecord(good as Parameters<typeof encodeRecord>[0]);
        if (cut) return made.subarray(0, at % made.byteLength);
        const changed = made.slice();
        changed[at % changed.byteLength] = (changed[at % changed.byteLength] ?? 0) ^ (1 << bit);
        return changed;
      }),
    );
    fc.assert(
      fc.property(bytes, (meta) => {
        const found = decodeRecord(meta);
        if (found === null) return;
        expect(Number.isInteger(found.status) && found.status >= 200 && found.status <= 599).toBe(true);
        expect(["identity", "gzip", "br", "zstd"]).toContain(found.coding);
        for (const value of Object.values(found.freshness)) expect(value).not.toBeNaN();
        for (const [name, value] of found.fields.entries())
          expect([typeof name, typeof value]).toEqual(["string", "string"]);
      }),
      { numRuns: RUNS * 5 },
    );
  });
});

describe("a mark", () => {
  test("comes back as it was", () => {
    fc.assert(
      fc.property(fc.uuid(), fc.maxSafeNat(), fc.maxSafeNat(), (log, sequence, local) => {
        expect(parseMark(formatMark({ log, sequence, local }))).toEqual({ log, sequence, local });
      }),
    );
  });

  test("that is anything else is none, or of whole numbers", () => {
    const text = fc.oneof(
      hostileText(),
      fc.tuple(hostileText(3), fc.bigInt(), fc.double()).map((list) => list.join(" ")),
      fc.constantFrom("a 9007199254740993 1", "a 1 9999999999999999", "a  1 1", "a 1 1 ", "a 1 1\n"),
    );
    fc.assert(
      fc.property(text, (given) => {
        const found = parseMark(given);
        if (found !== null)
          expect([Number.isSafeInteger(found.sequence), Number.isSafeInteger(found.local)]).toEqual([
            true,
            true,
          ]);
      }),
      { numRuns: RUNS * 2 },
    );
    for (const wrong of ["a 9007199254740993 1", "a 1 9999999999999999", "a  1 1", "a 1 1 ", "a 1 1\n"])
      expect(parseMark(wrong)).toBeNull();
  });
});

/** Ranges within a length, in order and apart. */
const ascending = (length: number): fc.Arbitrary<ByteRange[]> =>
  fc.uniqueArray(fc.nat(length - 1), { minLength: 2, maxLength: 12 }).map((points) => {
    const sorted = points.sort((a, b) => a - b);
    return Array.from({ length: sorted.length >> 1 }, (_, i) => ({
      start: sorted[2 * i] as number,
      end: sorted[2 * i + 1] as number,
    }));
  });

/** Ranges as a viewer may ask for them: in any order, some over others. */
const anyhow = (length: number): fc.Arbitrary<ByteRange[]> =>
  fc.array(
    fc
      .tuple(fc.nat(length - 1), fc.nat(length - 1))
      .map(([a, b]) => ({ start: Math.min(a, b), end: Math.max(a, b) })),
    { minLength: 1, maxLength: 6 },
  );

async function all(reader: BodyReader): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  for (let piece = await reader.read(); piece !== null; piece = await reader.read()) pieces.push(piece);
  return Buffer.concat(pieces);
}

describe("ranges out of one body", () => {
  const LENGTH = 300;
  const content = numbered(LENGTH);

  test("that is the whole are its slices, whatever the pieces", async () => {
    await fc.assert(
      fc.asyncProperty(ascending(LENGTH), pieceSizes, async (ranges, sizes) => {
        const { body, state } = inPieces(content, sizes);
        const source = new RangeSource(body, [{ start: 0, end: LENGTH - 1 }], ranges);
        for (const range of ranges)
          expect(await all(source.reader(range))).toEqual(
            Buffer.from(content.subarray(range.start, range.end + 1)),
          );
        expect(state.cancelled).toBe(true);
      }),
      { numRuns: RUNS },
    );
  });

  test("that is those ranges one after another are its parts, in any order, and a body that breaks off is no shorter part", async () => {
    await fc.assert(
      fc.asyncProperty(anyhow(LENGTH), pieceSizes, fc.option(fc.nat(600)), async (ranges, sizes, cut) => {
        const joined = Buffer.concat(ranges.map(({ start, end }) => content.subarray(start, end + 1)));
        const { body } = inPieces(cut === null ? joined : joined.subarray(0, cut), sizes);
        const source = new RangeSource(body, ranges, ranges);
        let there = cut ?? joined.byteLength;
        for (const range of ranges) {
          const size = range.end - range.start + 1;
          const reading = all(source.reader(range));
          if (size > there) {
            await expect(reading).rejects.toMatchObject({ code: "body_incomplete" });
            return;
          }
          expect(await reading).toEqual(Buffer.from(content.subarray(range.start, range.end + 1)));
          there -= size;
        }
      }),
      { numRuns: RUNS },
    );
  });

  test("an outline has its length, and is read back as its parts", () => {
    fc.assert(
      fc.property(
        anyhow(LENGTH),
        fc.option(fc.constantFrom("video/mp4", "text/plain; charset=utf-8")),
        fc.uuid(),
        (ranges, type, boundary) => {
          const outline = multipartOutline(ranges, LENGTH, type, boundary);
          const pieces = outline.heads.flatMap((head, i) => {
            const range = ranges[i];
            return range === undefined ? [head] : [head, content.subarray(range.start, range.end + 1)];
          });
          const whole = Buffer.concat(pieces);
          expect(whole.byteLength).toBe(outline.length);
          let at = 0;
          for (const { start, end } of ranges) {
            const line = at === 0 ? `--${boundary}\r\n` : `\r\n--${boundary}\r\n`;
            const head = `${line}${type === null ? "" : `Content-Type: ${type}\r\n`}Content-Range: bytes ${start}-${end}/${LENGTH}\r\n\r\n`;
            expect(whole.toString("latin1", at, at + head.length)).toBe(head);
            at += head.length;
            expect(whole.subarray(at, at + end - start + 1)).toEqual(
              Buffer.from(content.subarray(start, end + 1)),
            );
            at += end - start + 1;
          }
          expect(whole.toString("latin1", at)).toBe(`\r\n--${boundary}--\r\n`);
        },
      ),
      { numRuns: RUNS },
    );
  });
});

test("a span hands over whole blocks, in order, each once, whatever the pieces; and says when it did not", async () => {
  const BLOCK = 16;
  const shape = fc.tuple(fc.integer({ min: 1, max: 200 }), fc.nat(12), fc.nat(12)).map(([length, a, b]) => {
    const blocks = Math.ceil(length / BLOCK);
    const first = Math.min(a, b) % blocks;
    const last = Math.min(blocks, first + 1 + Math.abs(a - b));
    return { length, start: first * BLOCK, end: Math.min(length, last * BLOCK) };
  });
  await fc.assert(
    fc.asyncProperty(
      shape,
      pieceSizes,
      fc.constantFrom("whole", "short", "broken", "more", "stopped" as const),
      fc.nat(200),
      async ({ length, start, end }, sizes, how, at) => {
        const content = numbered(length);
        const right = content.subarray(start, end);
        const cut = at % right.byteLength;
        const given =
          how === "short"
            ? right.subarray(0, cut)
            : how === "more"
              ? Buffer.concat([right, numbered(40)])
              : right;
        const { body, state } = inPieces(given, sizes, how === "broken" ? cut : undefined);
        const stored = new Map<number, Uint8Array>();
        let stopping: (() => void) | null = null;
        const fill: SpanFill = new SpanFill(body, start, end, {
          blockBytes: BLOCK,
          length,
          async store(block, bytes) {
            expect(stored.has(block)).toBe(false);
            stored.set(block, bytes.slice());
            if (stored.size === 1 + (at % 3)) stopping?.();
          },
          arrived: () => undefined,
        });
        if (how === "stopped") stopping = () => fill.stop();
        const whole = await fill.run();
        for (const [block, bytes] of stored)
          expect(bytes).toEqual(content.slice(block * BLOCK, Math.min(length, (block + 1) * BLOCK)));
        expect([...stored.keys()]).toEqual(Array.from({ length: stored.size }, (_, i) => start / BLOCK + i));
        const blocks = Math.ceil((end - start) / BLOCK);
        expect(whole).toBe(stored.size === blocks);
        if (how === "whole" || how === "more") expect([whole, fill.error]).toEqual([true, null]);
        if (how === "short" || how === "broken") expect([whole, fill.error === null]).toEqual([false, false]);
        if (how === "stopped") expect(fill.error).toBeNull();
        if (!whole || how === "more") expect(state.cancelled).toBe(true);
        expect(fill.ended).toBe(true);
      },
    ),
    { numRuns: RUNS },
  );
});
