/** Bodies of requests, read within their limits. */
import { scanJson } from "../../config/json-text.ts";
import { Refused } from "../refusal.ts";

/** Longest time that a JSON body may hold the event loop in one go, in milliseconds. */
const SLICE_MS_MAX = 5;

/** Reads a body within its limit; what does not end in time is the server's matter. Throws a Refused 413. */
export async function readBody(request: Request, bytesMax: number): Promise<Uint8Array> {
  const tooLarge = () => new Refused(413, `the body of this request has ${bytesMax} bytes at most`);
  if (Number(request.headers.get("content-length") ?? 0) > bytesMax) throw tooLarge();
  const pieces: Uint8Array[] = [];
  let size = 0;
  if (request.body !== null)
    for await (const piece of request.body) {
      size += piece.byteLength;
      if (size > bytesMax) throw tooLarge();
      pieces.push(piece);
    }
  return Buffer.concat(pieces);
}

/** A body as text. Throws a Refused 400 when it is not UTF-8. */
export function textOf(body: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(body);
  } catch {
    throw new Refused(400, "the body is not UTF-8");
  }
}

/** The JSON of a body, parsed in slices. Throws a Refused 400. */
export async function parseJson(body: Uint8Array): Promise<unknown> {
  const text = textOf(body);
  // Also names that stand twice and values that nest without end, which a parser would take.
  const steps = scanJson(text);
  let sliceStart = performance.now();
  for (;;) {
    const step = steps.next();
    if (step.done === true) {
      const { fault } = step.value;
      if (fault === null) return JSON.parse(text) as unknown;
      throw new Refused(
        400,
        `the body is not JSON: line ${fault.position.line}, column ${fault.position.column}: ${fault.message}`,
      );
    }
    if (performance.now() - sliceStart < SLICE_MS_MAX) continue;
    await new Promise<void>((resume) => setImmediate(resume));
    sliceStart = performance.now();
  }
}
