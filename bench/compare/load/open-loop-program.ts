/**
 * The mix at a fixed rate. Requests are due at fixed moments whatever the server does, and each answer's
 * time counts from the moment its request was due, so that a server that stalls is not spared the
 * requests that would have come meanwhile (coordinated omission). wrk and h2load count from the moment of
 * sending, and wrk2 is not packaged: hence this one. It prints one line of JSON.
 *
 * `bun open-loop-program.ts PORT RATE SECONDS OBJECTS WARM START`: WARM requests go out as fast as 32
 * connections take them, from the mix's place START on, then the timed ones.
 */
import { quantile } from "../statistics.ts";
import { mixOf, mixPath } from "../workload.ts";

const [port, rate, seconds, objects, warm, start] = process.argv.slice(2).map(Number) as [
  number,
  number,
  number,
  number,
  number,
  number,
];
/** Connections at most: past this many answers outstanding the rate is above saturation. */
const CONNECTIONS_MAX = 512;
const WARM_CONNECTIONS = 32;
const timed = Math.round(rate * seconds);
const mix = mixOf(objects, start + warm + timed);
const latenciesUs = new Float64Array(timed);
const lateUs = new Float64Array(timed);
let failures = 0;
let answered = 0;
let next = 0;

interface Connection {
  dueMs: number;
  left: number;
  head: string | null;
}
const idle: Bun.Socket<Connection>[] = [];
let opened = 0;
let whenFree: (() => void) | null = null;

function open(): Promise<Bun.Socket<Connection>> {
  opened++;
  return Bun.connect<Connection>({
    hostname: "127.0.0.1",
    port,
    data: { dueMs: 0, left: 0, head: "" },
    socket: {
      data: take,
      close: (socket) => {
        opened--;
        // An idle connection may be closed; one that is waiting for an answer may not.
        const at = idle.indexOf(socket);
        if (at >= 0) idle.splice(at, 1);
        else finish(null);
      },
      error() {},
      connectError() {},
    },
  });
}

function take(socket: Bun.Socket<Connection>, bytes: Buffer): void {
  const { data } = socket;
  if (data.head === null) {
    data.left -= bytes.byteLength;
  } else {
    data.head += bytes.toString("latin1");
    const end = data.head.indexOf("\r\n\r\n");
    if (end < 0) return;
    const length = /\r\ncontent-length: *(\d+)/i.exec(data.head)?.[1];
    const isWhole = data.head.startsWith("HTTP/1.1 200");
    if (!isWhole) failures++;
    if (length === undefined) {
      // Chunked: whole when it ends with an empty chunk. No byte of a body looks like one.
      if (!data.head.endsWith("\r\n0\r\n\r\n")) return;
      data.left = 0;
    } else data.left = Number(length) - (data.head.length - end - 4);
    data.head = null;
  }
  if (data.left > 0) return;
  idle.push(socket);
  finish(data.dueMs);
}

function finish(dueMs: number | null): void {
  if (dueMs === null) failures++;
  else if (dueMs > 0) latenciesUs[answered++] = (performance.now() - dueMs) * 1000;
  whenFree?.();
}

function ask(socket: Bun.Socket<Connection>, place: number, dueMs: number): void {
  socket.data.dueMs = dueMs;
  socket.data.head = "";
  socket.write(`GET ${mixPath(mix, mix.objects[place] ?? 0)} HTTP/1.1\r\nHost: bench.test\r\n\r\n`);
}

/** A connection without a question; one that the server has closed is opened anew. */
async function takeConnection(most: number): Promise<Bun.Socket<Connection>> {
  for (;;) {
    const socket = idle.pop();
    if (socket !== undefined) return socket;
    if (opened < most) return open();
    await new Promise<void>((resolve) => {
      whenFree = resolve;
    });
    whenFree = null;
  }
}

for (let at = 0; at < warm; at++) ask(await takeConnection(WARM_CONNECTIONS), start + at, 0);
await Bun.sleep(200);
Bun.gc(true);
const warmFailures = failures;
failures = 0;

const beginMs = performance.now() + 10;
while (next < timed) {
  const dueMs = beginMs + (next * 1000) / rate;
  const waitMs = dueMs - performance.now();
  // Sleeping is exact to a millisecond only; the rest is spent looking for answers.
  if (waitMs > 0) {
    if (waitMs > 3) await Bun.sleep(waitMs - 2);
    else await new Promise<void>((resolve) => setImmediate(resolve));
    continue;
  }
  const socket = await takeConnection(CONNECTIONS_MAX);
  lateUs[next] = (performance.now() - dueMs) * 1000;
  ask(socket, start + warm + next, dueMs);
  next++;
}
const endMs = performance.now() + 5_000;
while (answered + failures < timed && performance.now() < endMs) await Bun.sleep(10);
const times = latenciesUs.subarray(0, answered).sort();
lateUs.sort();
console.log(
  JSON.stringify({
    answered,
    failures: failures + warmFailures + Math.max(0, timed - answered - failures),
    p50Us: quantile(times, 0.5),
    p99Us: quantile(times, 0.99),
    p999Us: quantile(times, 0.999),
    lateP99Us: quantile(lateUs, 0.99),
  }),
);
process.exit(0);
