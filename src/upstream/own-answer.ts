/** Answers that a next hop makes itself, without a server behind it that says them. */
import { type BodyReader, bodyOf } from "../http/body.ts";
import { formatHttpDate } from "../http/date.ts";
import { Fields } from "../http/fields.ts";
import type { UpstreamResponse } from "./next-hop.ts";

/** A short answer in plain text: the status and its reason. `head` leaves the body out. */
export function ownAnswer(parts: {
  readonly status: number;
  readonly reason: string;
  readonly head: boolean;
  readonly fields: readonly (readonly [name: string, value: string])[];
  readonly startMs: number;
  readonly endMs: number;
}): UpstreamResponse {
  const { status, reason, head, startMs, endMs } = parts;
  const text = new TextEncoder().encode(`${status} ${reason}\n`);
  const fields = Fields.from([
    ["date", formatHttpDate(endMs)],
    ["content-type", "text/plain; charset=utf-8"],
    ["content-length", String(text.byteLength)],
    ...parts.fields,
  ]);
  const body = head ? null : bodyOf(text);
  return madeResponse({ status, fields, length: text.byteLength, body, startMs, endMs });
}

/** A response of these parts; `length` is that of the body in bytes, also where it is left out. */
export function madeResponse(parts: {
  readonly status: number;
  readonly fields: Fields;
  readonly length: number | null;
  readonly body: BodyReader | null;
  readonly startMs: number;
  readonly endMs: number;
}): UpstreamResponse {
  return {
    status: parts.status,
    fields: parts.fields,
    framing: parts.body === null ? "none" : "length",
    bodyLength: parts.length,
    body: parts.body,
    requestTimeMs: parts.startMs,
    responseTimeMs: parts.endMs,
    reused: false,
  };
}
