import { describe, expect, test } from "bun:test";
import { ManualClock } from "../../../src/base/clock.ts";
import { Fill, FillBudget } from "../../../src/cache/fill.ts";
import { FILL_STALL_MS_MAX, FILL_WINDOW_BYTES_MAX } from "../../../src/cache/limits.ts";
import type { BodyReader } from "../../../src/http/body.ts";

/** A source that is fed by the test. */
function fed() {
  const queue: (Uint8Array | null | Error)[] = [];
  let waiting: (() => void) | null = null;
  const source = {
    reads: 0,
    cancelled: false,
    feed(item: Uint8Array | null | Error) {
      queue.push(item);
      waiting?.();
    },
    async read() {
      source.reads++;
      while (queue.length === 0) await new Promise<void>((resolve) => (waiting = resolve));
      const item = queue.shift();
      if (item instanceof Error) throw item;
      return item ?? null;
    },
    cancel() {
      source.cancelled = true;
    },
  };
  return source;
}

/** An endless source of pieces of 64 KiB. */
function endless() {
  const source = {
    bytes: 0,
    cancelled: false,
    async read() {
      source.bytes += 65_536;
      return new Uint8Array(65_536);
    },
    cancel() {
      source.cancelled = true;
    },
  };
  return source;
}

const clock = () => new ManualClock();
const fillOf = (source: BodyReader, retainBytesMax: number, budgetBytes = 1e9, at = clock()) =>
  new Fill(source, { clock: at, budget: new FillBudget(budgetBytes), retainBytesMax });
const bytes = (text: string) => new TextEncoder().encode(text);
const settle = () => new Promise((resolve) => setImmediate(resolve));

async function all(reader: BodyReader): Promise<string> {
  let text = "";
  for (let piece = await reader.read(); piece !== null; piece = await reader.read())
    text += new TextDecoder().decode(piece);
  return text;
}

/** What of a body is here at once; undefined where the rest has to be waited for. */
function atHand(...pieces: (Uint8Array | null | undefined)[]) {
  const later = fed();
  let reads = 0;
  return {
    later,
    get reads() {
      return reads;
    },
    readNow: () => pieces.shift(),
    read() {
      reads++;
      return later.read();
    },
    cancel: () => later.cancel(),
  };
}

describe("what of a body is here already", () => {
  test("is taken at once: a body that is whole is whole before anybody waits", async () => {
    const source = atHand(bytes("ab"), bytes("cd"), null);
    const fill = fillOf(source, 1_000);
    fill.start();
    expect([fill.state, fill.retained, fill.bytes, source.reads]).toEqual(["complete", true, 4, 0]);
    expect(await all(fill.join())).toBe("abcd");
  });

  test("comes before what is waited for, and the end is waited for too", async () => {
    const source = atHand(bytes("ab"), undefined, bytes("ef"), undefined);
    const fill = fillOf(source, 1_000);
    const reader = all(fill.join());
    expect([fill.state, fill.bytes, source.reads]).toEqual(["filling", 2, 1]);
    source.later.feed(bytes("cd"));
    source.later.feed(bytes("gh"));
    source.later.feed(null);
    expect(await reader).toBe("abcdgh");
  });

  test("is taken no further than the window has room", async () => {
    const piece = new Uint8Array(65_536);
    let given = 0;
    const source = {
      readNow() {
        given++;
        return piece;
      },
      read: () => Promise.resolve(piece),
      cancel() {},
    };
    const fill = fillOf(source, 100_000);
    const reader = fill.join();
    expect(given * piece.byteLength).toBeLessThanOrEqual(FILL_WINDOW_BYTES_MAX + 2 * 65_536);
    const before = given;
    for (let i = 0; i < 5; i++) await reader.read();
    expect(given - before).toBeLessThanOrEqual(5);
    reader.cancel();
  });

  test("fails like any other where it was cut", async () => {
    const source = atHand(bytes("ab"), undefined);
    const fill = fillOf(source, 1_000);
    const reader = all(fill.join());
    source.later.feed(new Error("cut"));
    await expect(reader).rejects.toThrow("cut");
    expect(await fill.whole()).toBe(false);
  });
});

