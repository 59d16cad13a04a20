/** What travels on the bus: taken when the control plane signed it, as it was, and nothing else. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { cut, join } from "../../../../src/service/bus/bus-connection.ts";
import {
  type BusEntry,
  claimedLog,
  newLogKey,
  readEntry,
  readOpenKey,
  readSecretKey,
  readSnapshot,
  signEntry,
  signSnapshot,
} from "../../../../src/service/bus/bus-entry.ts";
import { HEARD_BYTES_MAX } from "../../../../src/service/bus/bus-limits.ts";
import { entryDigest } from "../../../../src/service/log-digest.ts";

const pair = newLogKey();
const { secret } = readSecretKey(pair.secret);
const open = readOpenKey(pair.open);
const other = readSecretKey(newLogKey().secret).secret;
const TEXT = JSON.stringify({ kind: "purge", targets: ["ä", "\u0000", '"'] });

function entry(over: Partial<BusEntry> = {}): BusEntry {
  const made = { log: "l", sequence: 7, acceptedMs: 5, before: "b", text: TEXT, pieces: null, ...over };
  return { digest: entryDigest(made.before, made.sequence, made.acceptedMs, TEXT), ...made };
}

describe("an entry", () => {
  test("is what was signed", () => {
    expect(readEntry(signEntry(entry(), secret), open)).toEqual(entry());
    expect(claimedLog(signEntry(entry(), other))).toBe("l");
  });

  test("of another key, of another kind, or whose body is not that of its digest is none", () => {
    expect(readEntry(signEntry(entry(), other), open)).toBeNull();
    expect(readEntry(signEntry(entry({ text: "{}" }), secret), open)).toBeNull();
    expect(readEntry(signEntry(entry({ text: null }), secret), open)).toBeNull();
    const pieces = { count: 1, bytes: 1, sha256: "0".repeat(64) };
    expect(readEntry(signEntry(entry({ pieces }), secret), open)).toBeNull();
    const snapshot = signSnapshot({ log: "l", number: 1, pieces }, secret);
    expect(readSnapshot(snapshot, open)).toEqual({ log: "l", number: 1, pieces });
    expect(readEntry(snapshot, open)).toBeNull();
    // What one kind says is nothing in the other, though the same key signed it.
    const renamed = signEntry(entry(), secret);
    expect(readSnapshot(renamed, open)).toBeNull();
  });

  test("that was changed anywhere is none, and no bytes are an error", () => {
    const message = signEntry(entry(), secret);
    fc.assert(
      fc.property(fc.nat(message.byteLength - 1), fc.integer({ min: 1, max: 255 }), (at, by) => {
        const changed = Uint8Array.from(message);
        changed[at] = (changed[at] ?? 0) ^ by;
        const read = readEntry(changed, open);
        // Base64 has bits that nobody reads, and JSON has more than one way to write.
        if (read !== null) expect(read).toEqual(entry());
      }),
      { numRuns: 3_000 },
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.uint8Array(),
          fc.json().map((text) => Buffer.from(text)),
        ),
        (bytes) => {
          expect(readEntry(bytes, open)).toBeNull();
          expect(readSnapshot(bytes, open)).toBeNull();
          claimedLog(bytes);
        },
      ),
      { numRuns: 2_000 },
    );
    expect(readEntry(new Uint8Array(HEARD_BYTES_MAX + 1), open)).toBeNull();
  });

  test("is signed with the one kind of key", () => {
    for (const text of ["", "AAAA", pair.secret]) expect(() => readOpenKey(text)).toThrow();
    expect(() => readSecretKey("no key")).toThrow();
  });
});

describe("a body in pieces", () => {
  test("is put together as it was", async () => {
    const text = Array.from({ length: 200_000 }, () => crypto.randomUUID()).join("");
    const whole = await cut(text);
    if (whole === null) throw new Error("it is too large");
    expect(whole.pieces.count).toBeGreaterThan(5);
    expect(await join(whole.pieces, async (i) => whole.parts[i] ?? null)).toBe(text);
  });

  test("of which one is missing, in another place, or of something larger is none", async () => {
    const whole = await cut("x".repeat(100));
    if (whole === null) throw new Error("it is too large");
    const { pieces, parts } = whole;
    const get = async (i: number) => parts[i] ?? null;
    expect(await join({ ...pieces, count: 2 }, get)).toBeNull();
    expect(await join({ ...pieces, sha256: "0".repeat(64) }, get)).toBeNull();
    // It is not expanded beyond what was signed.
    expect(await join({ ...pieces, bytes: 99 }, get)).toBeNull();
    await fc.assert(
      fc.asyncProperty(fc.uint8Array(), async (bytes) => {
        expect(await join(pieces, async () => bytes)).toBeNull();
      }),
    );
  });
});
