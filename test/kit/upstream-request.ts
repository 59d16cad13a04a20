/** Requests to a next hop as tests need them: everything optional has a plain default. */
import type { BodyReader } from "../../src/http/body.ts";
import { Fields } from "../../src/http/fields.ts";
import { UpstreamError, type UpstreamRequest, type UpstreamTimeouts } from "../../src/upstream/next-hop.ts";

/** Limits that no test reaches unless it moves a clock. */
export const TIMEOUTS: UpstreamTimeouts = { connectMs: 5_000, firstByteMs: 20_000, betweenBytesMs: 10_000 };

/** A GET of `/`, or what `options` make of it. */
export function upstreamRequest(options: Partial<UpstreamRequest> = {}): UpstreamRequest {
  return {
    method: "GET",
    scheme: "http",
    authority: "shop.example",
    target: "/",
    fields: new Fields(),
    body: null,
    bodyLength: null,
    signal: null,
    ...options,
  };
}

/** The whole body as latin1 text; rejects as the body does. */
export async function readText(body: BodyReader | null): Promise<string> {
  const pieces: Uint8Array[] = [];
  for (let piece = await body?.read(); piece; piece = await body?.read()) pieces.push(piece);
  return Buffer.concat(pieces).toString("latin1");
}

/** The UpstreamError that `promise` rejects with; throws when it resolves or rejects otherwise. */
export async function failureOf(promise: Promise<unknown>): Promise<UpstreamError> {
  let value: unknown;
  try {
    value = await promise;
  } catch (error) {
    if (error instanceof UpstreamError) return error;
    throw error;
  }
  throw new Error(`it should have failed, and gave ${JSON.stringify(value)}`);
}

/** Waits until `condition` holds: for effects of another socket that no promise tells of. */
export async function until(condition: () => boolean, what: string, limitMs = 3_000): Promise<void> {
  const endMs = Date.now() + limitMs;
  while (!condition()) {
    if (Date.now() > endMs) throw new Error(`it did not come to be: ${what}`);
    await Bun.sleep(1);
  }
}
