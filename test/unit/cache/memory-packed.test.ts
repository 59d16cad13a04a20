/** What is packed: comes back as it was, is one thing with what somebody still holds, and is never seen by another. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { SLACK_BYTES_MIN } from "../../../src/cache/limits.ts";
import { MemoryStore } from "../../../src/cache/store/memory.ts";
import { PackedView } from "../../../src/cache/store/packed.ts";
import type { StoredParts, StoredResponse } from "../../../src/cache/stored.ts";
import { Fields } from "../../../src/http/fields.ts";
import { STORED_AT_MS, storedParts } from "../../kit/stored.ts";

const BYTES_MAX = 2 ** 20;
const keyOf = (name: string | number) => `shop https://shop.example/${name}`;
const NOBODY = Fields.from([]);

function openStore(
  bytesMax = BYTES_MAX,
  onRemoved: (entry: StoredResponse) => void = () => undefined,
): MemoryStore {
  return new MemoryStore({ bytesMax, objectBytesMax: bytesMax, onRemoved });
}

/** Puts enough of others for everything before to be packed. */
function crowd(store: MemoryStore): void {
  for (let at = 0; at < 100; at++) store.put(keyOf(`crowd-${at}`), [], "", storedParts(10), 64);
}

const isPacked = (store: MemoryStore, key: string): boolean =>
  [...store.entries()].some((met) => met instanceof PackedView && met.key === key);

/** Lets go of what the turn kept, and collects it. */
async function collect(): Promise<void> {
  for (let round = 0; round < 2; round++) {
    await new Promise((resolve) => setImmediate(resolve));
    Bun.gc(true);
  }
}

/** Everything about a response that a viewer, a purge or the disk could see. */
function seen(entry: StoredResponse): unknown {
  const { key, variant, vary, status, length, coding, negotiable, freshness, tags, etag, copy } = entry;
  const { validSequence, validLocal, lastModifiedMs, dateMs, storedAtMs, refreshNotBeforeMs, diskBorn } =
    entry;
  const forms = entry.forms.map(({ coding: of, body }) => [of, [...(body as Uint8Array)]]);
  return {
    ...{ key, variant, vary, status, length, coding, negotiable, freshness, tags, etag, copy, forms },
    ...{ validSequence, validLocal, lastModifiedMs, dateMs, storedAtMs, refreshNotBeforeMs, diskBorn },
    fields: [...entry.fields.entries()],
  };
}

const text = fc.string({
  unit: fc.integer({ min: 32, max: 255 }).map((code) => String.fromCharCode(code)),
  maxLength: 60,
});
const timeMs = fc.nat(10 ** 7).map((ms) => STORED_AT_MS + ms);
const coding = fc.constantFrom("identity", "gzip", "br", "zstd");
const partsOf: fc.Arbitrary<StoredParts> = fc.record({
  status: fc.integer({ min: 200, max: 599 }),
  fields: fc
    .array(fc.tuple(fc.constantFrom("a", "etag", "x-b"), text), { maxLength: 12 })
    .map((pairs) => Fields.from(pairs)),
  body: fc.uint8Array({ maxLength: 1_000 }),
  coding,
  negotiable: fc.boolean(),
  freshness: fc.record(
    {
      source: fc.constantFrom("edge-ttl", "max-age", "heuristic", "expires"),
      explicit: fc.boolean(),
      bornMs: timeMs,
      freshUntilMs: timeMs,
      whileRevalidateUntilMs: timeMs,
      ifErrorUntilMs: timeMs,
      mustRevalidate: fc.boolean(),
      softPurged: fc.constant(true as const),
    },
    {
      requiredKeys: [
        "source",
        "explicit",
        "bornMs",
        "freshUntilMs",
        "whileRevalidateUntilMs",
        "ifErrorUntilMs",
        "mustRevalidate",
      ],
    },
  ),
  tags: fc.uniqueArray(fc.constantFrom("t1", "t2", " group:shop.example:é"), { maxLength: 3 }),
  validSequence: fc.nat(),
  validLocal: fc.nat(2 ** 31).map((number) => number * 2 ** 20),
  etag: fc.option(text),
  lastModifiedMs: fc.option(timeMs),
  dateMs: timeMs,
  storedAtMs: timeMs,
});

