/**
 * Mutated HTTP/1.1 requests, read by the edge's parser and by llhttp (in Node). What the edge takes for a
 * whole request llhttp has to take for the same one: where two readers differ, requests are smuggled.
 */
import { METHODS } from "node:http";
import { join } from "node:path";
import { HeadBuffer } from "../../src/edge/listener/raw/head-buffer.ts";
import { IncomingBody } from "../../src/edge/listener/raw/incoming-body.ts";
import { HeadRefusal } from "../../src/edge/listener/raw/request-head.ts";

/** One whole request as a parser saw it. Fields: names in lower case and values, alternating. */
export interface SeenRequest {
  readonly method: string;
  readonly url: string;
  readonly fields: readonly string[];
  readonly body: string;
}

/** What the edge's parser makes of the bytes of a connection: whole requests, and how it went on. */
export async function readAsEdge(
  bytes: Buffer,
  cut: (left: number) => number = (left) => left,
): Promise<{ requests: SeenRequest[]; end: "refused" | "waiting" | "closed" }> {
  const heads = new HeadBuffer(16_384);
  const requests: SeenRequest[] = [];
  let open: { request: Omit<SeenRequest, "body">; incoming: IncomingBody; persistent: boolean } | null = null;
  for (let at = 0; at < bytes.length; ) {
    const length = Math.max(1, Math.min(bytes.length - at, cut(bytes.length - at)));
    // A copy: the decoder of chunks works in place.
    let piece: Buffer | null = Buffer.from(bytes.subarray(at, at + length));
    at += length;
    for (;;) {
      if (open !== null) {
        if (piece !== null) piece = open.incoming.push(piece);
        if (open.incoming.broken) return { requests, end: "refused" };
        if (!open.incoming.whole) break;
        let body = "";
        for (let part = await open.incoming.queue.read(); part; part = await open.incoming.queue.read()) {
          body += Buffer.from(part).toString("latin1");
        }
        requests.push({ ...open.request, body });
        if (!open.persistent) return { requests, end: "closed" };
        open = null;
      }
      if (piece !== null) heads.push(piece);
      piece = null;
      const head = heads.next();
      if (head === null) break;
      if (head instanceof HeadRefusal || head === "http2") return { requests, end: "refused" };
      const { method, target, persistent, bodyLength } = head;
      const request = { method, url: target, fields: [...head.fields.entries()].flat() };
      if (bodyLength === 0) {
        requests.push({ ...request, body: "" });
        if (!persistent) return { requests, end: "closed" };
        continue;
      }
      open = { request, incoming: new IncomingBody({ onRoom() {} }, bodyLength, 0), persistent };
      piece = heads.takeAll();
    }
  }
  return { requests, end: "waiting" };
}

const CORPUS: readonly string[] = [
  "GET /a?b=c HTTP/1.1\r\nHost: a.test\r\n\r\n",
  "GET /p HTTP/1.1\r\nHost: a.test\r\nUser-Agent: x/1 (y; z)\r\nAccept: */*\r\nCookie: a=1; b=2\r\n\r\n",
  "HEAD / HTTP/1.0\r\nHost: a.test\r\n\r\n",
  "POST /p HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello",
  "PUT /p HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\nA\r\n0123456789\r\n0\r\nX-T: 1\r\n\r\n",
  "POST /p HTTP/1.1\r\nHost: a.test\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
  "DELETE /p HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
  "OPTIONS /p HTTP/1.1\r\nHost: a.test\r\nX-Empty:\r\nX-Odd: \t a \xe4 \t\r\n\r\n",
];
const WORDS: readonly string[] = [
  ...'\r\n|\n|\r|\r\n\r\n|\n\n| |\t|:|;|,|\0|\x0b|\x7f|\x80|\xff|/|0|1|a|ff|+|-|_|"'.split("|"),
  "Content-Length: 3\r\n",
  "Content-Length : 3\r\n",
  "Content-Length: 3, 3\r\n",
  "Transfer-Encoding: chunked\r\n",
  "Transfer-Encoding: identity\r\n",
  "Transfer-Encoding:\r\n chunked\r\n",
  "transfer-encoding: CHUNKED\r\n",
  "Connection: close\r\n",
  "Connection: keep-alive\r\n",
  "Host: b.test\r\n",
  " HTTP/1.1",
  "HTTP/1.0",
  "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
  "0\r\n\r\n",
  "\r\n 1",
];

