/**
 * A small body is taken whole before its head is given on: a member that dies in the middle of it then
 * costs nobody the answer. A body that takes its time is given on as it comes.
 */
import type { Clock } from "../../base/clock.ts";
import type { BodyReader } from "../../http/body.ts";
import type { UpstreamResponse } from "../next-hop.ts";
import { UNKNOWN_LENGTH_WAIT_MS, WHOLE_BODY_BYTES_MAX, WHOLE_BODY_WAIT_MS } from "./limits.ts";

/** The response with its body as far as it came in a short time. Rejects when it broke off meanwhile. */
export async function withSmallBodyWhole(
  response: UpstreamResponse,
  clock: Clock,
): Promise<UpstreamResponse> {
  const { body, bodyLength } = response;
  // An end that can not be told from a cut is not worth waiting for.
  if (body === null || response.framing === "close") return response;
  if ((bodyLength ?? 0) > WHOLE_BODY_BYTES_MAX) return response;
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  let pending: Promise<Uint8Array | null> | null = null;
  const late = Promise.withResolvers<"late">();
  const waitMs = bodyLength === null ? UNKNOWN_LENGTH_WAIT_MS : WHOLE_BODY_WAIT_MS;
  const cancelTimer = clock.after(waitMs, () => late.resolve("late"));
  try {
    while (bytes <= WHOLE_BODY_BYTES_MAX) {
      pending = body.read();
      const got: Uint8Array | null | "late" = await Promise.race([pending, late.promise]);
      if (got === "late") break;
      pending = null;
      if (got === null) return { ...response, body: replay(pieces, ended, body) };
      pieces.push(got);
      bytes += got.byteLength;
    }
  } finally {
    cancelTimer();
  }
  // Nobody may be reading when it breaks off: the error waits for the reader.
  pending?.catch(() => undefined);
  return { ...response, body: replay(pieces, pending, body) };
}

const ended: Promise<null> = Promise.resolve(null);

/** What was read, then a read that is under way, then the rest. */
function replay(
  pieces: readonly Uint8Array[],
  pending: Promise<Uint8Array | null> | null,
  rest: BodyReader,
): BodyReader {
  let at = 0;
  let next = pending;
  let isOver = false;
  return {
    read() {
      const piece = pieces[at++];
      if (piece !== undefined && !isOver) return Promise.resolve(piece);
      if (next === ended) return ended;
      const read = next ?? rest.read();
      next = null;
      return read;
    },
    cancel() {
      isOver = true;
      rest.cancel();
    },
  };
}