describe("a fill", () => {
  test("gives every viewer the whole body, whenever they join", async () => {
    const source = fed();
    const fill = fillOf(source, 1_000);
    fill.start();
    const first = all(fill.join());
    source.feed(bytes("ab"));
    await settle();
    const second = all(fill.join());
    source.feed(bytes("cd"));
    source.feed(null);
    expect(await first).toBe("abcd");
    expect(await second).toBe("abcd");
    expect(await fill.whole()).toBe(true);
    expect(await all(fill.join())).toBe("abcd");
  });

  test("goes on when the viewer who started it leaves", async () => {
    const source = fed();
    const fill = fillOf(source, 1_000);
    const first = fill.join();
    const second = all(fill.join());
    first.cancel();
    source.feed(bytes("ab"));
    source.feed(null);
    expect(await second).toBe("ab");
    expect(await fill.whole()).toBe(true);
  });

  test("a cut body is an error for all, and never whole", async () => {
    const source = fed();
    const fill = fillOf(source, 1_000);
    const reader = all(fill.join());
    source.feed(bytes("ab"));
    source.feed(new Error("cut"));
    await expect(reader).rejects.toThrow("cut");
    expect(await fill.whole()).toBe(false);
    await expect(all(fill.join())).rejects.toThrow("cut");
  });

  test("that grows past what may be stored goes on as a window of limited size", async () => {
    const source = endless();
    const fill = fillOf(source, 100_000);
    fill.start();
    const reader = fill.join();
    for (let i = 0; i < 400; i++) await reader.read();
    expect(fill.retained).toBe(false);
    expect(await fill.whole()).toBe(false);
    await settle();
    expect(source.bytes - 400 * 65_536).toBeLessThanOrEqual(FILL_WINDOW_BYTES_MAX + 65_536);
    reader.cancel();
    expect(source.cancelled).toBe(true);
  });

  test("gives up a source that nobody reads and that may not be stored", async () => {
    const source = endless();
    const fill = fillOf(source, 100_000);
    fill.start();
    expect(await fill.whole()).toBe(false);
    expect(source.cancelled).toBe(true);
  });

  test("is not retained beyond the memory that all fills share", async () => {
    const source = endless();
    const fill = fillOf(source, 1e9, 200_000);
    const reader = fill.join();
    for (let i = 0; i < 10; i++) await reader.read();
    expect(fill.retained).toBe(false);
    reader.cancel();
  });

  test("waits for the slowest of those who are left, in whatever order the others leave", async () => {
    for (const leaving of [
      [0, 1, 2],
      [2, 1, 0],
      [1, 0, 2],
      [0, 2, 1],
    ]) {
      const source = endless();
      const fill = fillOf(source, 0);
      const readers = [fill.join(), fill.join(), fill.join(), fill.join()];
      const last = readers[3] as BodyReader;
      // Nobody is cut off: what a window holds is what the slowest one has not had.
      for (const reader of readers) await reader.read();
      for (const index of leaving) {
        readers[index]?.cancel();
        await last.read();
        expect(source.cancelled).toBe(false);
      }
      for (let read = 0; read < 2 * FILL_WINDOW_BYTES_MAX; read += 65_536) await last.read();
      last.cancel();
      expect(source.cancelled).toBe(true);
    }
  });

  test("cuts off the viewer who takes nothing while others wait, and only that one", async () => {
    const at = clock();
    const source = endless();
    const fill = fillOf(source, 0, 1e9, at);
    const slow = fill.join();
    const quick = fill.join();
    await slow.read();
    for (let read = 0; read < FILL_WINDOW_BYTES_MAX; read += 65_536) await quick.read();
    const blocked = quick.read();
    await settle();
    at.advance(FILL_STALL_MS_MAX);
    expect(await blocked).not.toBeNull();
    await expect(slow.read()).rejects.toThrow("took nothing");
    quick.cancel();
  });
});
