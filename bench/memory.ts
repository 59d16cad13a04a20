/**
 * What a stored 1 KB response with ten fields costs in memory, all told, against what the store counts
 * for it: resident memory of this process before and after, divided by the objects.
 *
 *   npm run bench -- memory [objects]
 */
import { MemoryStore } from "../src/cache/store/memory.ts";
import { formatHttpDate } from "../src/http/date.ts";
import { Fields } from "../src/http/fields.ts";

const count = Number(process.argv[2] ?? 300_000);
const store = new MemoryStore({ bytesMax: 64 * 2 ** 30, objectBytesMax: 2 ** 20 });
const now = Date.now();
const date = formatHttpDate(now);

function put(i: number): void {
  // Strings of their own, as a parser makes them from bytes.
  const own = (text: string): string => Buffer.from(text).toString("latin1");
  const fields = Fields.from(
    [
      ["content-type", "text/html; charset=utf-8"],
      ["cache-control", "public, max-age=3600"],
      ["etag", `"${i.toString(16).padStart(16, "0")}"`],
      ["last-modified", date],
      ["date", date],
      ["server", "origin/1.2.3"],
      ["x-request-id", `${i}-5f0c6a7b`],
      ["strict-transport-security", "max-age=31536000"],
      ["x-content-type-options", "nosniff"],
      ["content-language", "en"],
    ].map(([name, value]) => [own(name ?? ""), own(value ?? "")] as const),
  );
  store.put(
    own(`shop https://shop.example/products/${i}?page=1`),
    [],
    "",
    {
      status: 200,
      fields,
      body: new Uint8Array(1024).fill(i & 255),
      coding: "identity",
      negotiable: true,
      freshness: {
        source: "max-age",
        explicit: true,
        bornMs: now,
        freshUntilMs: now + 3_600_000,
        whileRevalidateUntilMs: now + 3_600_000,
        ifErrorUntilMs: now + 3_600_000,
        mustRevalidate: false,
      },
      tags: [],
      validSequence: 0,
      validLocal: 0,
      etag: fields.get("etag"),
      lastModifiedMs: now,
      dateMs: now,
      storedAtMs: now,
    },
    64,
  );
}

const rss = (): number => {
  Bun.gc(true);
  Bun.gc(true);
  return process.memoryUsage.rss();
};
const before = rss();
for (let i = 0; i < count; i++) {
  put(i);
  // A turn of the event loop for each few, as misses come: what a turn has made stays until its end.
  if (i % 16 === 0) await new Promise((resolve) => setImmediate(resolve));
}
await Bun.sleep(2_000);
const after = rss();
const { bytes } = store.stats();
console.log(
  `${count} objects of 1 KB: ${((after - before) / count).toFixed(0)} bytes resident each, ${(bytes / count).toFixed(0)} counted each`,
);