describe("a packed response", () => {
  test("comes back as it was, with every variant and form", async () => {
    const variants = fc.array(fc.record({ parts: partsOf, form: fc.option(coding), copy: fc.option(text) }), {
      minLength: 1,
      maxLength: 4,
    });
    await fc.assert(
      fc.asyncProperty(fc.array(variants, { minLength: 1, maxLength: 5 }), async (urls) => {
        const store = openStore();
        const expected = new Map<string, unknown>();
        for (const [number, given] of urls.entries())
          for (const [at, { parts, form, copy }] of given.entries()) {
            const plain = given.length === 1;
            const entry = store.put(
              keyOf(number),
              plain ? [] : ["x-lang"],
              plain ? "" : `1:${at};`,
              parts,
              64,
            );
            if (entry === null) throw new Error("not stored");
            entry.copy = copy;
            entry.refreshNotBeforeMs = at;
            if (form !== null && form !== entry.coding)
              store.addForm(entry, { coding: form, body: new Uint8Array([at, 2, 3]), length: 3, hot: null });
            expected.set(`${entry.key} ${entry.variant}`, seen(entry));
          }
        crowd(store);
        for (const number of urls.keys()) expect(isPacked(store, keyOf(number))).toBe(true);
        await collect();
        for (const number of urls.keys())
          for (const entry of store.get(keyOf(number))?.variants() ?? []) {
            expect(seen(entry)).toEqual(expected.get(`${entry.key} ${entry.variant}`));
            expected.delete(`${entry.key} ${entry.variant}`);
          }
        expect(expected.size).toBe(0);
      }),
      { numRuns: 8 },
    );
  });

  test("is what was asked for once, although there is room; what is asked for again stays", () => {
    const store = openStore(64 * 2 ** 20);
    const keys = Array.from({ length: 1_000 }, (_, at) => keyOf(at));
    for (const key of keys) store.put(key, [], "", storedParts(1_000), 64);
    const packed = keys.filter((key) => isPacked(store, key)).length;
    // A tenth of four MiB, some two and a half KiB each, are not yet.
    expect([packed > 750, packed < 950]).toEqual([true, true]);
    // What left is remembered by its hash, seeded anew each time, in a table where some meet: nearly all come back.
    for (const key of keys.slice(0, 40)) store.get(key);
    for (let at = 0; at < 1_000; at++) store.put(keyOf(`more-${at}`), [], "", storedParts(1_000), 64);
    const stayed = (from: number) =>
      keys.slice(from, from + 40).filter((key) => !isPacked(store, key)).length;
    expect([stayed(0) > 20, stayed(40)]).toEqual([true, 0]);
  });

  test("is the very object that somebody still holds", async () => {
    const store = openStore();
    const held = store.put(keyOf("held"), [], "", storedParts(100), 64);
    crowd(store);
    await collect();
    expect(isPacked(store, keyOf("held"))).toBe(true);
    expect(store.get(keyOf("held"))?.find("", NOBODY)).toBe(held);
  });

  test("that is changed by who holds it is changed for all, also when he has let go", async () => {
    const store = openStore();
    let held = store.put(keyOf("held"), [], "", storedParts(100), 64);
    crowd(store);
    expect(isPacked(store, keyOf("held"))).toBe(true);
    if (held !== null) {
      held.expire(STORED_AT_MS + 1);
      held.tags = ["late"];
      held.validSequence = 7;
      held = null;
    }
    crowd(store);
    await collect();
    expect(isPacked(store, keyOf("held"))).toBe(true);
    const found = store.get(keyOf("held"))?.find("", NOBODY);
    expect(found?.freshness).toMatchObject({ softPurged: true, freshUntilMs: STORED_AT_MS + 1 });
    expect(found?.tags).toEqual(["late"]);
    expect(found?.validSequence).toBe(7);
  });

  test("that is held against purges while it is packed keeps what that came to", async () => {
    const store = openStore();
    const held = store.put(keyOf("held"), [], "", storedParts(100), 64);
    if (held === null) throw new Error("not stored");
    crowd(store);
    held.validSequence = 9;
    held.validLocal = 2 ** 40;
    expect(isPacked(store, keyOf("held"))).toBe(true);
    const view = [...store.entries()].find(({ key }) => key === keyOf("held"));
    expect(view).toMatchObject({ validSequence: 9, validLocal: 2 ** 40 });
  });

  test("is removed by who holds it, and by its URL", () => {
    const gone: string[] = [];
    const store = openStore(BYTES_MAX, ({ key }) => gone.push(key));
    const held = store.put(keyOf("held"), [], "", storedParts(100), 64);
    store.put(keyOf("named"), [], "", storedParts(100), 64);
    crowd(store);
    const { objects } = store.stats();
    if (held !== null) store.remove(held);
    expect(store.removeUrl(keyOf("named"))).toBe(1);
    expect(store.get(keyOf("held"))).toBeUndefined();
    expect(store.get(keyOf("named"))).toBeUndefined();
    expect(gone).toEqual([keyOf("held"), keyOf("named")]);
    expect(store.stats().objects).toBe(objects - 2);
    store.clear();
    expect(store.stats()).toMatchObject({ objects: 0, urls: 0, bytes: 0 });
  });

  test("that was evicted while somebody held it is not in the store, and his changes harm nobody", () => {
    const store = openStore(2 ** 20);
    const held = store.put(keyOf("held"), [], "", storedParts(100), 64);
    if (held === null) throw new Error("not stored");
    for (let at = 0; store.holds(held); at++) store.put(keyOf(at), [], "", storedParts(1_000), 64);
    held.tags = ["x"];
    held.expire(0);
    store.recount(held);
    expect(store.get(keyOf("held"))).toBeUndefined();
    const next = store.put(keyOf("held"), [], "", storedParts(50), 64);
    store.remove(held);
    expect(store.get(keyOf("held"))?.find("", NOBODY)).toBe(next);
  });

  test("of several variants loses the one that is evicted, also for who holds the URL", () => {
    const store = openStore();
    const held = ["a", "b"].map((name) =>
      store.put(keyOf("held"), ["x"], `1:${name};`, storedParts(100), 64),
    );
    const [cold, warm] = held;
    if (cold == null || warm == null) throw new Error("not stored");
    crowd(store);
    expect(isPacked(store, keyOf("held"))).toBe(true);
    for (let at = 0; store.holds(cold); at++) {
      store.hit(warm);
      store.put(keyOf(at), [], "", storedParts(1_000), 64);
    }
    expect(store.holds(warm)).toBe(true);
    expect(isPacked(store, keyOf("held"))).toBe(true);
    expect(store.get(keyOf("held"))?.list()).toEqual([warm]);
    const urls = new Set([...store.entries()].map(({ key }) => key)).size;
    expect(store.stats().urls).toBe(urls);
  });

  test("of several variants leaves nothing behind when it is evicted", async () => {
    const store = openStore();
    const nodes: WeakRef<object>[] = [];
    for (let at = 0; at < 1_500; at++) {
      for (let variant = 0; variant < 8; variant++) {
        const entry = store.put(keyOf(at), ["x"], `1:${variant};`, storedParts(100), 64);
        if (entry !== null) nodes.push(new WeakRef(entry.node));
      }
      if (at % 100 === 0) await collect();
    }
    await collect();
    const left = nodes.filter((node) => node.deref() !== undefined).length;
    // What is stored, and those that nobody has looked at again yet.
    expect(left).toBeLessThan(2 * store.stats().objects + 500);
    expect(nodes.length).toBeGreaterThan(4 * store.stats().objects);
  });

  test("that is evicted by what its own return pushes out is removed once", () => {
    const store = openStore();
    const held = store.put(keyOf("held"), [], "", storedParts(100), 64);
    if (held === null) throw new Error("not stored");
    // All but full, and nothing was asked for less than what is held.
    for (let at = 0; store.stats().bytes < (BYTES_MAX * 15) / 16 - 12_000; at++) {
      const entry = store.put(keyOf(at), [], "", storedParts(100), 64);
      if (entry !== null) store.hit(entry);
    }
    // More variants than are packed: when that is found out they count for more than there is room for.
    for (let at = 0; at < 9; at++) store.put(keyOf("many"), ["x"], `1:${at};`, storedParts(100), 64);
    expect([store.holds(held), isPacked(store, keyOf("held"))]).toEqual([true, true]);
    const { evictions } = store.stats();
    store.remove(held);
    expect(store.stats().evictions).toBeGreaterThan(evictions);
    let [objects, bytes] = [0, 0];
    for (const met of store.entries()) {
      objects++;
      bytes += met.bytes;
    }
    expect(store.stats()).toMatchObject({ objects, bytes });
    expect(store.get(keyOf("held"))).toBeUndefined();
  });

  test("of very many variants does not become one while room is made for the last of them", () => {
    const store = openStore();
    const put = (name: string | number, variant: string): StoredResponse | null =>
      store.put(keyOf(name), variant === "" ? [] : ["x"], variant, storedParts(100), 64);
    // Two variants that nobody asks for: the first to go, and an object when they do.
    for (const variant of ["1:a;", "1:b;"]) put("two", variant);
    for (let at = 0; store.stats().bytes < (BYTES_MAX * 15) / 16 - 5_500; at++) {
      const entry = put(at, "");
      if (entry !== null) store.hit(entry);
    }
    store.get(keyOf("two"));
    expect(isPacked(store, keyOf("two"))).toBe(false);
    for (let at = 0; at < 30; at++) put("many", `2:${at + 10};`);
    // Whoever is in a queue can leave it: what comes now finds room.
    for (let at = 0; at < 5_000; at++) {
      const late = put(`late-${at}`, "");
      expect(late !== null && store.holds(late)).toBe(true);
    }
    let [objects, bytes] = [0, 0];
    for (const met of store.entries()) {
      objects++;
      bytes += met.bytes;
    }
    expect(store.stats()).toMatchObject({ objects, bytes });
  });

  test("is not made of what has characters beyond a byte, of a large body, or of very many variants", () => {
    const store = openStore();
    store.put(keyOf("ж"), [], "", storedParts(10), 64);
    store.put(keyOf("large"), [], "", storedParts(100_000), 64);
    for (let at = 0; at < 12; at++) store.put(keyOf("many"), ["x"], `1:${at};`, storedParts(10), 64);
    crowd(store);
    crowd(store);
    for (const name of ["ж", "large", "many"]) {
      expect(isPacked(store, keyOf(name))).toBe(false);
      // What is an object for good counts as one.
      for (const entry of store.get(keyOf(name))?.variants() ?? [])
        expect(entry.bytes).toBe(entry.countBytes());
    }
    // And one that can be packed again, once it is another.
    store.put(keyOf("large"), [], "", storedParts(10), 64);
    crowd(store);
    expect(isPacked(store, keyOf("large"))).toBe(true);
  });

  test("that has a pass marker beside it stays until that is gone, and its count is right", () => {
    const store = openStore();
    store.put(keyOf("u"), [], "", storedParts(10), 64);
    store.markPass(keyOf("u"), STORED_AT_MS, "response-no-store");
    crowd(store);
    expect(isPacked(store, keyOf("u"))).toBe(false);
    store.put(keyOf("u"), [], "", storedParts(11), 64);
    crowd(store);
    expect(isPacked(store, keyOf("u"))).toBe(true);
    expect(store.stats().urls).toBe(101);
  });
});

