/**
 * CPU microseconds a request of the origin client against the runtime's fetch: 1 KB answers over
 * kept-alive connections, 64 at once, from a Bun.serve origin in a process of its own.
 * Run: bun bench/upstream.ts [requests]
 */
import { systemClock } from "../src/base/clock.ts";
import { Fields } from "../src/http/fields.ts";
import { HttpOrigin } from "../src/upstream/origin.ts";

const CONCURRENCY = 64;

if (process.argv[2] === "origin") {
  const body = new Uint8Array(1024).fill(97);
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: () =>
      new Response(body, {
        headers: { "content-type": "text/plain", etag: '"1"', "cache-control": "max-age=60" },
      }),
  });
  console.log(server.port);
} else {
  await main(Number(process.argv[2] ?? 100_000));
}

async function main(requests: number): Promise<void> {
  const origin = Bun.spawn([process.execPath, import.meta.path, "origin"], { stdout: "pipe" });
  try {
    const { value } = await origin.stdout.getReader().read();
    const url = `http://127.0.0.1:${Number(new TextDecoder().decode(value))}`;
    const client = new HttpOrigin({ name: "bench", url, clock: systemClock });
    const fields = Fields.from([
      ["accept", "*/*"],
      ["user-agent", "bench"],
      ["via", "1.1 proxima"],
      ["x-forwarded-for", "192.0.2.1"],
    ]);
    const headers = Object.fromEntries(fields.entries());
    const timeouts = { connectMs: 5_000, firstByteMs: 10_000, betweenBytesMs: 10_000 };
    const viewer = new AbortController();
    const ours = async () => {
      const response = await client.fetch(
        {
          method: "GET",
          scheme: "http",
          authority: "bench.test",
          target: "/one-kilobyte",
          fields,
          body: null,
          bodyLength: null,
          signal: viewer.signal,
        },
        timeouts,
      );
      for (let piece = await response.body?.read(); piece; piece = await response.body?.read());
    };
    const theirs = async () => {
      const response = await fetch(`${url}/one-kilobyte`, {
        headers,
        redirect: "manual",
        signal: viewer.signal,
      });
      await response.arrayBuffer();
    };
    for (let round = 1; round <= 3; round++) {
      await measure(`HttpOrigin, round ${round}`, requests, ours);
      await measure(`fetch,      round ${round}`, requests, theirs);
    }
    console.log(client.stats());
    client.close();
  } finally {
    origin.kill();
  }
}

async function measure(label: string, requests: number, run: () => Promise<void>): Promise<void> {
  let left = requests;
  const cpu = process.cpuUsage();
  const startMs = performance.now();
  const worker = async () => {
    while (left-- > 0) await run();
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, worker));
  const { user, system } = process.cpuUsage(cpu);
  const perSecond = Math.round((requests / (performance.now() - startMs)) * 1000);
  console.log(`${label}: ${((user + system) / requests).toFixed(1)} us CPU a request, ${perSecond} a second`);
}