/** Numbers from 0 to 1, the same for a seed. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** One to three requests of one connection with up to four changes, most of which spoil them. */
export function mutated(random: () => number): Buffer {
  const below = (n: number) => Math.floor(random() * n);
  const one = (list: readonly string[]) => list[below(list.length)] ?? "";
  let text = Array.from({ length: 1 + below(3) }, () => one(CORPUS)).join("");
  for (let changes = below(5); changes > 0; changes -= 1) {
    const at = below(text.length + 1);
    const lines = [...text.matchAll(/\r\n/g)].map(({ index }) => index + 2);
    const where = random() < 0.5 ? at : (lines[below(lines.length)] ?? at);
    const gone = random() < 0.5 ? 0 : below(4);
    text = text.slice(0, where) + (random() < 0.8 ? one(WORDS) : "") + text.slice(where + gone);
  }
  return Buffer.from(text, "latin1");
}

/** Compares `count` mutated connections; throws with the first on which the two disagree. Gives how much was compared. */
export async function compareParsers(
  seed: number,
  count: number,
): Promise<{ whole: number; refused: number }> {
  const random = seeded(seed);
  const messages = Array.from({ length: count }, () => mutated(random));
  const theirs = await readWithLlhttp(messages);
  let whole = 0;
  let refused = 0;
  for (const [i, message] of messages.entries()) {
    const ours = await readAsEdge(message);
    const split = await readAsEdge(message, (left) => 1 + Math.floor(random() * Math.min(left, 9)));
    const same = JSON.stringify(split) === JSON.stringify(ours);
    if (!same) throw differ("a split changes what is read", message, ours, split);
    if (ours.end === "refused") refused += 1;
    for (const [n, request] of ours.requests.entries()) {
      const other = theirs[i]?.requests[n];
      // The edge reads over what a chunk extension says, up to its CRLF; llhttp wants tokens there.
      if (theirs[i]?.why === "HPE_STRICT" && request.fields.includes("transfer-encoding")) break;
      // RFC 9112 section 7.1.1 allows white space before an extension; llhttp does not.
      if (theirs[i]?.why === "HPE_INVALID_CHUNK_SIZE" && /[0-9a-f][ \t]+;/i.test(message.toString("latin1")))
        break;
      // llhttp knows a closed list of methods; the edge leaves what may be asked for to the pipeline.
      if (theirs[i]?.why === "HPE_INVALID_METHOD" && !METHODS.includes(request.method)) break;
      // llhttp keeps a target's absolute form.
      const url = other?.url.replace(/^http:\/\/[^/?]*/i, "").replace(/^(?!\/|\*)/, "/");
      const fields = other?.fields.map((part, index) => (index % 2 === 0 ? part.toLowerCase() : part));
      const agreed =
        other?.whole === true &&
        JSON.stringify({ ...other, url, fields, whole: 0 }) === JSON.stringify({ ...request, whole: 0 });
      if (!agreed) throw differ("llhttp reads another request", message, ours, theirs[i]);
      whole += 1;
    }
  }
  return { whole, refused };
}

function differ(what: string, message: Buffer, ours: unknown, other: unknown): Error {
  const text = JSON.stringify(message.toString("latin1"));
  return new Error(`${what}\n${text}\nedge: ${JSON.stringify(ours)}\nother: ${JSON.stringify(other)}`);
}

interface Llhttp {
  readonly requests: readonly (SeenRequest & { readonly whole: boolean })[];
  readonly refused: boolean;
  readonly why: string;
}

/** Reads each message with llhttp, in one Node process. */
async function readWithLlhttp(messages: readonly Buffer[]): Promise<Llhttp[]> {
  const child = Bun.spawn(["node", join(import.meta.dir, "llhttp.cjs")], {
    stdin: new Blob(messages.map((message) => `${message.toString("base64")}\n`)),
    stdout: "pipe",
    stderr: "inherit",
  });
  const text = await new Response(child.stdout).text();
  if ((await child.exited) !== 0) throw new Error("the reference parser failed");
  return text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Llhttp);
}