test("a walk meets everything that was there, whatever is packed and unpacked meanwhile", () => {
  const store = openStore(2 ** 26);
  const names = new Set<string>();
  for (let at = 0; at < 5_000; at++) {
    store.put(keyOf(at), [], "", storedParts(10), 64);
    names.add(keyOf(at));
  }
  // More than the objects' share of the store, so that most of it is packed.
  for (let at = 0; at < 5_000; at++) store.get(keyOf((at * 7) % 5_000));
  let step = 0;
  for (const { key } of store.entries()) {
    names.delete(key);
    for (let more = 0; more < 3; more++) store.get(keyOf((step++ * 1_999) % 5_000));
    if (step % 50 === 0) store.removeUrl(keyOf(step % 5_000));
  }
  for (const key of names) expect(store.get(key)).toBeUndefined();
});

test("few small responses that stay among larger ones do not hold the memory of those that went", async () => {
  const store = openStore(16 * 2 ** 20);
  const small = 15_000;
  const bodyOf = (at: number) => Buffer.alloc(900, `${at}.`);
  const use = (key: string) => {
    const entry = store.get(key)?.only ?? null;
    if (entry !== null) store.hit(entry);
  };
  for (let at = 0; at < small; at++) store.put(keyOf(at), [], "", storedParts(bodyOf(at)), 64);
  // Too large to be packed; what stays is one in twenty, all over the slabs.
  for (let at = 0; at < 2_000; at++) {
    store.put(keyOf(`large-${at}`), [], "", storedParts(20_000), 64);
    use(keyOf(`large-${at}`));
    if (at % 20 === 0) for (let one = 0; one < small; one += 20) use(keyOf(one));
  }
  const keys = new Set([...store.entries()].map(({ key }) => key));
  expect(await store.drained()).toBeLessThanOrEqual(SLACK_BYTES_MIN);
  await collect();
  for (const key of keys) expect(store.get(key)).toBeDefined();
  const left = [...Array(small).keys()].filter((at) => store.get(keyOf(at)) !== undefined);
  expect(left.length).toBeGreaterThan(100);
  expect(left.length).toBeLessThan(2_000);
  for (const at of left)
    expect(Buffer.compare(store.get(keyOf(at))?.only?.body as Uint8Array, bodyOf(at))).toBe(0);
});

test("under any use, with readers and collections in between, nobody sees another's bytes", async () => {
  const operation = fc.record({
    kind: fc.constantFrom(
      "put",
      "put",
      "put",
      "find",
      "find",
      "hold",
      "release",
      "change",
      "remove",
      "url",
      "turn",
      "collect",
    ),
    name: fc.nat(150),
    bytes: fc.oneof(fc.nat(400), fc.nat(9_000)),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(operation, { maxLength: 500 }), async (operations) => {
      const store = openStore(150_000);
      /** The byte that the newest response of each name is made of, and its tags. */
      const model = new Map<number, { byte: number; bytes: number; tags: readonly string[] }>();
      const held: { entry: StoredResponse; body: Uint8Array; byte: number; name: number }[] = [];
      let puts = 0;
      const check = (name: number): StoredResponse | null => {
        const entry = store.get(keyOf(name))?.find("", NOBODY) ?? null;
        const expected = model.get(name);
        if (entry === null) return null;
        expect(expected).toBeDefined();
        expect(entry.length).toBe(expected?.bytes ?? -1);
        expect((entry.body as Uint8Array).every((byte) => byte === expected?.byte)).toBe(true);
        expect(entry.tags).toEqual(expected?.tags ?? []);
        return entry;
      };
      for (const { kind, name, bytes } of operations) {
        if (kind === "put") {
          const byte = puts++ % 251;
          store.put(keyOf(name), [], "", storedParts(new Uint8Array(bytes).fill(byte)), 64);
          model.set(name, { byte, bytes, tags: [] });
        } else if (kind === "find") {
          const entry = check(name);
          if (entry !== null) store.hit(entry);
        } else if (kind === "hold") {
          const entry = check(name);
          const byte = model.get(name)?.byte ?? 0;
          if (entry !== null) held.push({ entry, body: entry.body as Uint8Array, byte, name });
        } else if (kind === "release") held.shift();
        else if (kind === "change") {
          const entry = held[0]?.entry ?? check(name);
          if (entry === null) continue;
          const of = Number(entry.key.split("/").pop());
          const isNewest = store.holds(entry);
          entry.tags = [`tag-${bytes}`];
          const known = model.get(of);
          if (isNewest && known !== undefined) model.set(of, { ...known, tags: entry.tags });
        } else if (kind === "remove") {
          const entry = held[0]?.entry;
          if (entry === undefined) continue;
          if (store.holds(entry)) model.delete(Number(entry.key.split("/").pop()));
          store.remove(entry);
        } else if (kind === "url") {
          store.removeUrl(keyOf(name));
          model.delete(name);
        } else if (kind === "turn") await new Promise((resolve) => setImmediate(resolve));
        else if (bytes % 8 === 0) Bun.gc(true);
        const { bytes: used, bytesMax } = store.stats();
        expect(used).toBeLessThanOrEqual(bytesMax);
      }
      for (const { body, byte } of held) expect(body.every((one) => one === byte)).toBe(true);
      let [objects, bytes] = [0, 0];
      for (const met of store.entries()) {
        objects++;
        bytes += met.bytes;
      }
      expect(store.stats()).toMatchObject({ objects, bytes });
      for (const name of model.keys()) check(name);
      store.clear();
      expect(store.stats()).toMatchObject({ objects: 0, urls: 0, bytes: 0 });
    }),
    { numRuns: 40 },
  );
}, 30_000);
